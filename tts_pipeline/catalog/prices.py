"""Read a user's own prices, which replace the catalog's, and describe the caveats of a price."""

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
    """Read a file of prices; return all prices of each service and model in it, in order of time.

    ``[prices.ID]`` is as in a catalog, with ``service`` (a name or a URL) and ``model`` as well; its basis is ``user``,
    and its days are of the time zone of the model's list price.
    An id of the catalog must have the catalog's price, because it means that price in every bill.

    Raises:
        ConfigurationError: The file has a mistake, such as an unknown model, an id of another price, or prices that
            overlap in time, are in two currencies or do not fit the model's billing; the message names file and key.
    """
    root = read_toml(file)
    cards: dict[Reference, Card] = {}
    entries: dict[Reference, list[tuple[TomlTable, Price]]] = {}
    for price_id, table in root.tables("prices"):
        service = table.text(table.require("service")) or ""
        model = table.text(table.require("model")) or ""
        card = card_of(service, model)
        list_timezone = next((price.timezone for price in card.list_prices), "UTC")
        price = read_price(price_id, table, "user", list_timezone)
        refuse_duplicate_id(table, price, catalog_prices)
        cards[card.service, card.model] = card
        entries.setdefault((card.service, card.model), []).append((table, price))
    root.refuse_unknown_keys()
    for reference, group in entries.items():
        check_prices(group[-1][0], cards[reference].billing, sort_prices(price for _, price in group), key="")
    return {reference: sort_prices(price for _, price in group) for reference, group in entries.items()}


def refuse_duplicate_id(table: TomlTable, price: Price, catalog_prices: Iterable[Price]) -> None:
    """Refuse a price whose id already means another price: people read bills long after they were written."""
    if any(other.price_id == price.price_id and other != price for other in catalog_prices):
        raise table.error("", "is already the id of another price", "give your price a new id")


def caveat(service: Endpoint, card: Card, price: Price | None) -> str | None:
    """Return the caveat of a cost at this price, for people; None without a caveat. A price of None is unknown."""
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
