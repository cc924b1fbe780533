"""A service that throttles: the run waits as one, loses no row, and tells when it would be too long."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.scenarios.conftest import RunJob, check_bill, check_every_row_once
from tts_pipeline.emulator.local_service import LocalService


@pytest.mark.parametrize(
    ("rule", "pause_s"),
    [({"retry_after_s": 1}, 1.0), ({}, 0.5)],
    ids=["with Retry-After", "without"],
)
def test_a_storm_of_429_is_waited_out(
    tone_service: LocalService, run: RunJob, rule: dict[str, Any], pause_s: float
) -> None:
    """The whole run pauses once; no row is rejected, no 429 is billed, and hardly a request goes out meanwhile."""
    tone_service.set_faults([{"what": "throttle", "after": 100, "first": 10, **rule}])
    result = run(tone_service, rows=300, limits={"max_concurrency": 16, "max_attempts": 1})
    assert (result.report.stopped, result.report.dataset.rejects) == (None, 0)
    check_every_row_once(result, 300)
    assert result.table("usage").num_rows == 300 + 10
    assert result.billed()[0] == result.billed()[1] == tone_service.bill()["characters"]
    # When they left, not when they came: a request may be on its way for long while the pause has begun.
    started_at = sorted(result.table("usage")["started_at"].to_pylist())
    longest_silence = max(after - before for before, after in pairwise(started_at))
    assert longest_silence >= timedelta(seconds=pause_s * 0.99)
    check_bill(result, tone_service)


@pytest.mark.parametrize("as_date", [False, True])
def test_a_pause_that_is_too_long_stops_and_says_until_when(
    tone_service: LocalService, run: RunJob, as_date: bool
) -> None:
    """Beyond an hour: exit 5, what is done is kept, and a later run goes on."""
    tone_service.set_faults([{"what": "throttle", "after": 100, "retry_after_s": 7_200, "retry_after_date": as_date}])
    result = run(tone_service, rows=300)
    assert result.report.stopped_by == "service"
    assert "asks for a pause of 7" in str(result.report.stopped)
    assert " UTC (run again then" in str(result.report.stopped)
    assert (result.report.dataset.speech, result.report.dataset.rejects) == (100, 0)
    assert result.elapsed_s < 60
    tone_service.clear_faults()
    again = run(tone_service)
    assert (again.report.stopped, again.report.dataset.speech) == (None, 300)
    check_bill(again, tone_service)
