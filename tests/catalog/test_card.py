from __future__ import annotations

from datetime import date

import pytest

from tests.builders import price_of, token_price_of
from tts_pipeline.card import Card, Parameter
from tts_pipeline.catalog.card import read_card
from tts_pipeline.catalog.toml_table import parse_toml
from tts_pipeline.errors import ConfigurationError

BASE = Card(
    "lower",
    "base",
    snapshot="base-1",
    parameters={"voice": Parameter("voice", "string", required=True), "speed": Parameter("speed", "number")},
    input_limit=600,
    billing="han_double",
    source="somewhere",
)
PRICES = {
    "first": price_of(1, "first", effective_until=date(2026, 1, 1)),
    "second": price_of(2, "second", effective_from=date(2026, 1, 1)),
    "overlapping": price_of(3, "overlapping", effective_from=date(2025, 12, 31)),
    "dollars": price_of(1, "dollars", "USD", effective_from=date(2026, 1, 1)),
    "tokens": token_price_of(1, 1, price_id="tokens"),
}
HEAD = 'service = "s"\nmodel = "m"\n'
LANGUAGES = 'language_parameter = "l"\nparameters.l = { type = "string", choices = ["German", "French"] }\n'


def read(content: str) -> Card:
    return read_card(parse_toml(HEAD + content, "a.toml"), lambda _: BASE, PRICES)


def test_a_card_says_little_and_gets_the_rest_from_what_it_is_like() -> None:
    """Given keys replace, parameters add to or replace single ones, service and model are always the card's own."""
    card = read('like = ["lower/base"]\ninput_limit = 100\nparameters.speed = { type = "integer" }')
    assert (card.service, card.model, card.snapshot, card.source) == ("s", "m", "base-1", "somewhere")
    assert (card.input_limit, card.billing) == (100, "han_double")
    assert card.parameters["voice"].required
    assert card.parameters["speed"].type == "integer"


def test_prices_are_in_order_of_time() -> None:
    """However they are listed."""
    assert [price.price_id for price in read('prices = ["second", "first"]').prices] == ["first", "second"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('prices = ["first", "overlapping"]', "overlap: 'first' and 'overlapping' apply at the same time"),
        ('prices = ["first", "dollars"]', "must be in one currency"),
        ('prices = ["tokens"]', "not a price for billing by characters"),
        ('billing = "tokens"\nprices = ["first"]', "not a price for billing by tokens"),
        ('billing = "words"', "billing must be one of"),
        ('input_unit = "words"', "input_unit must be one of"),
        ("input_limit = 0", "input_limit must be an integer of 1 or more"),
        ('language_parameter = "l"', "language_parameter must be one of the card's parameters"),
        ('languages.de = "German"', "language_parameter is missing"),
        (LANGUAGES + 'languages.german = "German"', "languages.german must be a BCP-47 tag"),
        (LANGUAGES + 'languages.de = "Dutch"', "languages.de must be a unique word among the choices of l"),
        (LANGUAGES + 'languages.de = "German"\nlanguages.fr = "German"', "must be a unique word"),
        ("colour = 1", "colour is not a known key"),
    ],
)
def test_mistakes_in_a_card(content: str, message: str) -> None:
    """Prices, units and languages must fit together."""
    with pytest.raises(ConfigurationError, match=message):
        read(content)


def test_a_card_needs_a_model() -> None:
    """An empty name is no name."""
    with pytest.raises(ConfigurationError, match="model must not be empty"):
        read_card(parse_toml('service = "s"\nmodel = " "', "a.toml"), lambda _: BASE, PRICES)
