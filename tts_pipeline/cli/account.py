"""Run the commands ``account status`` and ``account forget``, and find the account store for all commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tts_pipeline.account import pots
from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.budgets import list_budgets
from tts_pipeline.account.database import Database
from tts_pipeline.account.location import VARIABLE, StoreLocation, find_store, refuse_password
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.status import StoreStatus, read_status
from tts_pipeline.account.worker_rows import all_workers
from tts_pipeline.catalog.keys import environment
from tts_pipeline.cli.account_view import facts, sections
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_json, print_result
from tts_pipeline.errors import ConfigurationError, did_you_mean, printable

_STATUS_HINT = "See tts-pipeline account status"


def show_status(arguments: argparse.Namespace) -> int:
    """Print rates, pauses, workers and budgets, for people or as JSON. Return the exit status."""
    location = store_location(arguments)
    status = read_store(location)
    if arguments.json:
        empty: dict[str, Any] = {"at": None, "accounts": [], "workers": [], "budgets": []}
        print_json({**store_facts(location, status), **(facts(status) if status else empty)})
    elif status is None:
        print_result(no_store(location))
    else:
        print_result("\n\n".join([printable(f"account store {location}"), *sections(status)]))
    return OK


def forget_worker(arguments: argparse.Namespace) -> int:
    """Count all that a dead worker was granted as spent. Return the exit status."""
    location, worker_id = store_location(arguments), arguments.worker
    with open_store(location, makes=False) as database, database.transaction(durable=True) as transaction:
        known = {worker.worker_id: worker for worker, _ in all_workers(transaction)}
        worker = known.get(worker_id)
        terms = {budget.budget_id: budget.terms for budget in list_budgets(transaction)}
        slices = pots.forget(transaction, worker_id, transaction.now_us())
    if slices is None and worker is not None:
        raise ConfigurationError(
            f"the worker {worker_id} lives: process {worker.pid} on {worker.host} makes {worker.destination}",
            hint="end that process first; its lease is over a few seconds later",
        )
    if not slices and worker is None:
        raise ConfigurationError(
            f"the account store {location} has no worker {worker_id!r}",
            hint=f"{did_you_mean(worker_id, known)}{_STATUS_HINT}",
        )
    lines = [f"worker {worker_id} is forgotten"]
    for slice_ in slices or ():
        budget_id, period = slice_.pot.key
        if budget_id in terms:
            counted = Amount(slice_.granted - slice_.confirmed, terms[budget_id].amount.currency)
            lines.append(f"{counted} of {terms[budget_id].name} ({period}) count as spent, beyond what is confirmed")
    print_result("\n".join(map(printable, lines)))
    return OK


def store_location(arguments: argparse.Namespace) -> StoreLocation:
    """Return the store that a command names, else the environment's, else the default.

    Raises:
        ConfigurationError: A flag is empty or holds a password, the setting is none, or no account store.
    """
    if arguments.account_store == "":
        raise ConfigurationError("--account-store must not be empty", hint="leave it out for the default")
    refuse_password(arguments.account_store, "--account-store")
    location = find_store(arguments.account_store or environment().get(VARIABLE))
    if location is None:
        raise ConfigurationError(
            "there is no account store: it is set to none", hint=f"name one with `account_store`, or unset {VARIABLE}"
        )
    return location


@contextmanager
def open_store(location: StoreLocation, *, makes: bool = True) -> Iterator[Database]:
    """Open a store; if it is missing, make it if ``makes``.

    Raises:
        ConfigurationError: The store is missing, or a later program has changed it so that this one may not use it.
        StoreAwayError: The store cannot be reached.
    """
    database = location.open()
    try:
        if not makes and not database.is_made():
            raise ConfigurationError(no_store(location))
        migrate(database)
        yield database
    finally:
        database.close()


def read_store(location: StoreLocation) -> StoreStatus | None:
    """Return a store's status; None, and make nothing, if there is no store yet."""
    database = location.open()
    try:
        if not database.is_made():
            return None
        migrate(database)
        with database.transaction() as transaction:
            return read_status(transaction)
    finally:
        database.close()


def store_facts(location: StoreLocation, status: StoreStatus | None) -> dict[str, Any]:
    """Return where a store is, and whether it is there, for JSON."""
    return {"store": str(location), "is_made": status is not None}


def no_store(location: StoreLocation) -> str:
    """Say that there is no store yet."""
    return printable(f"no account store yet at {location}: the first job makes it, or tts-pipeline budget set")
