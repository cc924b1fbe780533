"""Run the commands ``services`` and ``models``: print the catalog for people or as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tts_pipeline.card import Card, Parameter
from tts_pipeline.catalog import Catalog, Service, load_catalog
from tts_pipeline.catalog.entries import ANY_SERVICE
from tts_pipeline.catalog.keys import URL_KEY_VARIABLE
from tts_pipeline.catalog.value import expectation
from tts_pipeline.cli.local_service import URL_VARIABLE
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import align_columns, print_json, print_result
from tts_pipeline.errors import ConfigurationError, did_you_mean, printable
from tts_pipeline.models import Price
from tts_pipeline.storage.location import file_path

_VOICE = "voice"


def list_services(arguments: argparse.Namespace) -> int:
    """Print the services of the catalog. Return the exit status."""
    catalog = _catalog(arguments)
    if arguments.json:
        print_json({"services": list(catalog.services.values())})
        return OK
    head = ("SERVICE", "KEY FROM", "DIALECT", "MODELS", "URL")
    rows = [
        (
            service.name,
            _key_source(service),
            service.dialect,
            str(len(_cards_of(catalog, service.name))),
            service.base_url or _LOCAL_URL,
        )
        for service in catalog.services.values()
    ]
    print_result(align_columns([head, *rows]))
    print_result(
        f"\nUse any other service by its URL, with its key in {URL_KEY_VARIABLE}, or by your own catalog (--catalog)."
    )
    return OK


_LOCAL_URL = f"started for the job, or ${URL_VARIABLE}"


def list_models(arguments: argparse.Namespace) -> int:
    """Print models: all in brief, or in full those of a service or of a name. Return the exit status."""
    cards = _select_cards(_catalog(arguments), arguments.service, arguments.model)
    if arguments.json:
        print_json({"models": list(cards)})
    elif arguments.service or arguments.model:
        print_result("\n\n".join(_details(card) for card in cards))
    else:
        head = ("SERVICE", "MODEL", "VOICES", "LANGUAGES", "LIMIT", "PRICE")
        print_result(align_columns([head, *(_summary_cells(card) for card in cards)]))
        print_result("\ntts-pipeline models MODEL [--service NAME] shows voices, languages, parameters and sources.")
    return OK


def _catalog(arguments: argparse.Namespace) -> Catalog:
    return load_catalog(None if arguments.catalog is None else file_path(arguments.catalog))


def _select_cards(catalog: Catalog, service: str | None, model: str | None) -> list[Card]:
    if service is not None and model is not None:
        return [catalog.card(catalog.service(service), model)]
    if service is not None:
        service_cards = _cards_of(catalog, catalog.service(service).name)
        if not service_cards:
            raise ConfigurationError(f"no models of {service!r} are known", hint="name one: models MODEL --service ...")
        return service_cards
    cards = [card for card in catalog.cards.values() if model in {None, card.model}]
    if not cards:
        known = dict.fromkeys(card.model for card in catalog.cards.values())
        raise ConfigurationError(
            f"no service of the catalog has a model {model!r}",
            hint=f"{did_you_mean(model or '', known)}The models are {', '.join(known)}",
        )
    return cards


def _cards_of(catalog: Catalog, service: str) -> list[Card]:
    return [card for card in catalog.cards.values() if card.service in {service, ANY_SERVICE}]


def _key_source(service: Service) -> str:
    return "no key" if service.auth == "none" else service.key_variable or URL_KEY_VARIABLE


def _summary_cells(card: Card) -> tuple[str, ...]:
    voice = card.parameters.get(_VOICE)
    voices = "any" if voice is None or voice.choices is None else str(len(voice.choices))
    prices = "; ".join(_price(price) for price in card.prices) or "not known"
    return card.service, card.model, voices, " ".join(card.languages) or "-", _limit(card), prices


def _details(card: Card) -> str:
    name = card.model if card.snapshot in {None, card.model} else f"{card.model} (= {card.snapshot})"
    rate = "" if card.requests_per_minute is None else f", {card.requests_per_minute} requests a minute"
    lines = [printable(f"{name} on {card.service}"), align_columns(list(_facts(card, rate)), indent="  ")]
    for title, rows in (("voices", list(_voices(card))), ("parameters", list(_parameters(card)))):
        if rows:
            lines += [f"  {title}", align_columns(rows, indent="    ")]
    return "\n".join(lines)


def _facts(card: Card, rate: str) -> Iterator[tuple[str, str]]:
    if card.languages:
        yield "languages", ", ".join(f"{tag} ({word})" for tag, word in card.languages.items())
    yield "limit", f"{_limit(card)}{rate}"
    yield "billed by", _BILLING[card.billing]
    for price in card.prices:
        yield "price", f"{_price(price)} ({_BASIS[price.basis]}{_period(price)}); {price.source or 'no source given'}"
    if not card.prices:
        yield "price", "not known: costs will be null"
    if card.permissive:
        yield "takes", "any parameter"
    if card.source:
        yield "source", card.source


_BILLING = {
    "han_double": "characters, a Han character counts 2",
    "characters": "characters",
    "tokens": "tokens",
}
_BASIS = {"list": "the maker's list price", "user": "your own price"}


def _voices(card: Card) -> Iterator[tuple[str, str]]:
    voice = card.parameters.get(_VOICE)
    for choice in (voice and voice.choices) or ():
        yield str(choice), (voice.labels if voice else {}).get(str(choice), "")


def _parameters(card: Card) -> Iterator[tuple[str, str, str]]:
    for parameter in card.parameters.values():
        yield parameter.name, _takes(parameter), parameter.description


def _takes(parameter: Parameter) -> str:
    takes = "one of the voices" if parameter.name == _VOICE and parameter.choices else expectation(parameter)
    return f"{takes}, required" if parameter.required else takes


def _limit(card: Card) -> str:
    return "no limit known" if card.input_limit is None else f"{card.input_limit} {card.input_unit}"


def _price(price: Price) -> str:
    if price.per_10k_characters is not None:
        return f"{price.per_10k_characters} {price.currency} per 10,000 characters"
    tokens = f"{price.per_1m_input_tokens} in and {price.per_1m_output_tokens} out"
    return f"{tokens} {price.currency} per 1,000,000 tokens"


def _period(price: Price) -> str:
    begins = f", from {price.effective_from}" if price.effective_from else ""
    return begins + (f", until before {price.effective_until}" if price.effective_until else "")
