"""Run the commands ``budget set``, ``budget list`` and ``budget remove``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from tts_pipeline.account import budgets
from tts_pipeline.account.amounts import Amount, parse_amount
from tts_pipeline.account.budgets import Condition, Terms
from tts_pipeline.catalog import load_catalog
from tts_pipeline.catalog.service import normalise_url
from tts_pipeline.cli.account import no_store, open_store, read_store, store_facts, store_location
from tts_pipeline.cli.account_view import budget_facts, budget_table
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_json, print_result, print_status
from tts_pipeline.errors import ConfigurationError, did_you_mean, printable


def set_budget(arguments: argparse.Namespace) -> int:
    """Add a budget, or change one. Return the exit status."""
    location = store_location(arguments)
    terms = Terms(
        arguments.name,
        _amount(arguments.amount),
        arguments.per,
        arguments.timezone,
        Condition(_tags(arguments.where), _service(arguments.service), arguments.model),
    )
    with open_store(location) as database, database.transaction(durable=True) as transaction:
        old = budgets.set_budget(transaction, terms)
    text = f"budget {terms.name}: {terms.amount} per {terms.per}, for {terms.condition}; it {_effect(terms)}"
    if old is not None:
        text += f". Before, it was {old.terms.amount} for {old.terms.condition}: what was spent stays counted"
    print_result(printable(f"{text} (account store {location})"))
    for doubt in _doubts(terms):
        print_status(printable(f"tts-pipeline: {doubt}"))
    return OK


def list_budgets(arguments: argparse.Namespace) -> int:
    """Print all budgets, for people or as JSON. Return the exit status."""
    location = store_location(arguments)
    status = read_store(location)
    statuses = status.budgets if status else ()
    if arguments.json:
        print_json({**store_facts(location, status), "budgets": [budget_facts(one) for one in statuses]})
    else:
        print_result(no_store(location) if status is None else budget_table(statuses))
    return OK


def remove_budget(arguments: argparse.Namespace) -> int:
    """Remove a budget. Return the exit status."""
    location = store_location(arguments)
    with open_store(location, makes=False) as database, database.transaction(durable=True) as transaction:
        terms = budgets.remove_budget(transaction, arguments.name).terms
    print_result(printable(f"budget {terms.name} ({terms.amount} per {terms.per}) is removed: it counts nothing more"))
    return OK


def _amount(words: Sequence[str]) -> Amount:
    try:
        return parse_amount(" ".join(words))
    except ValueError as error:
        raise ConfigurationError(f"AMOUNT {error}", hint="see tts-pipeline budget set --help") from None


def _effect(terms: Terms) -> str:
    which = " that matches" if terms.condition != Condition() else ", of all accounts"
    if not terms.amount.value:
        return f"stops every job{which}, because nothing may be spent"
    return f"counts every request from now on{which}"


def _doubts(terms: Terms) -> Iterator[str]:
    """Yield a doubt about each name that the built-in catalog lacks: a typing error makes a budget that counts nothing.

    It may as well be a name of a job's own catalog, or a model of a service by URL.
    """
    catalog, service, model = load_catalog(), terms.condition.service, terms.condition.model
    only = "only jobs with exactly this name count"
    if service is not None and "://" not in service and service not in catalog.services:
        hint = f"{did_you_mean(service, catalog.services)}See tts-pipeline services"
        yield f"the catalog has no service {service!r}: {only} ({hint})"
    cards = [card for card in catalog.cards.values() if service not in catalog.services or card.service == service]
    models = [card.model for card in cards]
    if model is not None and model not in models:
        on_service = f" on {service}" if service in catalog.services else ""
        hint = f"{did_you_mean(model, models)}See tts-pipeline models"
        yield f"the catalog has no model {model!r}{on_service}: {only} ({hint})"
    currency, currencies = terms.amount.currency, {price.currency for card in cards for price in card.prices}
    if currency is not None and currency not in currencies:
        yield (
            f"the catalog has no such price in {currency}, but in {', '.join(sorted(currencies))}: jobs that match are "
            "refused unless they have their own price in it"
        )


def _tags(pairs: Sequence[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise ConfigurationError(f"--where is {pair!r}", hint="write --where KEY=VALUE, such as --where team=radio")
        if key.startswith("tag:"):
            raise ConfigurationError(
                f"--where is {pair!r}, of a tag whose key begins with 'tag:'",
                hint=f"write --where {pair.removeprefix('tag:')}: these conditions are on tags only",
            )
        if tags.setdefault(key, value) != value:
            raise ConfigurationError(
                f"--where gives {key!r} a second value: {value!r} beside {tags[key]!r}, and no request has both",
                hint="set a budget for each value",
            )
    return tags


def _service(name: str | None) -> str | None:
    """Return a service's name as in the usage table: a URL becomes the name that a job has it by."""
    return normalise_url(name) if name and "://" in name else name
