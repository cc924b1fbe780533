"""``kill -9`` at random moments: nothing lost, nothing bought twice but what was in flight, the bill never short."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import StartEmulator
from tests.killing import KilledJob, check_bill, check_nothing_lost, write_source

ROWS = 2_000
KILLS = 5
IN_FLIGHT = 32


@pytest.mark.slow
def test_a_job_killed_five_times_ends_with_every_row_once(emulator: StartEmulator, tmp_path: Path) -> None:
    """After kills at random moments a last run ends with every row exactly once, and a true bill."""
    service = emulator(voice_mode="tone", tone_bytes=20_000, latency_ms=80)
    source = tmp_path / "lines.parquet"
    write_source(source, ROWS)
    job = KilledJob(service, source, tmp_path / "out", IN_FLIGHT, random.Random())
    while job.kills < KILLS:
        assert job.kill_at_random(from_s=0.0, to_s=0.8), "the job ended before it was killed often enough"

    last = job.finish()

    assert last.returncode == 0, last.stderr
    check_nothing_lost(job.destination, ROWS)
    print(check_bill(job))
    assert service.bill()["max_in_flight"] <= IN_FLIGHT
    again = service.bill()["received"]
    assert job.finish().returncode == 0
    assert service.bill()["received"] == again, "a finished job sends nothing"
