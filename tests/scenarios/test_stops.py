"""Answers that end a run: at once, in good order, with everything paid for kept."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.conftest import StartEmulator
from tests.scenarios.conftest import RunJob, check_bill, check_every_row_once
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import RunOptions

ROWS = 400
GRACE_S = 1.5

_FATAL = {
    "401": (
        {"status": 401, "code": "InvalidApiKey", "message": "Invalid API-key provided."},
        "check the service's key",
    ),
    "Arrearage": ({"status": 400, "code": "Arrearage", "message": "Overdue.", "form": "nested"}, "settle the bill"),
}


@pytest.mark.parametrize(("error", "advice"), _FATAL.values(), ids=_FATAL)
def test_a_fatal_answer_in_the_middle(emulator: StartEmulator, run: RunJob, error: dict[str, Any], advice: str) -> None:
    """The run ends soon after the grace, says what to do, and loses nothing; a second run does the rest.

    Three rows hang when it happens: their answers are waited for, for the grace, and they are on the bill as unknown.
    """
    service = emulator(voice_mode="tone")  # its own: hanging requests stay with a service
    hanging = [{"what": "slow", "delay_s": 60, "text": f"Line {line}."} for line in (130, 135, 140)]
    service.set_faults([*hanging, {"what": "error", "after": 150, **error}])
    limits = {"max_concurrency": 16, "stop_grace_s": GRACE_S}
    result, ended_s = run(service, rows=ROWS, limits=limits), time.time()
    assert result.report.stopped_by == "service"
    assert advice in str(result.report.stopped)
    bad_s = [
        entry["received_at"] for entry in service.bill(entries=True)["entries"] if entry["status"] == error["status"]
    ]
    assert ended_s - min(bad_s) < 20, "a hanging answer takes 60 s"
    assert result.report.dataset.speech == 150
    assert result.outcomes()["unknown"] == result.report.dataset.unknown_attempts == 3
    assert result.report.dataset.rejects == 0
    check_bill(result, service)

    service.clear_faults()
    again = run(service, limits=limits)
    assert (again.report.stopped, again.report.dataset.speech) == (None, ROWS)
    assert again.report.this_run.speech == ROWS - 150
    check_every_row_once(again, ROWS)
    check_bill(again, service)


def test_a_setting_that_is_refused_for_every_row(tone_service: LocalService, run: RunJob) -> None:
    """Stopped after 50 alike and what was in flight, not after all; what to do is said."""
    tone_service.set_faults([{"what": "error", "status": 400, "code": "InvalidParameter", "message": "no such voice"}])
    result = run(tone_service, rows=ROWS, limits={"max_concurrency": 16})
    assert result.report.stopped_by == "rejects"
    assert 50 <= result.report.dataset.rejects <= 50 + 16
    assert tone_service.bill()["received"] <= 50 + 2 * 16
    assert "no such voice" in str(result.report.stopped)
    assert "mend it and run again" in str(result.report.stopped)


def test_the_default_grace_is_three_seconds() -> None:
    """What the runs here shorten."""
    assert RunOptions().limits.stop_grace_s == 3.0
