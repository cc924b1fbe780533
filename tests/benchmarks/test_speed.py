"""The contests of a size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.contest import BARE, OURS, Arena, Contestant, Course, Rounds, Run
from benchmarks.placement import Placement, possible_placements
from benchmarks.scenarios.speed import SPEED
from benchmarks.settings import QUICK


class _ShortArena(Arena):
    """Has figures at once, and is interrupted in its last contest."""

    def __init__(self, folder: Path, contests: int) -> None:
        super().__init__(service=None, folder=folder)  # type: ignore[arg-type]  # nobody is asked
        self.courses: list[Course] = []
        self._contests = contests

    def contest(self, course: Course, contestants: Sequence[Contestant], rounds: Sequence[int]) -> Rounds:
        if len(self.courses) == self._contests:
            raise KeyboardInterrupt
        self.courses.append(course)
        seconds = {BARE.name: 2.0, OURS.name: 1.0}
        return {
            each.name: [Run(100, seconds[each.name], seconds[each.name] / 2, 10, 1, 0)] * count
            for each, count in zip(contestants, rounds, strict=True)
        }


def test_an_interrupted_contest_leaves_the_others(tmp_path: Path) -> None:
    """What was measured before Ctrl-C is in the outcome, which says that it is not whole."""
    outcome = SPEED[0].run(_ShortArena(tmp_path, contests=2), QUICK)
    assert isinstance(outcome.interrupt, KeyboardInterrupt)
    assert len(outcome.tables[0].rows) == len(outcome.measured) == 2


@pytest.mark.skipif(len(possible_placements()) == 1, reason="needs two cores and affinities")
def test_each_shape_runs_free_and_pinned(tmp_path: Path) -> None:
    """CPU is promised of free contests; rows per second of pinned ones, too; of slow ones nothing."""
    arena = _ShortArena(tmp_path, contests=1_000)
    outcome = SPEED[0].run(arena, QUICK)
    assert outcome.interrupt is None
    free, pinned, slow = (
        [course.answering.shape for course in arena.courses if course.placement is placement] for placement in Placement
    )
    assert free == pinned == ["base64", "raw", "url"]
    assert slow == ["raw"]
    promised = {name: value for name, value in outcome.promised.items() if "raw" in name}
    assert promised == {
        "CPU x script at 256, 20 KB raw": 0.5,
        "rows/s x script at 256, 20 KB raw": 2.0,
        "rows/s x script at 256, 20 KB raw, pinned": 2.0,
        "peak MB at 256, 20 KB raw": 10,
    }
