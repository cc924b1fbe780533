"""Compare the measurements with the promises of speed, memory and time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.tables import Table


@dataclass(frozen=True, slots=True)
class Promise:
    """A bound on measured numbers.

    Args:
        measured: A pattern of the names of these numbers.
        bound: The bound of each of these numbers.
        at_most: Whether the bound is the most, or the least.
    """

    measured: str
    bound: float
    at_most: bool

    def holds(self, value: float) -> bool:
        """Return whether a number keeps the promise."""
        return value <= self.bound if self.at_most else value >= self.bound


PROMISES = (
    Promise(r"CPU x script at \d+, (20|48) KB .*", 1.4, at_most=True),
    Promise(r"CPU x script at \d+, 200 KB .*", 0.75, at_most=True),
    Promise(r"rows/s x script at .*", 1.0, at_most=False),
    Promise(r"rows/s x openai at 256, .*", 2.0, at_most=False),
    Promise(r"rows/s x litellm at 256, .*", 4.0, at_most=False),
    Promise(r"peak MB at 256, 200 KB .*", 400.0, at_most=True),
    Promise(r"peak MB, .*wide column.*", 400.0, at_most=True),
    Promise(r"memory, large job / small", 1.1, at_most=True),
    Promise(r"rows/s x script with stragglers", 0.97, at_most=False),
    Promise(r"slots busy with stragglers", 0.98, at_most=False),
    Promise(r"goodput", 0.98, at_most=False),
    Promise(r"429", 0, at_most=True),
    Promise(r"s to --help", 0.3, at_most=True),
    Promise(r"s to first request", 0.6, at_most=True),
    Promise(r"s beside the service of a call in a warm process", 0.015, at_most=True),
    Promise(r"s beside the service of a call in a cold process", 0.7, at_most=True),
    Promise(r"s to resume", 2.0, at_most=True),
    Promise(r"s to nothing to do", 2.0, at_most=True),
    Promise(r"s to plan .* files", 10.0, at_most=True),
    Promise(r"s of a frozen month, x DuckDB: .*", 1.2, at_most=True),
    Promise(r"s to show a frozen month", 3.0, at_most=True),
    Promise(r"MB to show a frozen month", 400.0, at_most=True),
)


def check_promises(measured: Mapping[str, float]) -> Table:
    """Return a table of all numbers with a promise, and whether it holds."""
    table = Table("What is promised, and what was measured", ("what", "measured", "promised", "holds"))
    for promise in PROMISES:
        for name, value in measured.items():
            if re.fullmatch(promise.measured, name):
                bound = f"{'<=' if promise.at_most else '>='} {promise.bound:g}"
                table.rows.append([name, value, bound, "yes" if promise.holds(value) else "NO"])
    return table
