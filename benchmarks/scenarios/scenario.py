"""Define the scenario, with its question and expected time, and its outcome."""

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
    """The results of a scenario.

    Args:
        tables: Tables for people.
        measured: All measurements for JSON, run by run.
        promised: The numbers with promises, by name.
        interrupt: What ended the measurement early; None if it is whole.
    """

    tables: list[Table]
    measured: Any
    promised: dict[str, float] = field(default_factory=dict)
    interrupt: KeyboardInterrupt | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question, and the measurement that answers it.

    Args:
        name: The name in JSON.
        question: The question.
        expected_s: Returns the approximate time of the measurement.
        run: Measures.
    """

    name: str
    question: str
    expected_s: Callable[[Settings], float]
    run: Callable[[Arena, Settings], Outcome]


def compare(rounds: Rounds, name: str) -> dict[str, Spread]:
    """Return a contestant's rows per second and CPU per row, absolute and relative to the bare script."""
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
    """Return all runs and, if the bare script is among them, the comparison with it."""
    return {
        name: {
            "runs": [asdict(run) for run in runs],
            **({key: asdict(value) for key, value in compare(rounds, name).items()} if BARE.name in rounds else {}),
        }
        for name, runs in rounds.items()
    }
