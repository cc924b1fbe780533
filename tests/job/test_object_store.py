"""A dataset on an object store behaves like a dataset on a disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import job_of
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StorageError
from tts_pipeline.job import Report, run_job
from tts_pipeline.storage.open_store import open_store

DESTINATION = "s3://bucket/deep/out"


def _write(folder: Path, name: str, numbers: range) -> None:
    (folder / "source").mkdir(exist_ok=True)
    ids, texts = [f"r{number}" for number in numbers], [f"Line {number}." for number in numbers]
    pq.write_table(pa.table({"id": ids, "text": texts}), folder / "source" / f"{name}.parquet")


def test_it_is_retried_grown_and_rebuilt(tmp_path: Path, s3: Mapping[str, str], tone_service: LocalService) -> None:
    """Rejects, new files and changed rows: each run buys only new rows, and the bill continues."""

    def run(**options: Any) -> Report:
        options = {"work_dir": tmp_path / "work", "part_rows": 10, **options}
        job = job_of(tmp_path, tone_service.url, source=tmp_path / "source", destination=DESTINATION, options=options)
        report = run_job(job)
        assert report.stopped is None
        return report

    _write(tmp_path, "a", range(30))
    tone_service.set_faults([{"what": "refuse", "text": "Line 3."}])
    assert run().dataset.rejects == 1
    tone_service.clear_faults()
    retried = run(retry_rejects=True)
    assert (retried.dataset.speech, retried.this_run.attempts) == (30, 1)
    _write(tmp_path, "b", range(30, 33))
    grown = run()
    assert (grown.dataset.speech, grown.this_run.attempts) == (33, 3)
    _write(tmp_path, "a", range(28, 30))
    rebuilt = run(rebuild=True)
    assert (rebuilt.dataset.speech, rebuilt.this_run.attempts, rebuilt.dataset.attempts) == (5, 0, 34)
    assert run().this_run.attempts == 0
    store = open_store(DESTINATION, tmp_path / "staging")
    assert store.names("speech") == ["part-00000.parquet"]
    assert [name.rsplit("-", 1)[0] for name in store.names("usage")] == [
        *(f"generation-1-part-{number:05}" for number in (0, 0, 1, 2, 3)),
    ]
    assert store.names(".generations") == store.names("claims") == []


def test_a_bucket_that_is_not_there_is_not_made(
    tmp_path: Path, s3: Mapping[str, str], tone_service: LocalService
) -> None:
    """A misspelt name is an error before anything is sent."""
    _write(tmp_path, "a", range(3))
    options = {"work_dir": tmp_path / "work"}
    job = job_of(tmp_path, tone_service.url, source=tmp_path / "source", destination="s3://buckett/x", options=options)
    with pytest.raises(StorageError, match="bucket does not exist"):
        run_job(job)
    assert tone_service.bill()["received"] == 0
