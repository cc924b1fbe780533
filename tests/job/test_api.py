"""The public functions ``run``, ``plan``, ``run_parts`` and ``publish``, against the local service."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import MODEL, job_of, row_ids, write_lines
from tests.datasets import check_bill, read_table, spoken_ids
from tests.machine import patience
from tts_pipeline.config import InputColumns, Selection
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import ConfigurationError, StoppedError, StorageError
from tts_pipeline.job import plan, publish, run, run_job, run_parts, validate


def test_a_run_makes_a_whole_dataset(tmp_path: Path, tone_service: LocalService) -> None:
    """Every row is speech with the bytes of its own text, in source order; the bill equals the service's."""
    write_lines(tmp_path / "lines.parquet", 23)
    report = run_job(job_of(tmp_path, tone_service.url))
    speech = read_table(tmp_path / "out", "speech")
    assert (report.stopped, report.dataset.rows, report.dataset.speech) == (None, 23, 23)
    assert report.this_run == report.dataset
    assert speech["utterance_id"].to_pylist() == row_ids(23)
    for text, audio in zip(speech["text"].to_pylist(), speech["audio"].to_pylist(), strict=True):
        assert audio["bytes"] == tone(text)
    assert len(list((tmp_path / "out" / "speech").iterdir())) == 5
    check_bill(tmp_path / "out", tone_service)
    assert tone_service.bill()["characters"] == report.dataset.characters_billed
    left = [path for path in (tmp_path / "out" / ".work").rglob("*") if path.is_file()]
    assert left == []


def test_run_takes_names_and_values(tmp_path: Path, tone_service: LocalService) -> None:
    """Voice parameters by name, and columns for values that vary."""
    write_lines(tmp_path / "lines.parquet", 4, speaker=["Stella", "Aiden", None, "Stella"])
    job = job_of(tmp_path, tone_service.url)
    report = run(
        tmp_path / "lines.parquet",
        tmp_path / "out",
        job.service,
        model=MODEL,
        columns={"voice": "speaker"},
        voice="Cherry",
        speed=1.2,
    )
    assert report.stopped is None
    assert read_table(tmp_path / "out", "speech")["voice"].to_pylist() == ["Stella", "Aiden", "Cherry", "Stella"]


def test_rows_that_cannot_be_said_are_rejects_and_the_rest_goes_on(tmp_path: Path, tone_service: LocalService) -> None:
    """A null, empty or blank text is never sent; a text that the service refuses is sent, and on the bill."""
    texts = ["Good.", None, "", " \t\n", "Bad word.", "Fine."]
    table = pa.table({"id": range(6), "text": pa.array(texts, pa.string()), "more": list("abcdef")})
    pq.write_table(table, tmp_path / "lines.parquet")
    tone_service.set_faults([{"what": "refuse", "text": "Bad word"}])
    report = run_job(job_of(tmp_path, tone_service.url))
    rejects = read_table(tmp_path / "out", "rejects")
    assert (report.stopped, report.dataset.speech, report.dataset.rejects) == (None, 2, 4)
    assert rejects["utterance_id"].to_pylist() == ["1", "2", "3", "4"]
    assert rejects["error_class"].to_pylist() == ["input"] * 3 + ["permanent"]
    assert rejects["error_code"].to_pylist() == ["EmptyText"] * 3 + ["DataInspectionFailed"]
    assert rejects["attempts"].to_pylist() == [0, 0, 0, 1]
    assert rejects["input"].to_pylist() == table.slice(1, 4).to_pylist()
    assert read_table(tmp_path / "out", "usage").num_rows == 3
    check_bill(tmp_path / "out", tone_service)


def test_rows_with_nothing_to_say_are_sent_only_where_that_is_asked_for(
    tmp_path: Path, tone_service: LocalService
) -> None:
    """They are refused before a purchase; with ``keep``, a retry of the rejects speaks them."""
    texts = pa.array(["Good.", "...", "😀"], pa.string())
    pq.write_table(pa.table({"id": range(3), "text": texts}), tmp_path / "lines.parquet")
    report = run_job(job_of(tmp_path, tone_service.url))
    assert (report.dataset.speech, report.dataset.rejects, tone_service.bill()["received"]) == (1, 2, 1)
    rejects = read_table(tmp_path / "out", "rejects")
    assert rejects["error_code"].to_pylist() == ["UnspeakableText"] * 2
    assert rejects["error_class"].to_pylist() == ["input"] * 2
    job = job_of(tmp_path, tone_service.url)
    keeping = replace(job.options, unspeakable="keep", retry_rejects=True)
    assert run_job(replace(job, options=keeping)).dataset.speech == 3


@pytest.mark.parametrize(
    ("change", "has_dataset"),
    [
        ({"parameters": {"voice": "Cherri"}}, False),
        ({"columns": InputColumns(text="x")}, False),
        ({"model": "m"}, True),
    ],
)
def test_bad_input_sends_nothing_and_writes_nothing(
    tmp_path: Path, tone_service: LocalService, change: dict[str, Any], has_dataset: bool
) -> None:
    """Through every function; an existing dataset stays unchanged."""
    write_lines(tmp_path / "lines.parquet", 3)
    good = job_of(tmp_path, tone_service.url)
    if has_dataset:
        run_job(good)
    received = tone_service.bill()["received"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for verb in (run_job, plan, publish, validate):
        with pytest.raises(ConfigurationError):
            verb(replace(good, **change))
    assert tone_service.bill()["received"] == received
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_inside_a_running_loop_works(tmp_path: Path, tone_service: LocalService) -> None:
    """As in a notebook: the same call, with its own thread."""
    write_lines(tmp_path / "lines.parquet", 5)

    async def cell() -> int:
        return run_job(job_of(tmp_path, tone_service.url)).dataset.speech

    assert asyncio.run(cell()) == 5


def test_a_pilot_takes_some_rows(tmp_path: Path, tone_service: LocalService) -> None:
    """``limit`` takes the first rows, ``sample`` random ones, each into a separate dataset."""
    write_lines(tmp_path / "lines.parquet", 50)
    run_job(job_of(tmp_path, tone_service.url, destination=tmp_path / "a", selection=Selection(limit=7)))
    run_job(job_of(tmp_path, tone_service.url, destination=tmp_path / "b", selection=Selection(sample=7, seed=1)))
    assert spoken_ids(tmp_path / "a") == row_ids(7)
    sampled = spoken_ids(tmp_path / "b")
    assert len(set(sampled)) == 7
    assert sampled == sorted(sampled, key=row_ids(50).index)


def test_an_object_store_is_a_destination(tmp_path: Path, tone_service: LocalService, remote: str) -> None:
    """The same files as on a disk; the journals are on a local disk and are removed with the publication."""
    write_lines(tmp_path / "lines.parquet", 12)
    job = job_of(tmp_path, tone_service.url, destination=remote, options={"work_dir": tmp_path / "work"})
    report = run_job(job)
    assert (report.stopped, report.dataset.speech, report.destination) == (None, 12, remote)
    filesystem, path = fsspec.core.url_to_fs(remote)
    assert {str(name).rsplit("/", 1)[-1] for name in filesystem.ls(path, detail=False)} == {
        *("dataset.json", "README.md", "parts.json", "speech", "usage", "done"),
        *(name for name in ("claims", "leases", "journal") if filesystem.exists(f"{path}/{name}")),
    }
    assert not [name for name in filesystem.find(path) if "/journal/" in name]
    ids = []
    for name in sorted(filesystem.ls(f"{path}/speech", detail=False)):
        ids += pq.read_table(pa.BufferReader(filesystem.cat_file(name)))["utterance_id"].to_pylist()
    assert ids == row_ids(12)
    assert [path.name for path in (tmp_path / "work").rglob("*") if path.is_file()] == ["work.id"]
    assert run_job(job).this_run.attempts == 0


def test_shards_may_be_run_in_any_order_and_are_finalized_by_publish(
    tmp_path: Path, tone_service: LocalService
) -> None:
    """Each shard runs its parts; publishing too early is a clear error, publishing twice is harmless."""
    write_lines(tmp_path / "lines.parquet", 23)
    job = job_of(tmp_path, tone_service.url)
    shards = plan(job, max_shards=3)
    assert [list(shard.numbers()) for shard in shards] == [[0], [1, 2], [3, 4]]
    for shard in (shards[2], shards[0]):
        report = run_parts(job, shard)
        assert (report.stopped, report.this_run.rows) == (None, 5 if shard.index == 0 else 8)
    with pytest.raises(StorageError, match="2 of 5 parts are not done: part-00001, part-00002"):
        publish(job)
    run_parts(job, shards[1])
    assert plan(job, max_shards=3) == shards
    assert publish(job).dataset == publish(job).dataset
    assert publish(job).dataset.speech == 23
    assert spoken_ids(tmp_path / "out") == row_ids(23)
    check_bill(tmp_path / "out", tone_service)


_WORKER = """
import sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import plan, run_parts
job = job_of(Path(sys.argv[1]), sys.argv[2])
report = run_parts(job, plan(job, 2)[int(sys.argv[3])])
assert report.stopped is None, report.stopped
print(report.this_run.speech)
"""


def test_two_processes_at_once_share_a_job(tmp_path: Path, tone_service: LocalService) -> None:
    """Both plan, each runs its shard at the same time without communication, and one publishes."""
    write_lines(tmp_path / "lines.parquet", 60)
    command = [sys.executable, "-c", _WORKER, str(tmp_path), tone_service.url]
    workers = [subprocess.Popen([*command, str(index)], stdout=subprocess.PIPE, text=True) for index in range(2)]
    outputs = [worker.communicate(timeout=patience(60))[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert [int(count) for count in outputs] == [30, 30]
    assert publish(job_of(tmp_path, tone_service.url)).dataset.speech == 60
    assert spoken_ids(tmp_path / "out") == row_ids(60)
    assert tone_service.bill()["received"] == 60


@pytest.mark.parametrize(("max_rejects", "stopped_by"), [(4, "rejects"), (0.2, "rejects"), (5, None), (0.25, None)])
def test_too_many_rejects_stop_the_run(
    tmp_path: Path, tone_service: LocalService, max_rejects: float, stopped_by: str | None
) -> None:
    """More than a number, or than a share of the rows; the message has the last refusal and the way out."""
    write_lines(tmp_path / "lines.parquet", 20, more=["x"] * 20)
    tone_service.set_faults([{"what": "refuse", "text": f"Line {number}."} for number in (1, 2, 3, 4, 15)])
    limits = {"max_concurrency": 1}
    report = run_job(job_of(tmp_path, tone_service.url, options={"max_rejects": max_rejects}, limits=limits))
    assert report.stopped_by == stopped_by
    if stopped_by:
        assert isinstance(report.stopped, StoppedError)
        assert "DataInspectionFailed" in str(report.stopped)
    else:
        assert report.dataset.rejects == 5


def test_a_parameter_that_every_row_is_refused_for_stops_the_run(tmp_path: Path, tone_service: LocalService) -> None:
    """After 50 equal errors, not after all rows."""
    write_lines(tmp_path / "lines.parquet", 200)
    tone_service.set_faults([{"what": "error", "status": 400, "code": "InvalidParameter", "message": "bad voice"}])
    report = run_job(job_of(tmp_path, tone_service.url, options={"part_rows": 100}))
    assert report.stopped_by == "rejects"
    assert 50 <= report.dataset.rejects < 60


def test_journals_of_a_deleted_dataset_are_not_taken_for_the_new_one(
    tmp_path: Path, tone_service: LocalService
) -> None:
    """If a destination is emptied and used for another job, the old journals hold other voices."""
    write_lines(tmp_path / "lines.parquet", 20)
    changes: dict[str, Any] = {"options": {"work_dir": tmp_path / "work"}, "limits": {"max_concurrency": 1}}
    tone_service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 7}])
    run_job(job_of(tmp_path, tone_service.url, **changes))
    tone_service.clear_faults()
    (tmp_path / "out").rename(tmp_path / "old")
    other = job_of(tmp_path, tone_service.url, parameters={"voice": "Stella"}, **changes)
    report = run_job(other)
    assert report.stopped_by == "storage"
    assert "of another job or source" in str(report.stopped)
