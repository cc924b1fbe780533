"""A bill as CSV for a spreadsheet, in which no text of data or of a service is taken for a formula."""

from __future__ import annotations

import csv
import io
import re

import polars as pl

from tts_pipeline.errors import printable

# https://owasp.org/www-community/attacks/CSV_Injection (read 2026-11), with the full-width forms that some take too.
_FORMULA = re.compile(r"[\s\"']*[=+\-@＝＋－＠|%]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")


def csv_of(report: pl.DataFrame) -> str:
    """Return a report as CSV.

    A text that a spreadsheet would take for a formula has an apostrophe before it, which shows it as text; characters
    that cannot be printed are replaced. Numbers and dates are as they are. Parquet and JSON have the exact texts.
    """
    texts = [name for name, kind in report.schema.items() if kind == pl.String]
    safe = report.with_columns(pl.col(texts).map_elements(harmless, return_dtype=pl.String)) if texts else report
    head = io.StringIO()
    csv.writer(head, lineterminator="\n").writerow(map(harmless, report.columns))
    return head.getvalue() + safe.write_csv(include_header=False)


def harmless(text: str) -> str:
    """Return a text as a cell that is printed and shown, and never calculated."""
    shown = printable(text)
    is_formula = _FORMULA.match(shown) is not None and not _NUMBER.fullmatch(shown)
    return f"'{shown}" if is_formula else shown
