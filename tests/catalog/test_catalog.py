from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.catalog.conftest import LoadText
from tts_pipeline.card import Endpoint
from tts_pipeline.catalog import Catalog, Service, load_catalog
from tts_pipeline.errors import ConfigurationError

FLASH = "qwen3-tts-flash"
INSTRUCT = "qwen3-tts-instruct-flash"
EXAMPLE = Path(load_catalog.__code__.co_filename).with_name("example.toml")


def test_a_loaded_catalog_is_the_callers_own() -> None:
    """The built-in files are read once; what one caller changes, no other sees."""
    changed = load_catalog()
    assert isinstance(changed.services, dict)
    changed.services.clear()
    assert load_catalog().service("local").name == "local"


@pytest.mark.parametrize(
    ("name", "url", "dialect", "auth"),
    [
        ("local", "", "openai", "none"),
        ("modelstream", "https://api.modelstream.ai", "openai", "bearer"),
        ("baze", "https://baze-api.powerbuyin.top", "openai", "bearer"),
        ("dashscope", "https://dashscope.aliyuncs.com", "dashscope", "bearer"),
        ("openai", "https://api.openai.com", "openai", "bearer"),
    ],
)
def test_built_in_services(catalog: Catalog, name: str, url: str, dialect: str, auth: str) -> None:
    """The services that are known by name are where their documentation says, without a key."""
    service = catalog.service(name)
    assert (service.name, service.base_url, service.dialect, service.auth) == (name, url, dialect, auth)
    assert service.api_key is None


@pytest.mark.parametrize(
    ("service", "model", "facts"),
    [
        ("modelstream", FLASH, (600, "han_double", "0.8", None)),
        ("baze", INSTRUCT, (600, "han_double", "0.8", None)),
        ("local", FLASH, (600, "han_double", "0.8", None)),
        ("local", INSTRUCT, (600, "han_double", "0.8", None)),
        ("dashscope", FLASH, (600, "han_double", "0.8", 180)),
        ("dashscope", f"{FLASH}-2025-11-27", (600, "han_double", "0.8", 180)),
        ("dashscope", f"{FLASH}-2025-09-18", (600, "han_double", "0.8", 10)),
        ("dashscope", INSTRUCT, (600, "han_double", "0.8", 180)),
        ("dashscope", "qwen-tts", (512, "tokens", None, 10)),
        ("openai", "gpt-4o-mini-tts", (2000, "tokens", None, None)),
        ("openai", "tts-1", (4096, "characters", "0.15", None)),
        ("openai", "tts-1-hd", (4096, "characters", "0.3", None)),
    ],
)
def test_built_in_cards(
    catalog: Catalog, service: str, model: str, facts: tuple[int, str, str | None, int | None]
) -> None:
    """Limit, billing, list price per 10,000 characters and rate of every model are those of its documentation."""
    limit, billing, price, rate = facts
    card = catalog.card(catalog.service(service), model)
    assert (card.input_limit, card.billing, card.requests_per_minute) == (limit, billing, rate)
    assert [p.per_10k_characters for p in card.prices] == [price and Decimal(price)]
    assert card.prices[0].basis == "list"


def test_every_figure_has_a_source(catalog: Catalog) -> None:
    """Services, cards and prices say where they were read."""
    assert all(service.source for service in catalog.services.values())
    assert all(card.source for card in catalog.cards.values())
    assert all(price.source for card in catalog.cards.values() for price in card.prices)


def test_local_takes_what_either_gateway_takes(catalog: Catalog) -> None:
    """Both models on local have the union of the gateways' parameters, voices and languages."""
    gateways = [catalog.cards["modelstream", FLASH], catalog.cards["baze", INSTRUCT]]
    for model in (FLASH, INSTRUCT):
        card = catalog.cards["local", model]
        assert set(card.parameters) == {name for gateway in gateways for name in gateway.parameters}
        for name in ("voice", "language_type"):
            values = {value for gateway in gateways for value in gateway.parameters[name].choices or ()}
            assert set(card.parameters[name].choices or ()) == values
        assert set(card.languages) == {tag for gateway in gateways for tag in gateway.languages}
        assert not card.parameters["voice"].required


def test_local_follows_a_replaced_card(load_text: LoadText) -> None:
    """The union is derived: what a user adds to a gateway's card is there on local too."""
    catalog = load_text("""
        [[cards]]
        service = "modelstream"
        model = "qwen3-tts-flash"
        like = ["modelstream/qwen3-tts-flash"]
        [cards.parameters.emotion]
        type = "string"
    """)
    assert "emotion" in catalog.cards["local", INSTRUCT].parameters


def test_unknown_service_names_the_known_ones(catalog: Catalog) -> None:
    """A slip in a service's name gets a suggestion."""
    with pytest.raises(ConfigurationError, match="Did you mean 'modelstream'"):
        catalog.service("modelstraem")


def test_unknown_model_names_the_services_models(catalog: Catalog) -> None:
    """A service of the catalog takes its own models only."""
    with pytest.raises(ConfigurationError, match=f"It has: {INSTRUCT}"):
        catalog.card(catalog.service("baze"), FLASH)


def test_service_by_url_is_named_by_it(catalog: Catalog) -> None:
    """With or without /v1 it is the same service, whose name is its URL."""
    services = [catalog.service(url) for url in ("https://gateway.example", "https://gateway.example/v1/")]
    assert services[0] == services[1] == Service(base_url="https://gateway.example")
    assert services[0].name == "https://gateway.example"
    assert services[0].account is None


def test_url_service_gets_the_models_gateway_card(catalog: Catalog) -> None:
    """By URL the card is the one of a service of the same dialect, not the emulator's; prices stay, as list prices."""
    card = catalog.card(catalog.service("http://127.0.0.1:9/v1"), FLASH)
    expected = catalog.cards["modelstream", FLASH]
    assert card == replace(expected, service="http://127.0.0.1:9", list_prices=expected.prices)
    assert card.prices[0].basis == "list"


def test_url_service_has_no_rate_limit_of_anothers(catalog: Catalog) -> None:
    """The maker's rate limit is its own account's: a service by URL has none until told."""
    card = catalog.card(catalog.service("https://gateway.example"), f"{FLASH}-2025-09-18")
    assert card.requests_per_minute is None
    assert card.prices


def test_unknown_model_by_url_is_let_through(catalog: Catalog) -> None:
    """An unknown model on a service by URL takes anything, without price or limit; stream stays out of the body."""
    card = catalog.card(catalog.service("https://gateway.example"), "somebodys-model")
    assert card.permissive
    assert (card.prices, card.input_limit, card.requests_per_minute) == ((), None, None)
    assert not card.parameters["stream"].in_body


def test_a_service_of_ones_own_counts_as_by_url(catalog: Catalog) -> None:
    """A service made in code, under a name the catalog does not know, gets cards as one by URL does."""
    service = Endpoint(name="mine", base_url="https://gateway.example")
    assert catalog.card(service, FLASH).service == "mine"


def test_example_shows_every_form() -> None:
    """The documented example loads, and each of its cards is found."""
    catalog = load_catalog(EXAMPLE)
    studio, workshop = catalog.service("studio"), catalog.service("workshop")
    narrator = catalog.card(studio, "narrator-1")
    assert (studio.account, workshop.auth) == ("marketing", "none")
    assert [price.price_id for price in narrator.prices] == ["studio-2026", "studio-2027"]
    assert {price.basis for price in narrator.prices} == {"user"}
    assert narrator.languages == {"de": "German", "pt-BR": "Brazilian"}
    for service in (studio, workshop, catalog.service("https://gateway.example")):
        assert catalog.card(service, "narrator-2").service == service.name
    replaced = catalog.card(catalog.service("modelstream"), FLASH)
    assert replaced.prices == narrator.prices
    assert "voice" in replaced.parameters
