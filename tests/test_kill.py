"""``kill -9`` at random instants: nothing lost, nothing bought twice but what was in flight, the bill never short."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import StartEmulator
from tests.killing import FAULTS, KilledJob, check_bill, check_nothing_lost, write_source


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "kills"), [(300, 4), pytest.param(5_000, 100, marks=[pytest.mark.kill, pytest.mark.timeout(1_800)])]
)
def test_a_job_that_is_killed_again_and_again(emulator: StartEmulator, tmp_path: Path, rows: int, kills: int) -> None:
    """With faults on: every row once, bought twice only what was in flight at a kill, the bill never short."""
    service = emulator(voice_mode="tone", tone_bytes=20_000, latency_ms=100)
    service.set_faults(FAULTS)
    texts = write_source(tmp_path / "lines.parquet", rows)
    job = KilledJob(service, tmp_path / "lines.parquet", str(tmp_path / "out"), tmp_path / "work", 16)
    began = time.monotonic()
    while job.kills < kills:
        assert job.kill_at_random(within_s=0.4), f"the job ended after {job.kills} kills"
    last = job.finish()
    assert last.returncode == 0, last.stderr
    check_nothing_lost(job, rows)
    print(check_bill(job, texts), f"{time.monotonic() - began:.0f} s")
    assert service.bill()["max_in_flight"] <= job.max_concurrency
    received = service.bill()["received"]
    assert job.finish().returncode == 0
    assert service.bill()["received"] == received, "a finished job sends nothing"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "kills", "loses_disk"),
    [
        (100, 1, False),
        (200, 2, True),
        pytest.param(3_000, 20, True, marks=[pytest.mark.kill, pytest.mark.timeout(1_800)]),
    ],
)
def test_a_job_on_an_object_store_that_is_killed(  # noqa: PLR0917 (fixtures and cases)
    emulator: StartEmulator, tmp_path: Path, s3: Mapping[str, str], rows: int, kills: int, loses_disk: bool
) -> None:
    """The same on S3; where the journals' disk is lost too, claims bound what is not known any more."""
    service = emulator(voice_mode="tone", tone_bytes=10_000, latency_ms=50)
    service.set_faults(FAULTS)
    texts = write_source(tmp_path / "lines.parquet", rows)
    job = KilledJob(
        *(service, tmp_path / "lines.parquet", "s3://bucket/out", tmp_path / "work", 16),
        part_rows=20,
        loses_disk=loses_disk,
        environ={**s3, "PYTHONWARNINGS": "ignore"},
    )
    began = time.monotonic()
    while job.kills < kills:
        assert job.kill_at_random(within_s=1.5), f"the job ended after {job.kills} kills"
    last = job.finish()
    assert last.returncode == 0, last.stderr
    check_nothing_lost(job, rows)
    print(check_bill(job, texts), f"{time.monotonic() - began:.0f} s")
    assert job.store.names("claims") == []
    received = service.bill()["received"]
    assert job.finish().returncode == 0
    assert service.bill()["received"] == received
