"""A user's own prices, and what is said of a price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tts_pipeline.catalog import Catalog, Service, load_catalog
from tts_pipeline.catalog.prices import caveat
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.money import price_at

FLASH = "qwen3-tts-flash"
EXAMPLE = Path(load_catalog.__code__.co_filename).with_name("example-prices.toml")
ONE = f'[prices.one]\nservice = "modelstream"\nmodel = "{FLASH}"\ncurrency = "CNY"\n'

LoadPrices = Callable[[str], Catalog]


@pytest.fixture
def load_prices(tmp_path: Path) -> LoadPrices:
    """Load the built-in catalog with a user's prices from their text."""

    def load(content: str) -> Catalog:
        file = tmp_path / "prices.toml"
        file.write_text(content, encoding="utf-8")
        return load_catalog(prices=file)

    return load


def ids_of(catalog: Catalog, service: str, model: str = FLASH) -> list[str]:
    return [price.price_id for price in catalog.card(catalog.service(service), model).prices]


def test_the_example_is_read() -> None:
    """Every key that may be written is shown in it, and it is right."""
    catalog = load_catalog(prices=EXAMPLE)
    prices = catalog.card(catalog.service("modelstream"), FLASH).prices
    assert [(price.price_id, price.basis) for price in prices] == [
        ("flash-contract-2026", "user"),
        ("flash-contract-2027", "user"),
    ]
    price = price_at(prices, datetime(2027, 1, 1, tzinfo=UTC))
    assert price is not None
    assert price.per_10k_characters == Decimal("0.7")
    assert price_at(prices, datetime(2025, 12, 31, tzinfo=UTC)) is None
    assert ids_of(catalog, "dashscope", "qwen-tts") == ["qwen-tts-discount"]


def test_they_take_the_place_of_that_models_prices_only(load_prices: LoadPrices) -> None:
    """All of them, on that service; other models, other services and their limits stay as they are."""
    catalog = load_prices(f"{ONE}per_10k_characters = 0.5\neffective_from = 2030-01-01")
    assert ids_of(catalog, "modelstream") == ["one"]
    prices = catalog.card(catalog.service("modelstream"), FLASH).prices
    assert price_at(prices, datetime(2029, 12, 31, 15, 59, tzinfo=UTC)) is None
    assert price_at(prices, datetime(2029, 12, 31, 16, tzinfo=UTC)) is not None, "a day of the vendor"
    assert ids_of(catalog, "dashscope") == ids_of(catalog, "local") == ["aliyun-qwen3-tts-flash"]


def test_a_service_by_url_can_have_prices(load_prices: LoadPrices) -> None:
    """However the URL is written, and also for a model that is not known."""
    catalog = load_prices("""
        [prices.gate]
        service = "https://Gate.example/v1/"
        model = "qwen3-tts-flash"
        currency = "EUR"
        per_10k_characters = 0.1
        [prices.new]
        service = "https://gate.example"
        model = "narrator-9"
        currency = "EUR"
        per_10k_characters = 0.2
    """)
    assert ids_of(catalog, "https://gate.example") == ["gate"]
    assert ids_of(catalog, "https://gate.example/v1", "narrator-9") == ["new"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{ONE}per_10k_characters = 1\neffective = 2026-01-01", "prices.one.effective is not a known key"),
        (ONE, "must be given alone"),
        (ONE.replace(FLASH, "qwen3-tts-flsh") + "per_10k_characters = 1", "Did you mean 'qwen3-tts-flash'"),
        (ONE.replace("modelstream", "modelstraem") + "per_10k_characters = 1", "Did you mean 'modelstream'"),
        (f"{ONE}per_1m_input_tokens = 1\nper_1m_output_tokens = 1", "not a price for billing by han_double"),
        (
            ONE.replace("prices.one", "prices.openai-tts-1") + "per_10k_characters = 1",
            "already the id of another price",
        ),
        ('[prices.one]\nmodel = "m"\ncurrency = "CNY"\nper_10k_characters = 1', "prices.one.service is missing"),
        (
            f"{ONE}per_10k_characters = 1\n" + ONE.replace("one", "two") + "per_10k_characters = 2",
            "'one' and 'two' apply at the same time",
        ),
        (
            f"{ONE}per_10k_characters = 1\neffective_until = 2026-01-01\n"
            + ONE.replace("one", "two").replace("CNY", "EUR")
            + "per_10k_characters = 2\neffective_from = 2026-01-01",
            "one currency",
        ),
        ("[services.mine]", "services is not a known key"),
    ],
)
def test_a_mistake_names_the_file_and_the_key(load_prices: LoadPrices, content: str, message: str) -> None:
    """And, where there is one, the way out."""
    with pytest.raises(ConfigurationError, match=message):
        load_prices(content)


def test_a_list_price_is_doubtful_on_a_gateway_only(catalog: Catalog) -> None:
    """The maker charges its own list price, nobody charges for the local service, and a user knows the user's."""
    cards = {name: catalog.card(catalog.service(name), FLASH) for name in ("modelstream", "dashscope", "local")}
    caveats = {name: caveat(catalog.service(name), card, card.prices[0]) for name, card in cards.items()}
    assert "modelstream may charge otherwise" in (caveats.pop("modelstream") or "")
    assert set(caveats.values()) == {None}
    own = replace(cards["modelstream"].prices[0], basis="user")
    assert caveat(catalog.service("modelstream"), cards["modelstream"], own) is None


def test_a_cost_that_is_not_known_is_said_to_be_null(catalog: Catalog) -> None:
    """Never 0."""
    service = Service(base_url="https://gate.example")
    message = caveat(service, catalog.card(service, "narrator-9"), None)
    assert message is not None
    assert "no price is known for narrator-9 on https://gate.example: its cost is null, which is not 0" in message
