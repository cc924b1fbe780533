"""A dataset lives on: its rejects are retried, and its source grows."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import job_of
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.machine import patience
from tts_pipeline.config import Selection
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Job, plan, publish, run_job, run_parts


@pytest.fixture
def service(tone_service: LocalService) -> LocalService:
    """A service that hums, with an empty bill and no faults."""
    return tone_service


def _write(folder: Path, name: str, numbers: range, **more: Any) -> Path:
    """Write one file of a source folder: ``r0``: ``Line 0.``, and so on."""
    source = folder / "source"
    source.mkdir(exist_ok=True)
    ids, texts = [f"r{number}" for number in numbers], [f"Line {number}." for number in numbers]
    pq.write_table(pa.table({"id": ids, "text": texts, **more}), source / f"{name}.parquet")
    return source


def _job(folder: Path, service: LocalService, **changes: Any) -> Job:
    return job_of(folder, service.url, source=folder / "source", **changes)


def _texts(folder: Path) -> list[str]:
    ids: list[str] = read_table(folder / "out", "speech")["utterance_id"].to_pylist()
    return ids


def _names(*ranges: range) -> list[str]:
    return [f"r{number}" for numbers in ranges for number in numbers]


def test_rejects_are_retried_when_asked_and_only_then(tmp_path: Path, service: LocalService) -> None:
    """A plain run of a finished dataset does nothing; ``retry_rejects`` buys only the rejected rows."""
    _write(tmp_path, "a", range(12))
    service.set_faults([{"what": "refuse", "text": text} for text in ("Line 3.", "Line 11.")])
    assert run_job(_job(tmp_path, service)).dataset.rejects == 2
    service.clear_faults()
    assert run_job(_job(tmp_path, service)).this_run.attempts == 0
    report = run_job(_job(tmp_path, service, options={"retry_rejects": True}))
    assert (report.stopped, report.dataset.speech, report.dataset.rejects) == (None, 12, 0)
    assert (report.this_run.attempts, report.this_run.speech) == (2, 2)
    assert report.dataset.attempts == 14
    assert _texts(tmp_path) == _names(range(12))
    assert list((tmp_path / "out" / "rejects").iterdir()) == []
    speech = {row["utterance_id"]: row for row in read_table(tmp_path / "out", "speech").to_pylist()}
    assert (speech["r3"]["attempts"], speech["r2"]["attempts"]) == (2, 1)
    check_bill(tmp_path / "out", service)


def test_what_a_reopened_part_has_is_not_bought_again(tmp_path: Path, service: LocalService) -> None:
    """Rejects are retried while the source grows by known texts: the dataset's audio is reused for these."""
    source = _write(tmp_path, "a", range(12))
    service.set_faults([{"what": "refuse", "text": "Line 3."}])
    assert run_job(_job(tmp_path, service)).dataset.rejects == 1
    service.clear_faults()
    again = {"id": ["again", "new"], "text": ["Line 2.", "Line 99."]}
    pq.write_table(pa.table(again), source / "b.parquet")
    report = run_job(_job(tmp_path, service, options={"retry_rejects": True}))
    assert (report.stopped, report.dataset.speech, report.this_run.attempts) == (None, 14, 2)
    origins = read_table(tmp_path / "out", "speech").select(["utterance_id", "deduplicated_from"]).to_pylist()
    assert {"utterance_id": "again", "deduplicated_from": "r2"} in origins
    check_bill(tmp_path / "out", service)


_RETRY = """
import sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import run_job
folder = Path(sys.argv[1])
run_job(job_of(folder, sys.argv[2], source=folder / "source", options={"retry_rejects": True, "part_rows": 20}))
"""


def test_a_retry_that_is_killed_is_finished_by_a_plain_run(tmp_path: Path, emulator: StartEmulator) -> None:
    """SIGKILL among the retried rows: only the attempts in flight are bought once more."""
    service = emulator(voice_mode="tone", tone_bytes=2_000)
    _write(tmp_path, "a", range(60))
    service.set_faults([{"what": "error", "status": 422, "code": "x", "message": "x", "ratio": 0.5}])
    job = _job(tmp_path, service, options={"part_rows": 20})
    rejects = run_job(job).dataset.rejects
    service.set_faults([{"what": "slow", "delay_s": patience(20), "after": rejects // 2}])
    with subprocess.Popen([sys.executable, "-c", _RETRY, str(tmp_path), service.url]) as process:
        while service.bill()["received"] < 60 + rejects // 2 + 4:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    service.clear_faults()
    report = run_job(job)
    assert (report.stopped, report.dataset.speech, report.dataset.rejects) == (None, 60, 0)
    assert _texts(tmp_path) == _names(range(60))
    assert service.bill()["received"] <= 60 + rejects + 8
    check_bill(tmp_path / "out", service)


def test_a_source_that_grew_adds_parts(tmp_path: Path, service: LocalService) -> None:
    """Old parts keep their files byte for byte; only new rows are bought; the dataset is finalized again."""
    _write(tmp_path, "a", range(12))
    run_job(_job(tmp_path, service))
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("[dsu]*/*")}
    _write(tmp_path, "b", range(12, 19))
    report = run_job(_job(tmp_path, service))
    assert (report.stopped, report.dataset.rows, report.dataset.speech) == (None, 19, 19)
    assert report.this_run.attempts == 7
    assert {path: path.read_bytes() for path in before} == before
    files = sorted((tmp_path / "out" / "speech").iterdir())
    assert [pq.read_metadata(path).num_rows for path in files] == [5, 5, 2, 5, 2]
    assert _texts(tmp_path) == _names(range(19))
    assert run_job(_job(tmp_path, service)).this_run.attempts == 0
    check_bill(tmp_path / "out", service)


def test_files_in_between_are_appended(tmp_path: Path, service: LocalService) -> None:
    """Their rows follow the old ones; afterwards the source is known, whatever the flags."""
    _write(tmp_path, "a", range(5))
    _write(tmp_path, "c", range(5, 10))
    run_job(_job(tmp_path, service))
    _write(tmp_path, "b", range(10, 15))
    with pytest.raises(ConfigurationError, match="`append=True`"):
        run_job(_job(tmp_path, service))
    run_job(_job(tmp_path, service, options={"append": True}))
    assert run_job(_job(tmp_path, service)).dataset.speech == 15
    assert _texts(tmp_path) == _names(range(15))
    assert service.bill()["received"] == 15


def test_a_source_that_grows_while_parts_are_open_keeps_what_they_have(tmp_path: Path, service: LocalService) -> None:
    """Journals of a stopped run still fit, and none of their answers is bought again."""
    _write(tmp_path, "a", range(12))
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 7}])
    stopped = run_job(_job(tmp_path, service, limits={"max_concurrency": 1}))
    assert stopped.dataset.speech == 7
    service.clear_faults()
    _write(tmp_path, "b", range(12, 15))
    report = run_job(_job(tmp_path, service))
    assert (report.stopped, report.dataset.speech, report.this_run.speech) == (None, 15, 8)
    assert _texts(tmp_path) == _names(range(15))
    check_bill(tmp_path / "out", service)


def test_a_late_file_is_for_the_next_plan(tmp_path: Path, service: LocalService) -> None:
    """Shards do not change between plan and publish; the next plan accepts the file."""
    _write(tmp_path, "a", range(12))
    job = _job(tmp_path, service)
    shards = plan(job, 2)
    _write(tmp_path, "b", range(12, 15))
    for shard in shards:
        assert run_parts(job, shard).stopped is None
    assert publish(job).dataset.speech == 12
    later = plan(job, 2)
    assert sum(shard.parts for shard in later) == 4
    for shard in later:
        run_parts(job, shard)
    assert publish(job).dataset.speech == 15
    assert service.bill()["received"] == 15


def test_an_id_that_came_before_is_refused_in_new_files_too(tmp_path: Path, service: LocalService) -> None:
    """Ids are unique in the whole dataset; nothing is written, and the old dataset is unchanged."""
    _write(tmp_path, "a", range(5))
    run_job(_job(tmp_path, service))
    before = (tmp_path / "out" / "dataset.json").read_bytes()
    _write(tmp_path, "b", range(4, 8))
    with pytest.raises(ConfigurationError, match="'r4'"):
        run_job(_job(tmp_path, service))
    assert (tmp_path / "out" / "dataset.json").read_bytes() == before
    assert (tmp_path / "out" / "parts.json").exists()


def test_a_pilot_does_not_grow(tmp_path: Path, service: LocalService) -> None:
    """Its rows depend on all rows of the source."""
    _write(tmp_path, "a", range(5))
    job = replace(_job(tmp_path, service), selection=Selection(limit=3))
    run_job(job)
    _write(tmp_path, "b", range(5, 8))
    with pytest.raises(ConfigurationError, match="a pilot"):
        run_job(job)


def test_rows_that_changed_are_told(tmp_path: Path, service: LocalService) -> None:
    """The error names the file and the way out."""
    _write(tmp_path, "a", range(5))
    run_job(_job(tmp_path, service))
    _write(tmp_path, "a", range(6))
    with pytest.raises(ConfigurationError, match=r"'a\.parquet' has changed.*`rebuild=True`"):
        run_job(_job(tmp_path, service))
