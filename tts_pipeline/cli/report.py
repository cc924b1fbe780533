"""Run the command ``report``: print or write the cost of datasets or of the ledger, grouped by any column."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from tts_pipeline.cli.focus import show_focus
from tts_pipeline.cli.report_view import open_facts, open_lines, report_text
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import json_line, print_result, print_status
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.ledger.location import refuse_password
from tts_pipeline.report.bill import Bill, query_bill
from tts_pipeline.report.period import ReportPeriod, read_period
from tts_pipeline.report.reprice import read_new_prices, repriced_report
from tts_pipeline.report.spreadsheet import to_csv
from tts_pipeline.report.usage import savings_by_origin, sum_bill
from tts_pipeline.storage.location import file_path
from tts_pipeline.storage.store import storage_errors

_BY_SUFFIX: Mapping[str, str] = {
    **dict.fromkeys(("", ".txt"), "table"),
    ".csv": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".md": "markdown",
}


def show_report(arguments: argparse.Namespace) -> int:
    """Print the report, or write it to a file. Return the exit status."""
    kind = _format(arguments)
    period = read_period(
        month=arguments.month, since=arguments.since, until=arguments.until, timezone=arguments.timezone
    )
    _check_ledger(arguments)
    if kind == "focus":
        return show_focus(arguments, period)
    read = partial(_read, arguments, kind)
    report, savings, bill = query_bill(arguments.datasets or None, arguments.ledger, period, read)
    if arguments.output is None:
        print_result(_text(kind, report, savings, bill, period))
        return OK
    path = file_path(arguments.output)
    with storage_errors(f"writing {path}"):
        if kind == "parquet":
            with path.open("wb") as file:  # Polars takes no path whose name is not UTF-8
                report.write_parquet(file)
        else:
            path.write_text(_text(kind, report, savings, bill, period) + "\n", encoding="utf-8")
    print_status("\n".join([f"{path}: {report.height:,} row{'' if report.height == 1 else 's'}", *open_lines(bill)]))
    return OK


def _format(arguments: argparse.Namespace) -> str:
    suffix = Path(arguments.output).suffix.lower() if arguments.output else ""
    kind: str | None = arguments.format or _BY_SUFFIX.get(suffix)
    if kind is None:
        endings = ", ".join(filter(None, _BY_SUFFIX))
        raise ConfigurationError(
            f"the name {arguments.output} does not tell the format", hint=f"give --format, or one of {endings}"
        )
    if kind == "parquet" and arguments.output is None:
        raise ConfigurationError("Parquet cannot be printed", hint="give a file: --output usage.parquet")
    return kind


def _check_ledger(arguments: argparse.Namespace) -> None:
    if arguments.ledger == "":
        raise ConfigurationError("--ledger must not be empty", hint="leave it out for the default")
    refuse_password(arguments.ledger, "--ledger")


def _read(arguments: argparse.Namespace, kind: str, bill: Bill) -> tuple[pl.DataFrame, pl.DataFrame, Bill]:
    """Return the rows of the report, and of savings where the format tells of them, and the bill."""
    report, has_savings = _rows(arguments, bill), kind not in {"csv", "parquet"}
    return report, savings_by_origin(bill, arguments.where) if has_savings else pl.DataFrame(), bill


def _rows(arguments: argparse.Namespace, bill: Bill) -> pl.DataFrame:
    """Return the rows of the report, at the prices of the bill, or beside them at those of a file."""
    if arguments.reprice is not None:
        prices = read_new_prices(arguments.reprice)
        return repriced_report(bill, prices, arguments.by, arguments.timezone, arguments.where)
    return sum_bill(bill, arguments.by, arguments.timezone, arguments.where)


def _text(kind: str, report: pl.DataFrame, savings: pl.DataFrame, bill: Bill, period: ReportPeriod) -> str:
    if kind == "csv":
        return to_csv(report).rstrip("\n")
    if kind == "json":
        return json_line(_json(report, savings, bill, period))
    return report_text(report, savings, bill, str(period), is_markdown=kind == "markdown")


def _json(report: pl.DataFrame, savings: pl.DataFrame, bill: Bill, period: ReportPeriod) -> dict[str, Any]:
    return {
        "report": report.to_dicts(),
        "open": open_facts(bill),
        "saved": savings.to_dicts(),
        "period": {"since": period.since, "until": period.until, "timezone": period.timezone},
    }
