"""Watching a run: what is to be seen of it at a moment, and displays that look when they like.

The run itself never waits for them.
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

if TYPE_CHECKING:
    from rich.console import Console

WINDOW_S = 10.0
"""The speed shown is that of about the last so many seconds."""

LINE_EVERY_S = 30.0
LOOKS_PER_S = 4
_HOUR_MS = 3_600_000
_CHECKING = "checking the job"


@dataclass(frozen=True, slots=True)
class Look:
    """What is to be seen at one moment.

    Args:
        rows: Of the whole job; 0 while it is being checked.
        done: Rows that are speech or rejects, of this run and earlier ones.
        rows_per_s: Of about the last 10 seconds; None when it is not known yet.
        in_flight: Requests that are being answered.
        retries: Of this run.
        rejects: Of this run.
        audio_ms: Of this run.
        cost: Of this run, confirmed; with a cap, of all runs at most, and the cap; empty without a price.
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
    def left_s(self) -> float | None:
        """Seconds until the end at this speed; None when it is not known."""
        return (self.rows - self.done) / self.rows_per_s if self.rows_per_s else None


class Watch:
    """Looks at a run's progress, and remembers enough to tell its speed.

    Args:
        progress: Of the run.
        clock: Seconds that never go backwards.
    """

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def look(self) -> Look:
        """Look now."""
        progress, totals = self._progress, self._progress.totals
        done_now = totals.speech + totals.rejects
        return Look(
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
        self._seen.append((now_s, done))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()
        then_s, done_then = self._seen[0]
        return (done - done_then) / (now_s - then_s) if now_s > then_s else None


def _cost(progress: Progress) -> str:
    cap, totals, before = progress.cap, progress.totals, progress.spent_before
    if cap.max_cost is not None:
        at_most = (totals.cost_upper_bound or 0) + (before.cost_upper_bound or 0)
        return f"{at_most:.2f} of {cap.max_cost:f} {cap.currency}"
    if cap.max_characters is not None:
        characters = totals.characters_upper_bound + before.characters_upper_bound
        return f"{characters:,} of {cap.max_characters:,} characters"
    return "" if totals.cost is None else f"{totals.cost:.2f} {totals.currency or ''}".rstrip()


def plain_line(look: Look) -> str:
    """Return what is to be seen as one line."""
    if not look.rows:
        return _CHECKING
    return f"{look.done:,} of {look.rows:,} rows, {_facts(look)}"


def _facts(look: Look) -> str:
    facts = [
        "" if look.rows_per_s is None else f"{look.rows_per_s:,.1f} rows/s",
        "" if look.left_s is None or look.done >= look.rows else f"{_clock_time(look.left_s)} left",
        f"{look.in_flight:,} in flight",
        f"{look.retries:,} {'retry' if look.retries == 1 else 'retries'}",
        f"{look.rejects:,} {'reject' if look.rejects == 1 else 'rejects'}",
        f"{look.audio_ms / _HOUR_MS:.2f} h audio",
        look.cost,
    ]
    return printable(", ".join(filter(None, facts)))


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def lines(
    watch: Watch,
    write: Callable[[str], None],
    *,
    wait: Callable[[threading.Event], bool] = lambda ended: ended.wait(LINE_EVERY_S),
) -> Iterator[None]:
    """Write a line every 30 seconds, and one at the end.

    Args:
        watch: What to look at.
        write: Takes a line.
        wait: Waits for the next line; True says that the run has ended.
    """
    ended = threading.Event()

    def report() -> None:
        while not wait(ended):
            write(plain_line(watch.look()))

    watch.look()  # so that the first line knows a speed
    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        ended.set()
        reporter.join()
        last = watch.look()
        if last.rows:
            write(plain_line(last))


class Screen:
    """The live display as something that rich can draw, each time as it is then.

    Args:
        watch: What to look at.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        look = self._watch.look()
        if not look.rows:
            return Text(_CHECKING)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=look.rows, completed=look.done, width=40),
            f"{look.done:,} of {look.rows:,} rows",
            f"{100 * look.done // look.rows} %",
        )
        return Group(bar, Text(_facts(look)))


@contextmanager
def live(watch: Watch, console: Console) -> Iterator[None]:
    """Draw the live display on a terminal, a few times a second; its last state stays."""
    from rich.live import Live

    # Standard output is for results: it may be a pipe while standard error is the terminal.
    with Live(Screen(watch), console=console, refresh_per_second=LOOKS_PER_S, redirect_stdout=False):
        yield
