"""Run the command ``report``: print or write the cost of datasets, grouped by any column."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from tts_pipeline.cli.status import OK
from tts_pipeline.cli.summary import implausible_note
from tts_pipeline.cli.terminal import align_columns, json_line, print_result, print_status
from tts_pipeline.dataset.names import part_name
from tts_pipeline.errors import ConfigurationError, printable
from tts_pipeline.report import OpenPart, open_parts, usage_report
from tts_pipeline.report.spreadsheet import to_csv
from tts_pipeline.storage.location import file_path
from tts_pipeline.storage.store import storage_errors

MAX_OPEN_LINES = 5
"""The most open parts that are listed one by one."""

_BY_SUFFIX: Mapping[str, str] = {".csv": "csv", ".parquet": "parquet", ".json": "json"}


def show_report(arguments: argparse.Namespace) -> int:
    """Print the report, or write it to a file. Return the exit status."""
    kind = _format(arguments)
    parts, report = open_parts(arguments.datasets), usage_report(arguments.datasets, arguments.by)
    if arguments.output is None:
        print_result(_text(report, parts, kind))
        return OK
    path = file_path(arguments.output)
    with storage_errors(f"writing {path}"):
        if kind == "parquet":
            with path.open("wb") as file:  # Polars takes no path whose name is not UTF-8
                report.write_parquet(file)
        else:
            path.write_text(_text(report, parts, kind) + "\n", encoding="utf-8")
    print_status("\n".join([f"{path}: {report.height:,} row{'' if report.height == 1 else 's'}", *_open_lines(parts)]))
    return OK


def _format(arguments: argparse.Namespace) -> str:
    suffix = Path(arguments.output).suffix.lower() if arguments.output else ""
    kind: str = arguments.format or _BY_SUFFIX.get(suffix, "table")
    if kind == "parquet" and arguments.output is None:
        raise ConfigurationError("Parquet cannot be printed", hint="give a file: --output usage.parquet")
    return kind


def _text(report: pl.DataFrame, parts: Sequence[OpenPart], kind: str) -> str:
    if kind == "json":
        return json_line({"report": report.to_dicts(), "open": [_facts(part) for part in parts]})
    if kind == "csv":
        return to_csv(report).rstrip("\n")
    if not report.height:
        return "no requests"
    table = _table(report.drop("implausible", "cost_in_question"))
    return "\n".join([table, *_implausible_lines(report), *([""] if parts else []), *_open_lines(parts)])


def _facts(open_part: OpenPart) -> dict[str, Any]:
    claim = open_part.claim
    opened_at = datetime.fromtimestamp(claim.opened_at_us / 1_000_000, UTC)
    return {
        "dataset": open_part.dataset,
        "part": part_name(open_part.part),
        "host": claim.host,
        "process": claim.process,
        "opened_at": opened_at.isoformat(timespec="seconds"),
        "characters_upper_bound": claim.characters_upper_bound,
        "cost_upper_bound": claim.cost_upper_bound,
        "currency": claim.currency,
    }


def _open_lines(parts: Sequence[OpenPart]) -> Iterator[str]:
    """Yield the possible spending of open parts, which is in no usage table yet."""
    for facts in map(_facts, parts[:MAX_OPEN_LINES]):
        cost = "" if facts["cost_upper_bound"] is None else f", {facts['cost_upper_bound']:f} {facts['currency']}"
        yield printable(
            f"open: {facts['part']} of {facts['dataset']} since {facts['opened_at']} (process {facts['process']} on "
            f"{facts['host']}): at most {facts['characters_upper_bound']:,} characters{cost}"
        )
    if len(parts) > MAX_OPEN_LINES:
        yield f"and {len(parts) - MAX_OPEN_LINES:,} more open parts"
    if parts:
        yield "Their processes still run, or were killed: they count at their most. Run the job again to settle them."


def _implausible_lines(report: pl.DataFrame) -> Iterator[str]:
    """Yield, for each currency, the cost that depends on implausible reports of usage."""
    figures = pl.col("implausible").sum(), pl.col("cost_in_question").sum()
    for currency, count, cost in report.group_by("currency", maintain_order=True).agg(*figures).iter_rows():
        if count:
            yield implausible_note(count, "" if currency is None else f"{cost:,f} {currency} of cost_upper_bound")


def _table(report: pl.DataFrame) -> str:
    """Format the report as a table, with numbers aligned to the right."""
    aligned = []
    for series in report:
        is_number = series.dtype.is_numeric()
        cells = [series.name, *map(_cell, series.to_list())]
        width = max(map(len, cells))
        aligned.append([cell.rjust(width) if is_number else cell for cell in cells])
    return align_columns(list(zip(*aligned, strict=True)))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, Decimal):
        return f"{value:,f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
