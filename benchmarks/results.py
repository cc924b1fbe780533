"""Collect the measurements with machine and versions: print each as it comes, and write all at the end."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.contest import BARE, Spread
from benchmarks.promises import check_promises
from benchmarks.scenarios.scenario import Outcome
from benchmarks.tables import Table, format_cell

_GIB = 1 << 30


class Results:
    """Collects tables, warnings and measurements.

    Args:
        quick: Whether the settings are the quick ones; the results state it.
    """

    def __init__(self, *, quick: bool) -> None:
        self._quick = quick
        self._pages: list[str] = []
        self.measured: dict[str, Any] = {}
        self.promised: dict[str, float] = {}

    def show(self, table: Table) -> None:
        """Print a table, and keep it."""
        self._print(table.to_markdown())

    def warn(self, message: str) -> None:
        """Print a warning about a measurement, and keep it."""
        self._print(f"**{message}**\n")

    def add(self, name: str, question: str, outcome: Outcome, seconds: float) -> None:
        """Keep the outcome of a scenario."""
        self._pages.append(f"## {question}\n")
        for table in outcome.tables:
            self.show(table)
        self.measured[name] = outcome.measured
        self.promised.update(outcome.promised)
        print(f"({seconds:.0f} s)", flush=True)

    def write(self, folder: Path) -> None:
        """Print the table of promises; write ``results.json``, and ``results.md``, which begins with this table."""
        promises = check_promises(self.promised).to_markdown()
        print(promises)
        facts = {
            "date": datetime.now(UTC).date().isoformat(),
            "quick": self._quick,
            "machine": machine(),
            "versions": {"python": platform.python_version(), **dict(sorted(_versions(self.measured)))},
        }
        document = {**facts, "promised": self.promised, "measured": self.measured}
        (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
        page = [*_head(facts), *_measure_of_machine(self.measured), promises, *self._pages]
        (folder / "results.md").write_text("\n".join(page))

    def _print(self, text: str) -> None:
        print(text, flush=True)
        self._pages.append(text)


def machine() -> dict[str, float]:
    """Return the machine's size, and nothing that identifies it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gib": round(memory / _GIB, 1),
    }


def _measure_of_machine(measured: Any) -> Iterator[str]:
    """Yield what the bare script's CPU says of the machine, as people compare it with theirs."""
    by_size: dict[int, list[float]] = {}
    for audio_bytes, cpu_ms in _script_cpu(measured):
        by_size.setdefault(audio_bytes, []).append(cpu_ms)
    figures = [f"{format_cell(Spread.of(each))} with {size // 1_000} KB" for size, each in sorted(by_size.items())]
    if figures:
        yield (
            "The measure of the machine: CPU ms a row of the bare script, median (least-most) of all its runs: "
            f"{'; '.join(figures)}.\n"
        )


def _script_cpu(measured: Any) -> Iterator[tuple[int, float]]:
    """Yield bytes of audio and CPU ms a row of each run of the bare script in a contest."""
    if isinstance(measured, dict) and "audio_bytes" in measured and BARE.name in measured.get("clients", {}):
        for run in measured["clients"][BARE.name]["runs"]:
            yield measured["audio_bytes"], 1_000 * run["cpu_s"] / run["rows"]
    elif isinstance(measured, dict | list):
        for each in measured.values() if isinstance(measured, dict) else measured:
            yield from _script_cpu(each)


def _versions(measured: Any) -> Iterator[tuple[str, str]]:
    """Yield the versions in all measurements; a library may have several."""
    by_library: dict[str, set[str]] = {}
    _collect(measured, by_library)
    yield from ((name, ", ".join(sorted(versions))) for name, versions in by_library.items())


def _collect(value: Any, by_library: dict[str, set[str]]) -> None:
    if isinstance(value, list):
        for item in value:
            _collect(item, by_library)
    elif isinstance(value, dict):
        for name, version in value.get("versions", {}).items():
            by_library.setdefault(name, set()).add(version)
        for item in value.values():
            _collect(item, by_library)


def _head(facts: dict[str, Any]) -> list[str]:
    size, versions = facts["machine"], facts["versions"]
    return [
        "# Benchmarks\n",
        f"{facts['date']}, {size['cores']} cores shared by service and client, {size['memory_gib']} GiB"
        f"{'; a quick look only' if facts['quick'] else ''}. Made by `make bench`; [what limits it](limits.md).\n",
        "Each client has its own virtual environment, with nothing but its run-time requirements.\n",
        f"Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.\n",
    ]
