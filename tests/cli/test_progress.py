"""The progress of a run on the command line: where it is shown, and when not."""

from __future__ import annotations

import pytest

from tts_pipeline.cli.run import progress_shown
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.job import Progress


def _progress() -> Progress:
    return Progress(totals=Totals(rows=1_000), done_before=100)


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither display."""
    with progress_shown(_progress(), quiet=True):
        pass
    assert capsys.readouterr() == ("", "")


def test_where_there_is_no_terminal_lines_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """No control characters in a log file."""
    with progress_shown(_progress(), quiet=False):
        pass
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("100 of 1,000 rows")
    assert "\x1b" not in err
