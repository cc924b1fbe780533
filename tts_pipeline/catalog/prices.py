"""A user's own prices, in place of the catalog's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from tts_pipeline.card import Card, Endpoint
from tts_pipeline.catalog.card import check_prices, sort_prices
from tts_pipeline.catalog.entries import LOCAL, read_price
from tts_pipeline.catalog.toml_table import TomlTable, read_toml
from tts_pipeline.models import Price

Reference = tuple[str, str]
"""The names of a service and of a model."""


def read_prices(
    file: Path, card_of: Callable[[str, str], Card], catalog_prices: Collection[Price]
) -> dict[Reference, tuple[Price, ...]]:
    """Read a file of prices: by service and model all their prices, in order of time, in place of the catalog's.

    ``[prices.ID]`` is as in a catalog, with ``service`` (a name or a URL) and ``model`` beside; its basis is ``user``.
    An id that the catalog has means the catalog's price, in every bill.

    Raises:
        ConfigurationError: A mistake in it, such as an unknown model, prices that overlap in time, in two currencies or
            not for the model's billing, or an id that is taken; names file and key.
    """
    root = read_toml(file)
    cards: dict[Reference, Card] = {}
    entries: dict[Reference, list[tuple[TomlTable, Price]]] = {}
    for price_id, table in root.tables("prices"):
        service = table.text(table.require("service")) or ""
        model = table.text(table.require("model")) or ""
        card = card_of(service, model)
        price = read_price(price_id, table, "user")
        refuse_duplicate_id(table, price, catalog_prices)
        cards[card.service, card.model] = card
        entries.setdefault((card.service, card.model), []).append((table, price))
    root.refuse_unknown_keys()
    for reference, group in entries.items():
        check_prices(group[-1][0], cards[reference].billing, sort_prices(price for _, price in group), key="")
    return {reference: sort_prices(price for _, price in group) for reference, group in entries.items()}


def refuse_duplicate_id(table: TomlTable, price: Price, catalog_prices: Iterable[Price]) -> None:
    """Refuse a price whose id already means another one: bills are read long after they were written."""
    if any(other.price_id == price.price_id and other != price for other in catalog_prices):
        raise table.error("", "is the id of another price already", "give yours an id of its own")


def caveat(service: Endpoint, card: Card, price: Price | None) -> str | None:
    """Say what a person must know of a cost that this price leads to; None when there is nothing to say.

    A price of None: no price holds.
    """
    if price is None:
        return (
            f"no price is known for {card.model} on {service.name}: its cost is null, which is not 0 "
            "(give one with `prices`)"
        )
    if price.basis == "list" and not service.maker and service.name != LOCAL:
        return (
            f"the cost is at the maker's list price; {service.name} may charge otherwise (give its price with `prices`)"
        )
    return None
