"""Parse model cards from a catalog file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal, cast

from tts_pipeline.card import Card
from tts_pipeline.catalog.entries import read_parameter
from tts_pipeline.catalog.toml_table import TomlTable
from tts_pipeline.catalog.union import unite_cards
from tts_pipeline.errors import did_you_mean
from tts_pipeline.models import Price

LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
"""The form of a BCP-47 tag whose language is an ISO 639 code (RFC 5646; other primary subtags are not in use)."""

_UNITS = ("characters", "bytes", "tokens")
_COUNTERS = ("han_double", "characters", "tokens")


def read_card(table: TomlTable, like: Callable[[str], Card], prices: Mapping[str, Price]) -> Card:
    """Read one ``[[cards]]`` table; ``like`` looks a card up by ``service/model``.

    The cards that the table is ``like`` supply the values that it lacks; its parameters and languages are added to
    theirs, or replace those of the same name.
    """
    service = table.text(table.require("service")) or ""
    model = table.text(table.require("model")) or ""
    base = unite_cards([like(reference) for reference in table.text_array("like") or ()]) or Card(service, model)
    unit = table.one_of("input_unit", _UNITS) or base.input_unit
    billing = table.one_of("billing", _COUNTERS) or base.billing
    card = Card(
        service=service,
        model=model,
        snapshot=table.text("snapshot") or base.snapshot,
        parameters={
            **base.parameters,
            **{name: read_parameter(name, inner) for name, inner in table.tables("parameters")},
        },
        languages={**base.languages, **table.text_table("languages")},
        language_parameter=table.text("language_parameter") or base.language_parameter,
        input_limit=table.positive_integer("input_limit") or base.input_limit,
        input_unit=cast("Literal['characters', 'bytes', 'tokens']", unit),
        billing=cast("Literal['han_double', 'characters', 'tokens']", billing),
        output_tokens_per_second=table.positive_integer("output_tokens_per_second") or base.output_tokens_per_second,
        prices=_prices(table, prices) if "prices" in table else base.prices,
        requests_per_minute=table.positive_integer("requests_per_minute") or base.requests_per_minute,
        account_concurrency=table.positive_integer("account_concurrency") or base.account_concurrency,
        permissive=table.boolean("permissive", default=base.permissive),
        source=table.text("source") or base.source,
    )
    table.refuse_unknown_keys()
    for key, value in (("service", service), ("model", model)):
        if not value.strip():
            raise table.error(key, "must not be empty")
    _check_languages(table, card)
    check_prices(table, card.billing, card.prices)
    return card


def _prices(table: TomlTable, catalog_prices: Mapping[str, Price]) -> tuple[Price, ...]:
    price_ids = table.text_array("prices") or ()
    for price_id in price_ids:
        if price_id not in catalog_prices:
            raise table.error("prices", f"names an unknown price {price_id!r}", did_you_mean(price_id, catalog_prices))
    return sort_prices(catalog_prices[price_id] for price_id in price_ids)


def sort_prices(prices: Iterable[Price]) -> tuple[Price, ...]:
    """Return prices in the order of their first days."""
    return tuple(sorted(prices, key=lambda price: price.begin or datetime.min.replace(tzinfo=UTC)))


def _check_languages(table: TomlTable, card: Card) -> None:
    parameter = card.parameters.get(card.language_parameter or "")
    if card.language_parameter and parameter is None:
        hint = did_you_mean(card.language_parameter, card.parameters)
        raise table.error("language_parameter", "must be one of the card's parameters", hint)
    if card.languages and parameter is None:
        raise table.error("language_parameter", "is missing: the card has languages")
    words = list(card.languages.values())
    for tag, word in card.languages.items():
        if not LANGUAGE_TAG.fullmatch(tag):
            raise table.error(f"languages.{tag}", "must be a BCP-47 tag, such as de or zh-CN")
        if words.count(word) > 1 or (parameter and parameter.choices is not None and word not in parameter.choices):
            raise table.error(
                f"languages.{tag}", f"must be a unique word among the choices of {parameter and parameter.name}"
            )


def check_prices(table: TomlTable, billing: str, prices: Sequence[Price], *, key: str = "prices") -> None:
    """Check that a model's prices, in order of time, fit together and fit its ``billing``.

    Raises:
        ConfigurationError: A price is not for this billing, the prices are in two currencies, or two prices apply on
            the same day.
    """
    for price in prices:
        if (price.per_10k_characters is None) != (billing == "tokens"):
            raise table.error(key, f"has {price.price_id!r}, which is not a price for billing by {billing}")
    if len({price.currency for price in prices}) > 1:
        raise table.error(key, "must be in one currency, because a model's costs are added up")
    for earlier, later in pairwise(prices):
        ends, begins = earlier.end, later.begin
        if ends is None or begins is None or begins < ends:
            pair = f"{earlier.price_id!r} and {later.price_id!r}"
            raise table.error(key, f"overlap: {pair} apply at the same time", "effective_until is exclusive")
