"""Limits fit the service: its rate is used and never exceeded, its capacity is found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tests.datasets import check_bill
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StoppedError
from tts_pipeline.job import plan, run_job, run_parts


def test_the_permitted_rate_is_never_passed(tmp_path: Path, emulator: StartEmulator) -> None:
    """Fifty a second, smoothly enforced: no request is refused."""
    service = emulator(voice_mode="tone", latency_ms=50, requests_per_minute=3_000, rate_tolerance_ms=500)
    write_lines(tmp_path / "lines.parquet", 150)
    limits = {"requests_per_minute": 3_000, "max_concurrency": 32}
    report = run_job(job_of(tmp_path, service.url, limits=limits, options={"part_rows": 100}))
    assert (report.stopped, report.this_run.attempts) == (None, 150)


def test_a_service_that_takes_fewer_at_a_time_is_asked_for_fewer(tmp_path: Path, emulator: StartEmulator) -> None:
    """After a short while hardly a request is refused, and every row is done."""
    service = emulator(voice_mode="tone", latency_ms=20, max_in_flight=8)
    write_lines(tmp_path / "lines.parquet", 300)
    report = run_job(job_of(tmp_path, service.url, limits={"max_concurrency": 32}, options={"part_rows": 100}))
    assert (report.stopped, report.dataset.speech) == (None, 300)
    check_bill(tmp_path / "out", service)
    refused = [entry["status"] == 429 for entry in service.bill(entries=True)["entries"]]
    assert sum(refused[:100]) < 60
    assert sum(refused[100:]) < 20


@pytest.mark.parametrize("retry_after_s", [400, 4_000])
def test_a_pause_that_is_too_long_ends_the_run_and_says_until_when(
    tmp_path: Path, tone_service: LocalService, retry_after_s: int
) -> None:
    """As a time, so that the caller can give up its slot until then; everything done is kept."""
    tone_service.set_faults([{"what": "throttle", "retry_after_s": retry_after_s, "after": 7}])
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, tone_service.url, limits={"max_pause_s": 300})
    began = datetime.now(UTC)
    (shard,) = plan(job)
    report = run_parts(job, shard)
    assert isinstance(report.stopped, StoppedError)
    assert (report.stopped_by, report.dataset.speech) == ("service", 7)
    assert report.stopped.until is not None
    assert timedelta(0) <= report.stopped.until - began - timedelta(seconds=retry_after_s) < timedelta(seconds=30)
