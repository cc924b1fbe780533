"""The package's own warnings on the command line."""

from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from tests.cli.conftest import LOCAL, Command, MakeSource
from tts_pipeline.cli.logs import warnings_shown
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import Progress
from tts_pipeline.job.progress_view import ProgressView, live_display

logger = logging.getLogger("tts_pipeline")


def test_a_warning_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """While the block runs, once, and nothing below a warning."""
    with warnings_shown():
        logger.warning("the service is not usable (%s)", "HTTP 503")
        logger.info("nothing of interest")
    logger.debug("after the run")
    assert capsys.readouterr() == ("", "tts-pipeline: the service is not usable (HTTP 503)\n")


def test_a_warning_stands_above_the_live_display() -> None:
    """Whole, on a line of its own, and the display is drawn again below it."""
    drawn = io.StringIO()
    view = ProgressView(Progress(totals=Totals(rows=10)))
    with live_display(view, Console(file=drawn, force_terminal=True, width=120)), warnings_shown():
        logger.warning("the pause is over: the run goes on")
    lines = drawn.getvalue().splitlines()
    (index,) = [place for place, line in enumerate(lines) if "the pause is over" in line]
    assert lines[index].endswith("tts-pipeline: the pause is over: the run goes on")
    assert any("0 of 10 rows" in line for line in lines[index + 1 :])


def test_a_pause_is_told_though_no_progress_is_shown(
    command: Command, make_source: MakeSource, local: LocalService, tmp_path: object
) -> None:
    """--quiet is about progress: a run that waits says why."""
    local.set_faults([{"what": "throttle", "first": 1}])
    result = command("run", make_source(), f"{tmp_path}/out", *LOCAL, "--quiet")
    assert result.status == 0
    message = "tts-pipeline: the service throttles (429): the run slows down with short pauses"
    assert result.err.splitlines().count(message) == 1
