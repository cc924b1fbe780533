"""Run the command ``browse``: serve a page with a dataset's audio and bill, or with the bill of the ledger."""

from __future__ import annotations

import argparse
from functools import partial

from tts_pipeline.account.location import VARIABLE, find_store
from tts_pipeline.browse.app import BrowseApp
from tts_pipeline.browse.budgets import BudgetReader, read_budgets
from tts_pipeline.browse.ledger_app import LedgerApp
from tts_pipeline.browse.ledger_bill import LedgerBill
from tts_pipeline.browse.serve import serve
from tts_pipeline.catalog.keys import environment
from tts_pipeline.catalog.service import is_loopback_host
from tts_pipeline.cli.ledger import ledger_location, no_ledger
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_result, print_status
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import read_timezone
from tts_pipeline.report.keys import UTC_NAME
from tts_pipeline.storage.open_store import open_store


def browse(arguments: argparse.Namespace) -> int:
    """Serve the page until a signal; its URL is the only line of standard output. Return the exit status."""
    is_ledger = arguments.ledger is not None
    if is_ledger == (arguments.dataset is not None):
        raise ConfigurationError(
            "browse shows a dataset or the ledger", hint="give DATASET, or --ledger for the bill of all jobs"
        )
    if arguments.timezone is not None:
        read_timezone(arguments.timezone)
    app = _ledger_app(arguments) if is_ledger else _dataset_app(arguments)

    def announce(url: str) -> None:
        print_status("Open this page in a browser. Ctrl-C ends it.")
        if not is_loopback_host(arguments.host):
            verb, thing = ("read", "bill") if is_ledger else ("hear and read", "dataset")
            print_status(f"Everybody who reaches this address can {verb} the {thing}: the page has no password.")
        print_result(url)

    serve(app, arguments.host, arguments.port, announce)
    return OK


def _dataset_app(arguments: argparse.Namespace) -> BrowseApp:
    store = open_store(arguments.dataset)
    return BrowseApp(store, arguments.host, _budgets(), arguments.timezone or UTC_NAME)


def _ledger_app(arguments: argparse.Namespace) -> LedgerApp:
    flag = None if arguments.ledger is True else arguments.ledger
    location = ledger_location(argparse.Namespace(ledger=flag))
    ledger = Ledger.open(location)
    if not ledger.is_made():
        raise ConfigurationError(no_ledger(location))
    return LedgerApp(ledger, LedgerBill(ledger, arguments.timezone), str(location), _budgets(), arguments.host)


def _budgets() -> BudgetReader:
    return partial(read_budgets, find_store(environment().get(VARIABLE)))
