"""Run the command ``reconcile``: print the bridge to an invoice, write the differences, and settle them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from tts_pipeline.cli.ledger import ledger_location, no_ledger
from tts_pipeline.cli.status import OK, REJECTS
from tts_pipeline.cli.terminal import align_columns, print_json, print_result, print_status
from tts_pipeline.errors import ConfigurationError, printable
from tts_pipeline.ledger import Ledger
from tts_pipeline.ledger.compaction import Month
from tts_pipeline.ledger.scan import scan_ledger
from tts_pipeline.periods import Period, instant, microseconds
from tts_pipeline.reconcile import (
    Invoice,
    Layout,
    Reconciliation,
    find_layout,
    months_of,
    read_invoice,
    reconcile,
    settlement_name,
    settlements,
)
from tts_pipeline.reconcile.result import UNEXPLAINED
from tts_pipeline.report import usage
from tts_pipeline.report.spreadsheet import to_csv
from tts_pipeline.storage.location import file_path
from tts_pipeline.storage.store import storage_errors

Result = TypeVar("Result")

_MARGIN = timedelta(days=32)
"""How far outside the invoice's period a request is looked for by its id."""

_WORDS = {
    "confirmed": "our confirmed sum",
    "failed": "failed requests that were charged",
    "unknown": "requests with an unknown outcome",
    "unpriced": "requests without a price",
    "price_day": "at the price of another day",
    "wrong_day": "on another day",
    "rounding": "rounding",
    "credit": "credits",
    "foreign_account": "other accounts",
    "other_currency": "other currency",
    "double": "  charged twice",
    "only_ours": "  not on the invoice",
    "only_theirs": "  not in the usage",
    "wrong_quantity": "  other quantity",
    "wrong_price": "  other price",
    "invoice": "invoice",
}


@dataclass(frozen=True, slots=True)
class _Settlement:
    """What is added to the ledger: rows of usage under a name."""

    name: str
    rows: pa.Table


def show_reconciliation(arguments: argparse.Namespace) -> int:
    """Print the bridge and write the differences; return 3 if something is unexplained and not settled."""
    if arguments.settle and arguments.datasets:
        raise ConfigurationError("--settle adds to a ledger, and datasets were given", hint="leave DATASET out")
    output = _output(arguments.output)
    layout = find_layout(arguments.layout)
    if arguments.service:
        layout = replace(layout, services=tuple(arguments.service))
    invoice = read_invoice(_read(arguments.invoice), layout, arguments.invoice)
    period = _period(arguments.month, invoice, layout)
    ledger = None if arguments.datasets else _open_ledger(arguments)

    def compare(rows: pl.LazyFrame) -> tuple[Reconciliation, _Settlement | None]:
        result = reconcile(rows, invoice.lines, layout, period)
        return result, _settlement(result, invoice) if arguments.settle else None

    if ledger is None:
        with storage_errors("reading the usage", (pl.exceptions.PolarsError, OSError)):
            result, settled = compare(usage(arguments.datasets))
    else:
        result, settled = _query(ledger, period, compare)
    _write(result.differences, output)
    if ledger is not None and settled is not None and settled.rows.num_rows:
        ledger.append_settlement(settled.name, settled.rows)
    notes = [*invoice.notes, *result.notes, *_open_runs(ledger, period)]
    if arguments.json:
        print_json({**_facts(result, invoice, layout, period), "notes": notes, **_settled_facts(settled)})
    else:
        print_result("\n".join(_lines(result, invoice, layout, period)))
    for note in notes:
        print_status(printable(f"note: {note}"))
    count = result.differences.height
    print_status(printable(f"{output}: {count:,} row{'' if count == 1 else 's'}"))
    if settled is not None:
        print_status(_settled_line(settled))
    return REJECTS if result.disputed and not arguments.settle else OK


def _output(name: str) -> Path:
    path = file_path(name)
    if path.suffix.lower() not in {".parquet", ".csv"}:
        raise ConfigurationError(f"{name} is neither .parquet nor .csv", hint="name such a file with --output")
    return path


def _read(name: str) -> bytes:
    path = file_path(name)
    if not path.is_file():
        raise ConfigurationError(f"there is no file {name}", hint="give the invoice as the vendor exports it, as CSV")
    with storage_errors(f"reading {name}"):
        return path.read_bytes()


def _period(month: str | None, invoice: Invoice, layout: Layout) -> Period:
    """Return the month that was named, else the months of the invoice's lines."""
    if month is not None:
        interval = Month.of(month, layout.timezone).interval
        return Period(month, instant(interval.start_us), instant(interval.end_us))
    return months_of(invoice.lines, layout)


def _open_ledger(arguments: argparse.Namespace) -> Ledger:
    location = ledger_location(arguments)
    ledger = Ledger.open(location)
    if not ledger.is_made():
        raise ConfigurationError(no_ledger(location))
    return ledger


def _query(ledger: Ledger, period: Period, compare: Callable[[pl.LazyFrame], Result]) -> Result:
    """Return what a function makes of a ledger's usage of a period, and of the days before and after it."""
    assert period.start is not None
    assert period.end is not None
    since_us, until_us = microseconds(period.start - _MARGIN), microseconds(period.end + _MARGIN)
    return ledger.query(lambda contents: compare(scan_ledger(contents)), since_us, until_us)


def _open_runs(ledger: Ledger | None, period: Period) -> Iterator[str]:
    runs = [] if ledger is None else [run for run in ledger.open_runs() if run.started_at_us < (period.end_us or 0)]
    if runs:
        open_runs = "1 run is open" if len(runs) == 1 else f"{len(runs):,} runs are open"
        yield f"{open_runs}: what is not published yet is not in the ledger (see tts-pipeline ledger status)"


def _write(differences: pl.DataFrame, path: Path) -> None:
    with storage_errors(f"writing {path}"):
        if path.suffix.lower() == ".csv":
            path.write_text(to_csv(differences), encoding="utf-8")
        else:
            with path.open("wb") as file:  # Polars takes no path whose name is not UTF-8
                differences.write_parquet(file)


def _settlement(result: Reconciliation, invoice: Invoice) -> _Settlement:
    label = Path(invoice.name).name
    rows = settlements(result, label)
    return _Settlement(settlement_name(rows, result, label), rows)


def _settled_line(settled: _Settlement) -> str:
    count = settled.rows.num_rows
    if not count:
        return "settled: the report equals the invoice already"
    rows = f"{count:,} row{'' if count == 1 else 's'}"
    return printable(f"settled: {rows} in {settled.name}; the report equals the invoice now")


def _lines(result: Reconciliation, invoice: Invoice, layout: Layout, period: Period) -> Iterator[str]:
    yield printable(f"{invoice.name}: {period.key} ({layout.timezone}), layout {layout.name}")
    unexplained = result.unexplained
    for (currency,), steps in result.bridge.partition_by("currency", as_dict=True, maintain_order=True).items():
        table = [("", f"{currency}", "differences")]
        is_listed = False
        for _, step, count, amount in steps.iter_rows():
            if (step in UNEXPLAINED or step == "invoice") and not is_listed:
                table.append(("unexplained", _amount(unexplained[currency]), ""))
                is_listed = True
            is_sum = step in {"confirmed", "invoice"}
            table.append((_WORDS[step], f"{amount:,f}" if is_sum else _amount(amount), "" if is_sum else f"{count:,}"))
        yield ""
        yield align_columns(_right_aligned(table))


def _right_aligned(table: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    widths = [max(len(row[column]) for row in table) for column in (1, 2)]
    return [(word, amount.rjust(widths[0]), count.rjust(widths[1])) for word, amount, count in table]


def _amount(amount: Decimal) -> str:
    return f"{amount:+,f}" if amount else f"{amount:,f}"


def _facts(result: Reconciliation, invoice: Invoice, layout: Layout, period: Period) -> dict[str, Any]:
    kinds = result.differences.group_by("kind").len().sort("kind")
    return {
        "invoice": invoice.name,
        "layout": layout.name,
        "period": period.key,
        "timezone": layout.timezone,
        "bridge": result.bridge.to_dicts(),
        "unexplained": result.unexplained,
        "differences": dict(kinds.iter_rows()),
    }


def _settled_facts(settled: _Settlement | None) -> dict[str, Any]:
    if settled is None:
        return {"settlement": None, "settled_rows": None}
    count = settled.rows.num_rows
    return {"settlement": settled.name if count else None, "settled_rows": count}
