"""Show the progress of a run: snapshots of its figures, lines for a log, and a live display.

The run never waits for a display.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tts_pipeline.errors import printable
from tts_pipeline.job import Progress
from tts_pipeline.models import HOUR_MS

if TYPE_CHECKING:
    from rich.console import Console

SPEED_WINDOW_S = 10.0
"""The window over which the displayed speed is measured, approximately."""

LINE_EVERY_S = 30.0
REFRESHES_PER_S = 4
_CHECKING = "checking the job"


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """The figures of a display at one moment.

    ``rows`` is the number of rows of the whole job, 0 while the job is checked; ``done`` also counts earlier runs.
    ``rows_per_s`` covers about the last 10 seconds; None is not known yet. ``cost`` is this run's confirmed cost; with
    a cap it is the most that all runs spent, and the cap; it is empty without a price.
    """

    rows: int
    done: int
    rows_per_s: float | None
    in_flight: int
    retries: int
    rejects: int
    audio_ms: int
    cost: str

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the end at this speed; None if the speed is not known."""
        return (self.rows - self.done) / self.rows_per_s if self.rows_per_s else None


class ProgressView:
    """Takes snapshots of a run's progress, and measures its speed."""

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque()

    def snapshot(self) -> ProgressSnapshot:
        """Return the state of the run now."""
        progress, totals = self._progress, self._progress.totals
        done_now = totals.speech + totals.rejects
        return ProgressSnapshot(
            rows=totals.rows,
            done=progress.done_before + done_now,
            rows_per_s=self._speed(done_now),
            in_flight=progress.in_flight,
            retries=progress.retries,
            rejects=totals.rejects,
            audio_ms=totals.audio_ms,
            cost=_cost(progress),
        )

    def _speed(self, done: int) -> float | None:
        now_s = self._clock()
        self._samples.append((now_s, done))
        while len(self._samples) > 2 and now_s - self._samples[1][0] >= SPEED_WINDOW_S:
            self._samples.popleft()
        then_s, done_then = self._samples[0]
        return (done - done_then) / (now_s - then_s) if now_s > then_s else None


def _cost(progress: Progress) -> str:
    cap, totals = progress.cap, progress.totals
    at_most = totals.bound.plus(progress.spent_before.bound)
    if cap.max_cost is not None:
        return f"{at_most.cost:.2f} of {cap.max_cost:f} {cap.currency}"
    if cap.max_characters is not None:
        return f"{at_most.characters:,} of {cap.max_characters:,} characters"
    return "" if totals.cost is None else f"{totals.cost:.2f} {totals.currency or ''}".rstrip()


def plain_line(snapshot: ProgressSnapshot) -> str:
    """Return a snapshot as one line."""
    if not snapshot.rows:
        return _CHECKING
    return f"{snapshot.done:,} of {snapshot.rows:,} rows, {_facts(snapshot)}"


def _facts(snapshot: ProgressSnapshot) -> str:
    facts = [
        "" if snapshot.rows_per_s is None else f"{snapshot.rows_per_s:,.1f} rows/s",
        ""
        if snapshot.remaining_s is None or snapshot.done >= snapshot.rows
        else f"{_clock_time(snapshot.remaining_s)} left",
        f"{snapshot.in_flight:,} in flight",
        f"{snapshot.retries:,} {'retry' if snapshot.retries == 1 else 'retries'}",
        f"{snapshot.rejects:,} {'reject' if snapshot.rejects == 1 else 'rejects'}",
        f"{snapshot.audio_ms / HOUR_MS:.2f} h audio",
        snapshot.cost,
    ]
    return printable(", ".join(filter(None, facts)))


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def report_lines(
    view: ProgressView,
    write: Callable[[str], None],
    *,
    wait: Callable[[threading.Event], bool] = lambda ended: ended.wait(LINE_EVERY_S),
) -> Iterator[None]:
    """Write a line every 30 seconds, and a last line at the end; ``wait`` returns True once the run has ended."""
    ended = threading.Event()

    def report() -> None:
        while not wait(ended):
            write(plain_line(view.snapshot()))

    view.snapshot()  # so that the first line has a speed
    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        reporter.join()
        last = view.snapshot()
        if last.rows:
            write(plain_line(last))


class LiveDisplay:
    """The live display; rich draws a new snapshot each time."""

    def __init__(self, view: ProgressView) -> None:
        self._view = view

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        snapshot = self._view.snapshot()
        if not snapshot.rows:
            return Text(_CHECKING)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=snapshot.rows, completed=snapshot.done, width=40),
            f"{snapshot.done:,} of {snapshot.rows:,} rows",
            f"{100 * snapshot.done // snapshot.rows} %",
        )
        return Group(bar, Text(_facts(snapshot)))


@contextmanager
def live_display(view: ProgressView, console: Console) -> Iterator[None]:
    """Draw the live display on a terminal a few times a second; its last state stays visible."""
    from rich.live import Live

    # Standard output is for results: it may be a pipe while standard error is the terminal.
    with Live(LiveDisplay(view), console=console, refresh_per_second=REFRESHES_PER_S, redirect_stdout=False):
        yield
