"""The command ``report``: what datasets cost, added up by whatever is asked for."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import columns, say, tell
from tts_pipeline.dataset.store import storage_errors
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.report import usage_report

_BY_SUFFIX: Mapping[str, str] = {".csv": "csv", ".parquet": "parquet", ".json": "json"}


def show_report(given: argparse.Namespace) -> int:
    """Print the report, or write it to a file. Returns the exit status."""
    kind = _format(given)
    report = usage_report(given.datasets, given.by)
    if given.output is None:
        say(_text(report, kind))
        return OK
    path = Path(given.output).expanduser()
    with storage_errors(f"writing {path}"):
        if kind == "parquet":
            report.write_parquet(path)
        else:
            path.write_text(_text(report, kind) + "\n", encoding="utf-8")
    tell(f"{path}: {report.height:,} row{'' if report.height == 1 else 's'}")
    return OK


def _format(given: argparse.Namespace) -> str:
    suffix = Path(given.output).suffix.lower() if given.output else ""
    kind: str = given.format or _BY_SUFFIX.get(suffix, "table")
    if kind == "parquet" and given.output is None:
        raise ConfigurationError("Parquet is not printed", hint="name a file: --output usage.parquet")
    return kind


def _text(report: pl.DataFrame, kind: str) -> str:
    if kind == "json":
        rows = [{name: _plain(value) for name, value in row.items()} for row in report.to_dicts()]
        return json.dumps({"report": rows}, ensure_ascii=False)
    if kind == "csv":
        with io.StringIO() as text:
            report.write_csv(text)
            return text.getvalue().rstrip("\n")
    return _table(report) if report.height else "no requests"


def _table(report: pl.DataFrame) -> str:
    """Lay the report out, numbers to the right."""
    laid = []
    for series in report:
        is_number = series.dtype.is_numeric()
        cells = [series.name, *map(_cell, series.to_list())]
        width = max(map(len, cells))
        laid.append([cell.rjust(width) if is_number else cell for cell in cells])
    return columns(list(zip(*laid, strict=True)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, Decimal):
        return f"{value:,f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it: money as text."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, date) else value
