"""The progress display: its computations from counts and a clock, and its output."""

from __future__ import annotations

import io
import threading
from decimal import Decimal

import pytest
from rich.console import Console

from tests.machine import patience
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.job import Progress
from tts_pipeline.job.progress_view import ProgressView, live_display, plain_line, report_lines
from tts_pipeline.money import Cost


class FakeClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _progress(speech: int = 0, rejects: int = 0, *, rows: int = 1_000) -> Progress:
    totals = Totals(rows=rows, speech=speech, rejects=rejects, audio_ms=5_400_000)
    totals.add(Cost(cost=Decimal("1.25"), cost_upper_bound=Decimal("1.25"), currency="CNY"))
    return Progress(totals=totals, in_flight=16, retries=1, done_before=100)


def test_a_line_says_everything() -> None:
    """Rows done of all, speed, time left, in flight, retries, rejects, audio, cost."""
    clock, progress = FakeClock(), _progress()
    view = ProgressView(progress, clock)
    view.snapshot()
    clock.now_s += 5
    progress.totals.speech, progress.totals.rejects = 48, 2
    assert plain_line(view.snapshot()) == (
        "150 of 1,000 rows, 10.0 rows/s, 1:25 left, 16 in flight, 1 retry, 2 rejects, 1.50 h audio, 1.25 CNY"
    )


def test_a_job_that_is_being_checked_has_no_figures_yet() -> None:
    """No zero is shown for an unknown figure."""
    assert plain_line(ProgressView(Progress()).snapshot()) == "checking the job"


def test_without_a_price_no_cost_is_shown() -> None:
    """An unknown cost is not 0."""
    assert plain_line(ProgressView(Progress(totals=Totals(rows=3))).snapshot()).endswith("0.00 h audio")


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (BudgetCap(Decimal(500), "CNY"), "11.25 of 500 CNY"),
        (BudgetCap(max_characters=9_000), "1,150 of 9,000 characters"),
    ],
)
def test_with_a_cap_all_that_is_spent_is_shown_against_it(cap: BudgetCap, expected: str) -> None:
    """At most, over all runs: the cap counts this."""
    progress = _progress()
    progress.totals.characters_upper_bound = 150
    progress.cap, progress.spent_before = cap, Cost(characters_upper_bound=1_000)
    progress.spent_before.add(Cost(cost=Decimal(8), cost_upper_bound=Decimal(10), currency="CNY"))
    assert plain_line(ProgressView(progress).snapshot()).endswith(f", {expected}")


def test_the_speed_is_that_of_the_last_seconds() -> None:
    """A fast start a minute ago does not hide a standstill."""
    clock, progress = FakeClock(), _progress()
    view = ProgressView(progress, clock)
    for second in range(60):
        clock.now_s += 1
        progress.totals.speech = min(second, 20) * 10
        look = view.snapshot()
    assert look.rows_per_s == 0
    assert look.remaining_s is None


def test_rows_that_were_there_before_are_no_speed() -> None:
    """Rows of earlier runs count as done, but not towards the speed."""
    clock, progress = FakeClock(), _progress()
    view = ProgressView(progress, clock)
    view.snapshot()
    clock.now_s += 1
    progress.done_before = 900
    look = view.snapshot()
    assert (look.done, look.rows_per_s) == (900, 0)


def test_plain_lines_come_now_and_then_and_at_the_end() -> None:
    """One line after each wait, and the last state."""
    waits, written = iter([False, False]), threading.Event()
    lines: list[str] = []

    def wait(end: threading.Event) -> bool:
        if next(waits, True):
            written.set()
            return end.wait()
        return False

    with report_lines(ProgressView(_progress(speech=50), FakeClock()), lines.append, wait=wait):
        assert written.wait(patience(10))
    assert [line[:17] for line in lines] == ["150 of 1,000 rows"] * 3


def test_the_last_line_is_written_when_the_run_fails() -> None:
    """The line shows the rows done so far, and the error passes on."""
    lines: list[str] = []
    with pytest.raises(ZeroDivisionError), report_lines(ProgressView(_progress(), FakeClock()), lines.append):
        raise ZeroDivisionError
    assert lines[-1].startswith("100 of 1,000 rows")


def test_a_terminal_shows_a_bar_and_the_figures() -> None:
    """The live display has the plain line's figures, with a bar and a share."""
    drawn = io.StringIO()
    with live_display(ProgressView(_progress(speech=400)), Console(file=drawn, force_terminal=True, width=120)):
        pass
    assert "━" in drawn.getvalue()
    assert "500 of 1,000 rows 50 %" in drawn.getvalue()
    assert "16 in flight, 1 retry, 0 rejects, 1.50 h audio, 1.25 CNY" in drawn.getvalue()
