"""Where the progress of a call is shown."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from tts_pipeline.dataset.totals import Totals
from tts_pipeline.frames.progress import show_progress
from tts_pipeline.job import Progress
from tts_pipeline.job.progress_view import ProgressView, live_display


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def _progress() -> Progress:
    return Progress(totals=Totals(rows=10, speech=4))


@pytest.mark.parametrize(("progress", "drawn"), [(None, True), (True, True), (False, False)])
def test_a_terminal_shows_a_bar(progress: bool | None, drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless nobody wants it."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with show_progress(_progress(), progress):
        pass
    assert ("4 of 10 rows" in terminal.getvalue()) is drawn


@pytest.mark.parametrize(("progress", "text"), [(None, ""), (False, ""), (True, "4 of 10 rows")])
def test_elsewhere_there_are_lines_when_they_are_wanted(
    progress: bool | None, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error."""
    with show_progress(_progress(), progress):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert err[: len(text)] == text
    assert bool(err) is bool(text)


def test_a_second_display_is_none_the_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls at a time, or one below a bar of the caller's."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    with (
        live_display(ProgressView(_progress()), Console(stderr=True)),
        show_progress(_progress(), None),
        show_progress(_progress(), None),
    ):
        pass
