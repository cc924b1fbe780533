"""Write the report as FOCUS, the form of billing data that cost tools read."""

from __future__ import annotations

import argparse
from functools import partial

import polars as pl

from tts_pipeline.catalog import load_catalog
from tts_pipeline.cli.report_view import open_lines
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_result, print_status
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.report.bill import Bill, query_bill
from tts_pipeline.report.focus import Focus, catalog_prices, focus_rows
from tts_pipeline.report.focus_files import to_focus_csv, write_focus
from tts_pipeline.report.period import ReportPeriod
from tts_pipeline.report.where import read_where
from tts_pipeline.storage.location import file_path


def show_focus(arguments: argparse.Namespace, period: ReportPeriod) -> int:
    """Print the bill of a period as FOCUS, or write it to a file or a folder. Return the exit status."""
    for name in ("by", "reprice"):
        if getattr(arguments, name):
            raise ConfigurationError(f"--{name} does not go with --format focus", hint="its columns are those of FOCUS")
    focus, bill = query_bill(arguments.datasets or None, arguments.ledger, period, partial(_read, arguments))
    lines = []
    if arguments.output is None:
        print_result(to_focus_csv(focus.charges).decode().rstrip("\n"))
    else:
        paths = write_focus(focus.charges, file_path(arguments.output))
        files = paths[0] if len(paths) == 1 else f"{len(paths):,} files, {paths[0]} to {paths[-1].name}"
        lines.append(f"{files}: {focus.charges.height:,} charge{'' if focus.charges.height == 1 else 's'}")
    lines += [*_left_out(focus), *open_lines(bill)]
    if lines:
        print_status("\n".join(lines))
    return OK


def _read(arguments: argparse.Namespace, bill: Bill) -> tuple[Focus, Bill]:
    prices = catalog_prices(load_catalog(prices=arguments.prices))
    return focus_rows(_rows(bill, arguments.where), timezone=arguments.timezone, prices=prices), bill


def _rows(bill: Bill, where: str | None) -> pl.LazyFrame:
    """Return the usage that meets a condition, added up by the ledger where it can be."""
    condition = None if where is None else read_where(where)
    if condition is not None:
        condition.check_tags(bill.rows)
    sums = bill.sums() if bill.sums is not None and (condition is None or condition.is_of_groups) else None
    rows = bill.rows if sums is None else sums
    return rows if condition is None else condition.select(rows)


def _left_out(focus: Focus) -> list[str]:
    count = focus.requests_without_price
    if not count:
        return []
    are = "request without a known cost is" if count == 1 else "requests without a known cost are"
    return [f"{count:,} {are} left out: FOCUS has no unknown cost, and 0 would be wrong"]
