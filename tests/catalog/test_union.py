from __future__ import annotations

from decimal import Decimal

import pytest

from tts_pipeline.card import Card, Parameter
from tts_pipeline.catalog.union import unite_cards
from tts_pipeline.errors import ConfigurationError


def number(low: str, high: str, step: str | None = "0.1", *, required: bool = False) -> Parameter:
    grid = None if step is None else Decimal(step)
    return Parameter("p", "number", required=required, minimum=Decimal(low), maximum=Decimal(high), step=grid)


def united(*parameters: Parameter | None) -> Parameter:
    cards = [Card("s", "m", parameters={"p": parameter} if parameter else {}) for parameter in parameters]
    result = unite_cards(cards)
    assert result is not None
    return result.parameters["p"]


def test_no_cards_have_no_union() -> None:
    """Nothing in, nothing out."""
    assert unite_cards([]) is None


def test_ranges_widen() -> None:
    """The union spans from the lowest to the highest bound, and keeps the step where the grids meet."""
    assert united(number("0.5", "2"), number("0.1", "1.5")) == number("0.1", "2")


def test_steps_that_do_not_meet_are_dropped() -> None:
    """Two grids that differ leave none: better to let a value through than to refuse a good one."""
    assert united(number("0.5", "2"), number("0.55", "2")).step is None
    assert united(number("0.5", "2"), number("0.5", "2", "0.25")).step is None
    assert united(number("0.5", "2"), number("0.5", "2", None)).step is None


def test_a_card_without_bounds_frees_the_union() -> None:
    """What one card takes without a bound, the union takes without a bound."""
    assert united(number("0.5", "2"), Parameter("p", "number")) == Parameter("p", "number")


def test_choices_are_joined_in_order() -> None:
    """The first card's choices come first, each once; labels come along, the first card's winning."""
    first = Parameter("p", "string", choices=("a", "b"), labels={"a": "first"})
    other = Parameter("p", "string", choices=("c", "a"), labels={"a": "second", "c": "third"})
    both = united(first, other)
    assert (both.choices, both.labels) == (("a", "b", "c"), {"a": "first", "c": "third"})
    assert united(first, Parameter("p", "string")).choices is None


def test_required_is_what_every_card_requires() -> None:
    """A parameter that one card can do without is optional."""
    must = number("0", "1", required=True)
    assert united(must, must).required
    assert not united(must, number("0", "1")).required
    assert not united(must, None).required


def test_types_must_agree() -> None:
    """A parameter cannot be a number and a string."""
    with pytest.raises(ConfigurationError, match="parameter 'p' has different types"):
        united(number("0", "1"), Parameter("p", "string"))


def test_the_rest_is_the_first_cards() -> None:
    """Limit and billing come from the leading card; languages are joined, its words winning."""
    carrier = {"l": Parameter("l", "string")}
    first = Card("s", "m", input_limit=5, languages={"de": "German"}, parameters=carrier, language_parameter="l")
    other = Card("t", "n", input_limit=9, languages={"fr": "French", "de": "Deutsch"}, billing="han_double")
    both = unite_cards([first, other])
    assert both is not None
    assert (both.input_limit, both.billing, both.language_parameter) == (5, "characters", "l")
    assert both.languages == {"de": "German", "fr": "French"}
