"""What every question has in common: how long it takes, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.contest import BARE, Arena, Rounds, Run, Spread, ratios
from benchmarks.settings import Settings
from benchmarks.tables import Table

ROWS_PER_S = "rows_per_s"
CPU = "cpu_ms_per_row"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out.

    Args:
        tables: For people.
        measured: For JSON: everything, run by run.
        promised: The numbers that promises are about, by name.
    """

    tables: list[Table]
    measured: Any
    promised: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question.

    Args:
        name: In JSON.
        question: What is asked.
        expected_s: About how long it takes.
        run: Gives the answer.
    """

    name: str
    question: str
    expected_s: Callable[[Settings], float]
    run: Callable[[Arena, Settings], Outcome]


def compare(rounds: Rounds, name: str) -> dict[str, Spread]:
    """Return a contestant's rows a second and CPU per row: as measured, and against the bare script's."""
    runs = rounds[name]
    return {
        ROWS_PER_S: Spread.of([run.rows_per_s for run in runs]),
        f"{ROWS_PER_S}_ratio": ratios(rounds, name, lambda run: run.rows_per_s),
        CPU: Spread.of([run.cpu_ms_per_row for run in runs]),
        f"{CPU}_ratio": ratios(rounds, name, lambda run: run.cpu_ms_per_row),
    }


def peak_mb(runs: list[Run]) -> float:
    """Return the most memory that any of these runs held."""
    return max(run.peak_rss_mb for run in runs)


def as_json(rounds: Rounds) -> dict[str, Any]:
    """Return all runs and, against the bare script, what they come to."""
    return {
        name: {
            "runs": [asdict(run) for run in runs],
            **({key: asdict(value) for key, value in compare(rounds, name).items()} if BARE.name in rounds else {}),
        }
        for name, runs in rounds.items()
    }
