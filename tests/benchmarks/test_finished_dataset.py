"""Datasets that were not made row by row."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.answers import AnswerSpec
from benchmarks.contest import write_source
from benchmarks.finished_dataset import make_finished_dataset, undo_last_part
from benchmarks.service import load_service
from tts_pipeline import Job, Limits, RunOptions, Service, run_job


@pytest.mark.slow
def test_a_run_takes_them_for_what_they_look_like(tmp_path: Path) -> None:
    """A run does the open part only and finalizes; undone, it does it again; then nothing is left to do."""
    write_source(tmp_path / "rows.parquet", 90)
    with load_service() as service:
        job = Job(
            source=str(tmp_path / "rows.parquet"),
            destination=str(tmp_path / "dataset"),
            service=Service(base_url=AnswerSpec(audio_bytes=2_000, latency_ms=0).base_url(service.origin)),
            model="qwen3-tts-flash",
            parameters={"voice": "Cherry"},
            options=RunOptions(part_rows=20, limits=Limits(max_concurrency=4)),
        )
        make_finished_dataset(job, open_parts=1)
        service.reset()
        first = run_job(job)
        undo_last_part(job)
        again = run_job(job)
        requests = service.stats().requests
        nothing = run_job(job)
        assert requests == service.stats().requests
    assert [report.this_run.speech for report in (first, again, nothing)] == [10, 10, 0]
    assert requests == 20
    assert nothing.dataset.speech == 90
    manifest = orjson.loads((tmp_path / "dataset" / "parts.json").read_bytes())
    assert [part["part"] for part in manifest["parts"]] == [0, 1, 2, 3, 4]
    assert all((tmp_path / "dataset" / name).exists() for part in manifest["parts"] for name in part["files"])
