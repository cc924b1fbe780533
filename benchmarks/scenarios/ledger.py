"""Measure a month of a ledger: reports before and after it is frozen, beside DuckDB on the same files, and the page."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.contest import Arena, remove, run_for_json
from benchmarks.scenarios.scenario import Outcome, Scenario
from benchmarks.settings import PROCESS_S, Settings
from benchmarks.tables import Table

Figures = dict[str, Any]

_FROM_ROWS = "report from rows"
_MONTH = ("report", "DuckDB", "compact", "report", _FROM_ROWS, "DuckDB")
_PAGE = ("page", "compact", "page")
_SMALL_FILES = ("report", "compact", "report")
_ROWS_OF_SMALL_FILES = 50
_ROW_S = 12e-6
"""To generate a row, to freeze it, and to read it a few times."""


def _expected_s(settings: Settings) -> float:
    rows = settings.ledger_rows + settings.page_rows + settings.ledger_small_files * _ROWS_OF_SMALL_FILES
    return _ROW_S * rows + 15 * PROCESS_S


def _run(arena: Arena, settings: Settings) -> Outcome:
    sizes = {
        _MONTH: (settings.ledger_rows, settings.ledger_files),
        _PAGE: (settings.page_rows, settings.ledger_files),
        _SMALL_FILES: (settings.ledger_small_files * _ROWS_OF_SMALL_FILES, settings.ledger_small_files),
    }
    tables, measured = [], []
    for steps, (rows, files) in sizes.items():
        with _ledger(arena, rows, files) as folder:
            figures = [_step(name, folder) for name in steps]
        tables.append(_table(rows, files, figures))
        measured.append(figures)
    month, page, _ = measured
    check_answers(month)
    duckdb = month[-1]["seconds"]
    promised = {f"s of a frozen month, x DuckDB: {one['step']}": one["seconds"] / duckdb for one in month[3:5]}
    promised |= {"s to show a frozen month": page[-1]["seconds"], "MB to show a frozen month": page[-1]["peak_mb"]}
    return Outcome(tables, measured, promised)


LEDGER = Scenario("ledger", "What does a month of a ledger take?", _expected_s, _run)


@contextmanager
def _ledger(arena: Arena, rows: int, files: int) -> Iterator[Path]:
    folder = arena.folder / "ledger"
    folder.mkdir()
    try:
        _step("generate", folder, f"--rows={rows}", f"--files={files}")
        yield folder
    finally:
        remove(folder)


def _step(name: str, folder: Path, *flags: str) -> Figures:
    return {"step": name, **run_for_json([sys.executable, "-m", "benchmarks.ledger", name, str(folder), *flags])}


def _table(rows: int, files: int, figures: Sequence[Figures]) -> Table:
    table = Table(
        f"A month of {rows:,} requests in {files:,} files",
        ("step", "s", "CPU s", "peak MB"),
        notes="In this order, a process each. The report is `--month --by tag:team`; a frozen month answers it from "
        "its sums by quarter hour, unless the period begins within one: then from its rows, as DuckDB does.",
    )
    for one in figures:
        table.rows.append([one["step"], one["seconds"], one["cpu_s"], one["peak_mb"]])
    return table


def check_answers(figures: Sequence[Figures]) -> None:
    """Check that all reports and DuckDB have one answer.

    Raises:
        RuntimeError: They differ, so that their times say nothing.
    """
    answers = {str(sorted(_by_team(one["result"]))) for one in figures if one["step"] != "compact"}
    if len(answers) != 1:
        raise RuntimeError(f"the answers differ: {' / '.join(sorted(answers))}")


def _by_team(result: Any) -> list[tuple[str, str, str, str, str]]:
    """Return the team, its currency, requests, confirmed characters and cost."""
    if isinstance(result, list):
        return [(row[0], row[1], row[2], row[8], row[10]) for row in result]
    names = ("tag:team", "currency", "requests", "characters_billed", "cost")
    return [tuple(str(row[name]) for name in names) for row in result["report"]]  # type: ignore[misc]
