"""Format a report for people: tables in plain text or Markdown, then what is open, saved or in question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl

from tts_pipeline.cli.ledger_view import run_line
from tts_pipeline.cli.summary import implausible_note
from tts_pipeline.cli.terminal import align_columns
from tts_pipeline.dataset.names import part_name
from tts_pipeline.errors import printable
from tts_pipeline.report.bill import Bill, OpenPart
from tts_pipeline.report.keys import tag_name

MAX_OPEN_LINES = 5
"""The most open parts that are listed one by one."""

MAX_SAVED_LINES = 5
"""The most places that are listed whose audio was reused."""

_HIDDEN = ("implausible", "cost_in_question", "mismatches")
"""Columns that lines below the tables replace."""

_BASIC = (
    *("requests", "succeeded", "discarded", "failed", "unknown", "retries", "characters_billed"),
    *("characters_upper_bound", "cost", "cost_upper_bound", "requests_without_cost", "open_parts"),
)
_IF_ANY = frozenset({"succeeded", "discarded", "failed", "unknown", "retries", "requests_without_cost", "open_parts"})
"""Columns of the first table that are left out where all of them are 0."""

_RATES = frozenset({"effective_rate", "audio_hours", "cost_per_hour", "cost_per_10k_characters"})


def report_text(report: pl.DataFrame, savings: pl.DataFrame, bill: Bill, period: str, *, is_markdown: bool) -> str:
    """Return a report: a table of requests and cost, one of unit costs, waste and savings, and lines below."""
    lines = [*_question_lines(report), *_saved_lines(savings), *open_lines(bill)]
    if period and report.height:
        lines.insert(0, f"requests {period}")
    if not report.height:
        tables = [f"no requests {period}".rstrip()]
    else:
        tables = [(_markdown if is_markdown else _plain)(table) for table in _divide(report)]
    bullets = [f"- {line}" for line in lines] if is_markdown else lines
    return "\n\n".join([*tables, *(["\n".join(bullets)] if lines else [])])


def open_facts(bill: Bill) -> list[dict[str, Any]]:
    """Return what is known of each open part and each open run, for JSON."""
    return [*map(_part_facts, bill.open_parts), *map(msgspec.to_builtins, bill.open_runs)]


def open_lines(bill: Bill) -> Iterator[str]:
    """Yield the possible spending of open parts and open runs, which is in no usage table yet."""
    parts, runs = bill.open_parts, bill.open_runs
    for facts in map(_part_facts, parts[:MAX_OPEN_LINES]):
        cost = "" if facts["cost_upper_bound"] is None else f", {facts['cost_upper_bound']:f} {facts['currency']}"
        yield printable(
            f"open: {facts['part']} of {facts['dataset']} since {facts['opened_at']} (process {facts['process']} on "
            f"{facts['host']}): at most {facts['characters_upper_bound']:,} characters{cost}"
        )
    if len(parts) > MAX_OPEN_LINES:
        yield f"and {len(parts) - MAX_OPEN_LINES:,} more open parts"
    if parts:
        yield "Their processes still run, or were killed: they count at their most. Run the job again to settle them."
    yield from map(run_line, runs[:MAX_OPEN_LINES])
    if len(runs) > MAX_OPEN_LINES:
        yield f"and {len(runs) - MAX_OPEN_LINES:,} more open runs"
    if runs:
        yield "They still run, or were killed. What they have not published is not in the sums: run them again."


def _part_facts(open_part: OpenPart) -> dict[str, Any]:
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


def _question_lines(report: pl.DataFrame) -> Iterator[str]:
    """Yield, for each currency, the requests whose reports of usage are implausible, or are not our count."""
    if "implausible" not in report.columns:
        return
    figures = [pl.col(name).sum() for name in ("implausible", "cost_in_question", "mismatches")]
    for currency, count, cost, mismatches in report.group_by("currency", maintain_order=True).agg(figures).iter_rows():
        if count:
            yield implausible_note(count, "" if currency is None else f"{cost:,f} {currency} of cost_upper_bound")
        if mismatches:
            yield f"{mismatches:,} request{'' if mismatches == 1 else 's'} that report other characters than we count"


def _saved_lines(savings: pl.DataFrame) -> Iterator[str]:
    """Yield what was reused, by who paid first."""
    for origin, rows, characters, cost, currency in savings.head(MAX_SAVED_LINES).iter_rows():
        amount = "" if cost is None or currency is None else f", {cost:,f} {currency}"
        place = f"paid first by {origin}" if origin else "equal to others of their job"
        yield printable(f"saved: {rows:,} row{'' if rows == 1 else 's'}, {characters:,} characters{amount}: {place}")
    if savings.height > MAX_SAVED_LINES:
        yield f"and from {savings.height - MAX_SAVED_LINES:,} more places"


def _divide(report: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the table of requests and cost, and, if it says anything, that of all other figures that are not empty."""
    others = [
        name
        for name in report.columns[report.columns.index("requests") :]
        if name not in (*_BASIC, *_HIDDEN, "currency") and (report[name].fill_null(0) != 0).any()
    ]
    keys = report.columns[: report.columns.index("requests")]
    currency = [name for name in ("currency",) if name not in keys]
    if "repriced_cost" in report.columns:
        yield report
        return
    yield report.select(
        *keys, *(name for name in _BASIC if name not in _IF_ANY or (report[name] != 0).any()), *currency
    )
    if others:
        yield report.select(*keys, *others, *currency)


def _plain(report: pl.DataFrame) -> str:
    """Format a table, with numbers aligned to the right."""
    aligned = []
    for series in report:
        cells = [series.name, *_cells(series)]
        width = max(map(len, cells))
        aligned.append([cell.rjust(width) if series.dtype.is_numeric() else cell for cell in cells])
    return align_columns(list(zip(*aligned, strict=True)))


def _markdown(report: pl.DataFrame) -> str:
    """Format a table in Markdown, https://github.github.com/gfm/#tables-extension- (read 2026-11)."""
    ruler = ["---:" if series.dtype.is_numeric() else "---" for series in report]
    rows = [report.columns, *zip(*map(_cells, report), strict=True)]
    lines = [[_escape(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], ruler, *lines[1:]))


def _escape(cell: str) -> str:
    text = printable(cell).replace("\\", "\\\\").replace("|", "\\|")
    return text.replace("<", "&lt;")


def _cells(series: pl.Series) -> Sequence[str]:
    key = tag_name(series.name)
    empty = "-" if key is None else f"(no {key})"
    return [empty if value is None else _cell(value, is_rate=series.name in _RATES) for value in series.to_list()]


def _cell(value: Any, *, is_rate: bool) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}" + ("" if value.tzinfo is None or not value.utcoffset() else f"{value:%z}")
    if is_rate:
        return f"{value:,.4f}"
    if isinstance(value, Decimal):
        return f"{value:,f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
