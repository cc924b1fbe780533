"""Rows that always fail: each is a reject, and the others are done, wherever they stand, at any concurrency."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import StartEmulator
from tests.scenarios.conftest import RunJob, check_bill, check_every_row_once
from tts_pipeline.emulator.local_service import LocalService

QUICK = {"retry_wait_s": 0.02, "retry_wait_max_s": 0.1}
PAGE = {"status": 403, "body": "<html><head><title>403 Forbidden</title></head><body>Blocked.</body></html>"}


def _always(line: int, **error: Any) -> dict[str, Any]:
    return {"what": "error", "text": f"Line {line}.", **error}


def test_a_text_that_always_gets_500_and_one_that_a_proxy_refuses(tone_service: LocalService, run: RunJob) -> None:
    """One reject each, by its own class; all others are speech, and nobody else has lost an attempt."""
    tone_service.set_faults([_always(70, status=500), _always(140, **PAGE)])
    result = run(tone_service, rows=300, limits={"max_concurrency": 16, **QUICK})
    assert (result.report.stopped, result.report.dataset.speech) == (None, 298)
    assert result.reject_codes() == {"r70": "InternalError", "r140": "HTTP403"}
    assert result.table("rejects")["error_class"].to_pylist() == ["transient", "permanent"]
    assert result.table("rejects")["attempts"].to_pylist() == [5, 1]
    assert result.table("usage").num_rows == 298 + 5 + 1
    check_every_row_once(result, 300)
    check_bill(result, tone_service)


@pytest.mark.parametrize(("max_concurrency", "neighbours"), [(1, 2), (2, 7)])
def test_neighbours_that_always_fail_are_rejects(
    emulator: StartEmulator, run: RunJob, max_concurrency: int, neighbours: int
) -> None:
    """Also one request at a time: other rows go on beside them, and show whose failure it is."""
    service = emulator(voice_mode="tone", tone_bytes=2_000)
    service.set_faults([_always(line) for line in range(20, 20 + neighbours)])
    result = run(service, rows=200, limits={"max_concurrency": max_concurrency, **QUICK})
    assert result.reject_codes() == {f"r{line}": "InternalError" for line in range(20, 20 + neighbours)}
    check_every_row_once(result, 200)
    check_bill(result, service)
    assert service.bill()["max_in_flight"] <= max_concurrency
    assert result.elapsed_s < 60


@pytest.mark.parametrize("last", [1, 2])
def test_the_last_rows_of_a_run_may_always_fail(tone_service: LocalService, run: RunJob, last: int) -> None:
    """Nothing else is left that could succeed: after a while, the run ends with its rejects all the same."""
    tone_service.set_faults([_always(line) for line in range(100 - last, 100)])
    result = run(tone_service, rows=100, limits={"max_outage_s": 15.0, **QUICK})
    assert (result.report.stopped, result.report.dataset.rejects) == (None, last)
    check_every_row_once(result, 100)
    check_bill(result, tone_service)
