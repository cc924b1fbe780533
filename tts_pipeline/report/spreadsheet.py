"""Write bills as CSV for spreadsheets, so that no cell is taken for a formula."""

from __future__ import annotations

import csv
import io
import re

import polars as pl

from tts_pipeline.errors import printable

# https://owasp.org/www-community/attacks/CSV_Injection (read 2026-11), and the full-width forms that some take.
_FORMULA = re.compile(r"[\s\"']*[=+\-@＝＋－＠|%]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")


def to_csv(report: pl.DataFrame) -> str:
    """Return a report as CSV.

    A text that a spreadsheet would take for a formula gets an apostrophe before it, which makes it text. Unprintable
    characters are replaced. Numbers and dates do not change. Parquet and JSON have the exact texts.
    """
    text_columns = [name for name, kind in report.schema.items() if kind == pl.String]
    safe = (
        report.with_columns(pl.col(text_columns).map_elements(escape_formula, return_dtype=pl.String))
        if text_columns
        else report
    )
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(map(escape_formula, report.columns))
    return header.getvalue() + safe.write_csv(include_header=False)


def escape_formula(text: str) -> str:
    """Return a text as a printable cell that is never calculated."""
    cell = printable(text)
    is_formula = _FORMULA.match(cell) is not None and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell
