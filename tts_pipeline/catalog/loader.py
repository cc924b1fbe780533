"""Load catalog files, and combine a user's file with the built-in files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from tts_pipeline.card import Card
from tts_pipeline.catalog.card import read_card
from tts_pipeline.catalog.entries import ANY_SERVICE, read_price, read_service
from tts_pipeline.catalog.prices import refuse_duplicate_id
from tts_pipeline.catalog.service import Service
from tts_pipeline.catalog.toml_table import TomlTable, parse_toml, read_toml
from tts_pipeline.errors import did_you_mean
from tts_pipeline.models import Price

BUILT_IN = ("services", "prices", "modelstream", "baze", "local", "dashscope", "openai")
"""The files of the built-in catalog, in the order in which lists show services and models."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The entries of one catalog; cards are still tables, because they may build on the layer below."""

    services: dict[str, Service] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=dict)
    cards: dict[str, TomlTable] = field(default_factory=dict)


@cache
def built_in_layer() -> Layer:
    """Read the package's own data, once: this takes 5 ms. Nobody changes the layer."""
    layer = Layer()
    data = Path(__file__).with_name("data")  # not by importlib.resources, whose import takes 6 ms
    for name in BUILT_IN:
        file = f"{name}.toml"
        _add_entries(layer, parse_toml((data / file).read_text(encoding="utf-8"), file), "list")
    return layer


def user_layer(file: Path, catalog_prices: Collection[Price] = ()) -> Layer:
    """Read a user's own catalog; the basis of its prices is ``user`` by default, and their ids must be new.

    Raises:
        ConfigurationError: The file has a mistake; the message names the file, the key and the expected value.
    """
    layer = Layer()
    _add_entries(layer, read_toml(file), "user", catalog_prices)
    return layer


def resolve_cards(layers: Sequence[Layer], services: Collection[str]) -> dict[tuple[str, str], Card]:
    """Turn the tables of all layers, the lowest first, into cards; an upper layer's card replaces a lower layer's."""
    prices = {name: price for layer in layers for name, price in layer.prices.items()}
    resolver = _Resolver(layers, prices, services)
    references = dict.fromkeys(reference for layer in layers for reference in layer.cards)
    cards = [resolver.card(reference, len(layers) - 1) for reference in references]
    return {(card.service, card.model): card for card in cards}


class _Resolver:
    def __init__(self, layers: Sequence[Layer], prices: Mapping[str, Price], services: Collection[str]) -> None:
        self._layers = layers
        self._prices = prices
        self._services = {*services, ANY_SERVICE}
        self._known = [reference for layer in layers for reference in layer.cards]
        self._cards: dict[tuple[str, int], Card] = {}
        self._in_progress: set[tuple[str, int]] = set()

    def card(self, reference: str, top: int) -> Card:
        """Return the card of a reference on a layer: that layer's own, else the next lower layer's."""
        level = next(level for level in range(top, -1, -1) if reference in self._layers[level].cards)
        key = (reference, level)
        if key not in self._cards:
            self._in_progress.add(key)
            self._cards[key] = self._read_card(reference, level, top)
            self._in_progress.remove(key)
        return self._cards[key]

    def _read_card(self, reference: str, level: int, top: int) -> Card:
        table = self._layers[level].cards[reference]

        def like(other: str) -> Card:
            # A card that is like itself refers to the card that it replaces.
            below = level - 1 if other == reference else top
            if not any(other in layer.cards for layer in self._layers[: below + 1]):
                raise table.error("like", f"names an unknown card {other!r}", did_you_mean(other, self._known))
            if other != reference and any(other == name for name, _ in self._in_progress):
                raise table.error("like", f"forms a circle: {other!r} leads back to {reference!r}")
            return self.card(other, below)

        card = read_card(table, like, self._prices)
        if card.service not in self._services:
            hint = f"{did_you_mean(card.service, self._services)}or add [services.{card.service}]"
            raise table.error("service", f"names an unknown service {card.service!r}", hint)
        return card


def _add_entries(
    layer: Layer, root: TomlTable, basis: Literal["list", "user"], catalog_prices: Collection[Price] = ()
) -> None:
    for name, table in root.tables("services"):
        layer.services[name] = read_service(name, table)
    for price_id, table in root.tables("prices"):
        layer.prices[price_id] = read_price(price_id, table, basis)
        refuse_duplicate_id(table, layer.prices[price_id], catalog_prices)
    for table in root.array_of_tables("cards"):
        reference = f"{table.text(table.require('service'))}/{table.text(table.require('model'))}"
        if reference in layer.cards:
            raise table.error("model", f"has a second card: {reference}")
        layer.cards[reference] = table
    root.refuse_unknown_keys()
