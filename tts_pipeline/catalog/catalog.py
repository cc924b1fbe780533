"""Look up services and model cards in the catalog, built in or from a user's file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from tts_pipeline.card import Card, Endpoint, Parameter
from tts_pipeline.catalog.entries import ANY_SERVICE, LOCAL
from tts_pipeline.catalog.keys import environment, with_key
from tts_pipeline.catalog.loader import Layer, built_in_layer, resolve_cards, user_layer
from tts_pipeline.catalog.prices import read_prices
from tts_pipeline.catalog.service import Service
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.models import Price

_STREAM = Parameter("stream", "boolean", in_body=False, description="Ask for server-sent events.")


@dataclass(frozen=True, slots=True)
class Catalog:
    """Services and model cards by name.

    Args:
        services: Services by name, in the order of the files.
        cards: Cards by (service, model), in the order of the files.
        prices: A user's own prices by (service, model), in place of the card's.
    """

    services: Mapping[str, Service]
    cards: Mapping[tuple[str, str], Card]
    prices: Mapping[tuple[str, str], tuple[Price, ...]] = field(default_factory=dict)

    def service(self, name_or_url: str) -> Service:
        """Return a service without its key.

        Args:
            name_or_url: A name of the catalog, or a URL with or without ``/v1``, which becomes the name.

        Raises:
            ConfigurationError: The argument is neither a known name nor a URL.
        """
        if "://" in name_or_url:
            return Service(base_url=name_or_url)
        if name_or_url not in self.services:
            hint = f"{did_you_mean(name_or_url, self.services)}Use one of {', '.join(self.services)}, or a URL, http..."
            raise ConfigurationError(f"unknown service {name_or_url!r}", hint=hint)
        return self.services[name_or_url]

    def card(self, service: Endpoint, model: str) -> Card:
        """Return the card of a model on a service.

        Args:
            service: A service of the catalog, or a service by URL.
            model: The model's name as sent.

        Returns:
            The service's own card, else the card for any service. A service by URL may also get the model's card on the
            first other service in the catalog, preferably of the same dialect: with the maker's prices, but without the
            limits of rate and concurrency, which are another account's. For a model without any card, it gets a card
            that sends any parameter and has no price and no limit.

        Raises:
            ConfigurationError: A service of the catalog has no such model; the hint lists its models.
        """
        card = self._find_card(service, model)
        list_prices = tuple(price for price in card.prices if price.basis == "list")
        return replace(card, prices=self.prices.get((service.name, model), card.prices), list_prices=list_prices)

    def _find_card(self, service: Endpoint, model: str) -> Card:
        exact = self.cards.get((service.name, model)) or self.cards.get((ANY_SERVICE, model))
        if exact is not None:
            return replace(exact, service=service.name)
        if service.name in self.services:
            raise self._unknown_model(service.name, model)
        borrowed = self._borrowed_card(service, model)
        if borrowed is None:
            return Card(service.name, model, parameters={_STREAM.name: _STREAM}, permissive=True)
        return replace(borrowed, service=service.name, requests_per_minute=None, account_concurrency=None)

    def _borrowed_card(self, service: Endpoint, model: str) -> Card | None:
        # The emulator's cards come last, because they describe no real model.
        names = sorted(self.services, key=lambda name: (name == LOCAL, self.services[name].dialect != service.dialect))
        return next((self.cards[name, model] for name in names if (name, model) in self.cards), None)

    def _unknown_model(self, service: str, model: str) -> ConfigurationError:
        models = [card.model for card in self.cards.values() if card.service in {service, ANY_SERVICE}]
        hint = f"{did_you_mean(model, models)}It has: {', '.join(models) or 'no model'}; add a card with `catalog`"
        return ConfigurationError(f"service {service!r} has no model {model!r}", hint=hint)


AnyCatalog = Catalog | str | os.PathLike[str]
"""A catalog, or the TOML file of a user's own."""


def load_catalog(path: AnyCatalog | None = None, prices: str | os.PathLike[str] | None = None) -> Catalog:
    """Load the built-in catalog, with a user's own catalog and prices.

    Args:
        path: A TOML file that adds services, prices and cards, or replaces those of the same name; None adds nothing.
            ``example.toml`` beside this module shows every form. Or a loaded catalog, in place of all these.
        prices: A TOML file with a user's own prices, as in ``example-prices.toml`` there; None adds nothing.

    Raises:
        ConfigurationError: A file has a mistake; the message names the file, the key and the expected value.
    """
    layers = [] if isinstance(path, Catalog) else _load_layers(path)
    catalog = path if isinstance(path, Catalog) else _lay_over(layers)
    if prices is None:
        return catalog
    catalog_prices = [price for layer in layers for price in layer.prices.values()]
    catalog_prices += [price for card in catalog.cards.values() for price in card.prices]
    user_prices = read_prices(
        _path(prices), lambda service, model: catalog.card(catalog.service(service), model), catalog_prices
    )
    return replace(catalog, prices={**catalog.prices, **user_prices})


def _load_layers(path: str | os.PathLike[str] | None) -> list[Layer]:
    layers = [built_in_layer()]
    if path is not None:
        layers.append(user_layer(_path(path), layers[0].prices.values()))
    return layers


def _lay_over(layers: Sequence[Layer]) -> Catalog:
    catalog = _built_in_catalog() if len(layers) == 1 else _resolve(layers)
    return Catalog(dict(catalog.services), dict(catalog.cards))  # the caller's own


@cache
def _built_in_catalog() -> Catalog:
    """Read all built-in cards once: this takes 6 ms, and each job needs one of them."""
    return _resolve([built_in_layer()])


def _resolve(layers: Sequence[Layer]) -> Catalog:
    services = {name: service for layer in layers for name, service in layer.services.items()}
    return Catalog(services, resolve_cards(layers, services))


def _path(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 (that of pathlib raises)


def find_service(name: str, *, catalog: AnyCatalog | None = None, environ: Mapping[str, str] | None = None) -> Service:
    """Return a service with its key from the environment.

    Args:
        name: A name of the catalog, or a URL.
        catalog: The catalog to search, or the TOML file of your own; None is the built-in catalog.
        environ: The variables that hold keys; None is the process's environment.

    Raises:
        ConfigurationError: The name is unknown, or the key is missing.
    """
    service = load_catalog(catalog).service(name)
    return with_key(service, environment() if environ is None else environ)
