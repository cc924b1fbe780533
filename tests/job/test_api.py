"""The doors: ``run``, ``plan``, ``run_parts``, ``publish``, against the local service."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import StartEmulator
from tests.job.samples import MODEL, check_bill, job_of, read, write_lines
from tests.patience import patience
from tts_pipeline.catalog import load_catalog
from tts_pipeline.config import InputColumns, Selection
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import ConfigurationError, FatalError, StoppedError, StorageError
from tts_pipeline.job import Progress, plan, publish, run, run_job, run_parts, validate
from tts_pipeline.storage.file_lock import FileLock


@pytest.fixture
def service(tone_service: LocalService) -> LocalService:
    """A service that hums, with an empty bill and no faults."""
    return tone_service


def _spoken_ids(destination: Path) -> list[str]:
    ids: list[str] = read(destination, "speech")["utterance_id"].to_pylist()
    return ids


def _names(rows: int) -> list[str]:
    return [f"r{number}" for number in range(rows)]


def test_a_run_makes_a_whole_dataset(tmp_path: Path, service: LocalService) -> None:
    """Every row is speech with the bytes of its own text, in source order; the bill is the service's."""
    write_lines(tmp_path / "lines.parquet", 23)
    report = run_job(job_of(tmp_path, service.url))
    speech = read(tmp_path / "out", "speech")
    assert (report.stopped, report.dataset.rows, report.dataset.speech) == (None, 23, 23)
    assert report.this_run == report.dataset
    assert speech["utterance_id"].to_pylist() == _names(23)
    for text, audio in zip(speech["text"].to_pylist(), speech["audio"].to_pylist(), strict=True):
        assert audio["bytes"] == tone(text)
    assert len(list((tmp_path / "out" / "speech").iterdir())) == 5
    check_bill(tmp_path / "out", service)
    assert service.bill()["characters"] == report.dataset.characters_billed
    left = [path for path in (tmp_path / "out" / ".work").rglob("*") if path.is_file()]
    assert left == []


def test_a_second_run_sends_nothing_and_tells_the_same_totals(tmp_path: Path, service: LocalService) -> None:
    """Resume is what a run does; of a finished dataset nothing is left to do."""
    write_lines(tmp_path / "lines.parquet")
    first = run_job(job_of(tmp_path, service.url))
    received = service.bill()["received"]
    second = run_job(job_of(tmp_path, service.url))
    assert service.bill()["received"] == received
    assert second.dataset == first.dataset
    assert (second.stopped, second.this_run.attempts, second.this_run.speech) == (None, 0, 0)


def test_the_public_door_takes_names_and_values(tmp_path: Path, service: LocalService) -> None:
    """Voice parameters by name, columns for what varies."""
    write_lines(tmp_path / "lines.parquet", 4, speaker=["Stella", "Aiden", None, "Stella"])
    job = job_of(tmp_path, service.url)
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
    assert read(tmp_path / "out", "speech")["voice"].to_pylist() == ["Stella", "Aiden", "Cherry", "Stella"]


def test_rows_that_cannot_be_said_are_rejects_and_the_rest_goes_on(tmp_path: Path, service: LocalService) -> None:
    """A null, empty or blank text is never sent; one that the service refuses is, and is on the bill."""
    texts = ["Good.", None, "", " \t\n", "Bad word.", "Fine."]
    table = pa.table({"id": range(6), "text": pa.array(texts, pa.string()), "more": list("abcdef")})
    pq.write_table(table, tmp_path / "lines.parquet")
    service.set_faults([{"what": "refuse", "text": "Bad word"}])
    report = run_job(job_of(tmp_path, service.url))
    rejects = read(tmp_path / "out", "rejects")
    assert (report.stopped, report.dataset.speech, report.dataset.rejects) == (None, 2, 4)
    assert rejects["utterance_id"].to_pylist() == ["1", "2", "3", "4"]
    assert rejects["error_class"].to_pylist() == ["input"] * 3 + ["permanent"]
    assert rejects["error_code"].to_pylist() == ["EmptyText"] * 3 + ["DataInspectionFailed"]
    assert rejects["attempts"].to_pylist() == [0, 0, 0, 1]
    assert rejects["input"].to_pylist() == table.slice(1, 4).to_pylist()
    assert read(tmp_path / "out", "usage").num_rows == 3
    check_bill(tmp_path / "out", service)


def test_rows_with_nothing_to_say_are_sent_only_where_that_is_asked_for(tmp_path: Path, service: LocalService) -> None:
    """Refused before money; kept, with the rejects tried anew, they are spoken."""
    texts = pa.array(["Good.", "...", "😀"], pa.string())
    pq.write_table(pa.table({"id": range(3), "text": texts}), tmp_path / "lines.parquet")
    report = run_job(job_of(tmp_path, service.url))
    assert (report.dataset.speech, report.dataset.rejects, service.bill()["received"]) == (1, 2, 1)
    rejects = read(tmp_path / "out", "rejects")
    assert rejects["error_code"].to_pylist() == ["UnspeakableText"] * 2
    assert rejects["error_class"].to_pylist() == ["input"] * 2
    job = job_of(tmp_path, service.url)
    keeping = replace(job.options, unspeakable="keep", retry_rejects=True)
    assert run_job(replace(job, options=keeping)).dataset.speech == 3
    with pytest.raises(ConfigurationError, match="unspeakable is 'drop'"):
        run_job(replace(job, options=replace(job.options, unspeakable="drop")))  # type: ignore[arg-type] # as untyped


@pytest.mark.parametrize(
    ("change", "there"),
    [
        ({"parameters": {"voice": "Cherri"}}, False),
        ({"columns": InputColumns(text="x")}, False),
        ({"model": "m"}, True),
    ],
)
def test_bad_input_sends_nothing_and_writes_nothing(
    tmp_path: Path, service: LocalService, change: dict[str, Any], there: bool
) -> None:
    """Whatever door is used; a dataset that is there stays as it is."""
    write_lines(tmp_path / "lines.parquet", 3)
    good = job_of(tmp_path, service.url)
    if there:
        run_job(good)
    received = service.bill()["received"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for door in (run_job, plan, publish, validate):
        with pytest.raises(ConfigurationError):
            door(replace(good, **change))
    assert service.bill()["received"] == received
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_inside_a_running_loop_works(tmp_path: Path, service: LocalService) -> None:
    """As in a notebook: the same call, in a thread of its own."""
    write_lines(tmp_path / "lines.parquet", 5)

    async def cell() -> int:
        return run_job(job_of(tmp_path, service.url)).dataset.speech

    assert asyncio.run(cell()) == 5


def test_a_source_without_rows_is_a_finished_dataset(tmp_path: Path, service: LocalService) -> None:
    """Sealed, with nothing in it."""
    write_lines(tmp_path / "lines.parquet", 0)
    report = run_job(job_of(tmp_path, service.url))
    assert (report.stopped, report.dataset.rows, report.dataset.cost) == (None, 0, None)
    assert (tmp_path / "out" / "parts.json").exists()


def test_a_pilot_takes_some_rows(tmp_path: Path, service: LocalService) -> None:
    """``limit`` the first, ``sample`` some; each into a dataset of its own."""
    write_lines(tmp_path / "lines.parquet", 50)
    run_job(job_of(tmp_path, service.url, destination=tmp_path / "a", selection=Selection(limit=7)))
    run_job(job_of(tmp_path, service.url, destination=tmp_path / "b", selection=Selection(sample=7, seed=1)))
    assert _spoken_ids(tmp_path / "a") == _names(7)
    sampled = _spoken_ids(tmp_path / "b")
    assert len(set(sampled)) == 7
    assert sampled == sorted(sampled, key=_names(50).index)


@pytest.fixture
def remote() -> Iterator[str]:
    """A destination on an object store."""
    url = f"memory://{uuid.uuid4().hex}/out"
    yield url
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.rm(path, recursive=True)


def test_an_object_store_is_a_destination(tmp_path: Path, service: LocalService, remote: str) -> None:
    """The same files as on a disk; the journals are on a local disk and go when the parts are published."""
    write_lines(tmp_path / "lines.parquet", 12)
    job = job_of(tmp_path, service.url, destination=remote, options={"work_dir": tmp_path / "work"})
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
    assert ids == _names(12)
    assert [path.name for path in (tmp_path / "work").rglob("*") if path.is_file()] == ["work.id"]
    assert run_job(job).this_run.attempts == 0


def test_shards_may_be_run_in_any_order_and_are_sealed_by_publish(tmp_path: Path, service: LocalService) -> None:
    """Each shard does its own parts; publishing before the last is a clear error, and twice is harmless."""
    write_lines(tmp_path / "lines.parquet", 23)
    job = job_of(tmp_path, service.url)
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
    assert _spoken_ids(tmp_path / "out") == _names(23)
    check_bill(tmp_path / "out", service)


_WORKER = """
import sys
from pathlib import Path
from tests.job.samples import job_of
from tts_pipeline.job import plan, run_parts
job = job_of(Path(sys.argv[1]), sys.argv[2])
report = run_parts(job, plan(job, 2)[int(sys.argv[3])])
assert report.stopped is None, report.stopped
print(report.this_run.speech)
"""


def test_two_processes_at_once_share_a_job(tmp_path: Path, service: LocalService) -> None:
    """Both plan, each runs its shard, at the same time and without speaking to each other; one publishes."""
    write_lines(tmp_path / "lines.parquet", 60)
    command = [sys.executable, "-c", _WORKER, str(tmp_path), service.url]
    workers = [subprocess.Popen([*command, str(index)], stdout=subprocess.PIPE, text=True) for index in range(2)]
    said = [worker.communicate(timeout=patience(60))[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert [int(count) for count in said] == [30, 30]
    assert publish(job_of(tmp_path, service.url)).dataset.speech == 60
    assert _spoken_ids(tmp_path / "out") == _names(60)
    assert service.bill()["received"] == 60


def test_a_part_that_another_process_has_stops_the_run_and_loses_nothing(tmp_path: Path, service: LocalService) -> None:
    """Exit 6, naming the part; what was said until then is kept, and the next run buys none of it again."""
    write_lines(tmp_path / "lines.parquet", 23)
    job = job_of(tmp_path, service.url)
    with FileLock(tmp_path / "out" / ".work" / "locks" / "part-00002.lock"):
        report = run_job(job)
    assert isinstance(report.stopped, StorageError)
    assert report.stopped_by == "storage"
    assert "part-00002" in str(report.stopped)
    assert run_job(job).dataset.speech == 23
    check_bill(tmp_path / "out", service)
    assert service.bill()["received"] == read(tmp_path / "out", "usage").num_rows == 23


def test_a_fatal_answer_ends_the_run_and_a_later_one_goes_on(tmp_path: Path, service: LocalService) -> None:
    """With what is done kept, and the bill right."""
    write_lines(tmp_path / "lines.parquet", 40)
    job = job_of(tmp_path, service.url)
    service.set_faults([{"what": "error", "status": 403, "code": "Arrearage", "message": "overdue", "after": 20}])
    report = run_job(job)
    assert isinstance(report.stopped, FatalError)
    assert report.stopped_by == "service"
    assert 0 < report.dataset.speech <= 20
    usage = read(tmp_path / "out", "usage")
    assert usage.num_rows == report.dataset.attempts == service.bill()["received"]
    service.clear_faults()
    again = run_job(job)
    assert (again.stopped, again.dataset.speech) == (None, 40)
    assert again.this_run.speech == 40 - report.dataset.speech
    assert _spoken_ids(tmp_path / "out") == _names(40)
    check_bill(tmp_path / "out", service)


def test_counts_of_an_unfinished_dataset_include_what_is_in_journals(tmp_path: Path, service: LocalService) -> None:
    """Rows that are done in a part that stays open are done; asked again, they are still."""
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, service.url, options={"part_rows": 20}, limits={"max_concurrency": 1})
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 7}])
    first, second = run_job(job), run_job(job)
    assert (first.dataset.speech, first.dataset.attempts) == (7, 8)
    assert (second.dataset.speech, second.dataset.attempts, second.this_run.speech) == (7, 9, 0)
    assert not (tmp_path / "out" / "speech").exists()


@pytest.mark.parametrize(("max_rejects", "stopped_by"), [(4, "rejects"), (0.2, "rejects"), (5, None), (0.25, None)])
def test_too_many_rejects_stop_the_run(
    tmp_path: Path, service: LocalService, max_rejects: float, stopped_by: str | None
) -> None:
    """More than a number, or than a share of the rows; the message has the last refusal and the way out."""
    write_lines(tmp_path / "lines.parquet", 20, more=["x"] * 20)
    service.set_faults([{"what": "refuse", "text": f"Line {number}."} for number in (1, 2, 3, 4, 15)])
    limits = {"max_concurrency": 1}
    report = run_job(job_of(tmp_path, service.url, options={"max_rejects": max_rejects}, limits=limits))
    assert report.stopped_by == stopped_by
    if stopped_by:
        assert isinstance(report.stopped, StoppedError)
        assert "DataInspectionFailed" in str(report.stopped)
    else:
        assert report.dataset.rejects == 5


def test_a_parameter_that_every_row_is_refused_for_stops_the_run(tmp_path: Path, service: LocalService) -> None:
    """After 50 alike, not after all."""
    write_lines(tmp_path / "lines.parquet", 200)
    service.set_faults([{"what": "error", "status": 400, "code": "InvalidParameter", "message": "bad voice"}])
    report = run_job(job_of(tmp_path, service.url, options={"part_rows": 100}))
    assert report.stopped_by == "rejects"
    assert 50 <= report.dataset.rejects < 60


def test_a_mistake_of_ours_is_raised_with_what_was_done_kept(tmp_path: Path, service: LocalService) -> None:
    """It is not told as a stop of the service's; locks are free and finished parts stay finished."""
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, service.url)
    run_parts(job, plan(job, 4)[0])
    catalog = load_catalog()
    card = catalog.cards["modelstream", MODEL]
    mistake: Any = "the first of May"  # where a date belongs
    broken = replace(card.prices[0], effective_from=mistake)
    cards = {**catalog.cards, ("modelstream", MODEL): replace(card, prices=(broken,))}
    with pytest.raises(TypeError):
        run_job(replace(job, catalog=replace(catalog, cards=cards)))
    assert _spoken_ids(tmp_path / "out") == _names(5)
    assert run_job(job).dataset.speech == 20


def test_progress_is_filled_while_it_runs(tmp_path: Path, service: LocalService) -> None:
    """Rows of all, rows done before, and what this run did."""
    write_lines(tmp_path / "lines.parquet", 20)
    job = job_of(tmp_path, service.url)
    run_parts(job, plan(job, 4)[1])
    progress = Progress()
    run_job(job, progress)
    totals = progress.totals
    assert (totals.rows, progress.done_before, totals.speech, totals.attempts) == (20, 5, 15, 15)
    assert (progress.in_flight, progress.retries, totals.unknown_attempts) == (0, 0, 0)


def test_journals_of_a_deleted_dataset_are_not_taken_for_the_new_one(tmp_path: Path, service: LocalService) -> None:
    """A destination is emptied and used for another job: what the old journals hold is of other voices."""
    write_lines(tmp_path / "lines.parquet", 20)
    given: dict[str, Any] = {"options": {"work_dir": tmp_path / "work"}, "limits": {"max_concurrency": 1}}
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 7}])
    run_job(job_of(tmp_path, service.url, **given))
    service.clear_faults()
    (tmp_path / "out").rename(tmp_path / "old")
    other = job_of(tmp_path, service.url, parameters={"voice": "Stella"}, **given)
    report = run_job(other)
    assert report.stopped_by == "storage"
    assert "of another job or source" in str(report.stopped)


def test_a_service_is_reached_only_when_there_is_something_to_do(tmp_path: Path, service: LocalService) -> None:
    """What starts a local service is not called for a finished dataset; what it gives is what is spoken to."""
    write_lines(tmp_path / "lines.parquet", 5)
    job = job_of(tmp_path)
    reached: list[str] = []

    def reach(given: Any) -> Any:
        reached.append(given.name)
        entered = ExitStack()
        entered.push(lambda *_: reached.append("left"))
        return _Entering(entered, replace(given, base_url=service.url))

    for _ in range(2):
        assert run_job(job, start_service=reach).dataset.speech == 5
    assert reached == ["voices", "left"]


class _Entering:
    """A context that gives a value."""

    def __init__(self, held: ExitStack, value: Any) -> None:
        self._held = held
        self._value = value

    def __enter__(self) -> Any:
        return self._value

    def __exit__(self, *exception: object) -> None:
        self._held.close()


_ON_A_SMALL_DISK = """
import resource, sys
from pathlib import Path
from tests.job.samples import job_of
from tts_pipeline.job import run_job
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
report = run_job(job_of(Path(sys.argv[1]), sys.argv[2], options={"part_rows": 100}))
print(report.stopped_by, report.dataset.speech, report.stopped)
"""


def test_a_disk_that_is_full_stops_the_run_and_keeps_what_was_received(tmp_path: Path, service: LocalService) -> None:
    """In good order; the next run, with room, buys again at most what was in flight, and the bill stays right."""
    write_lines(tmp_path / "lines.parquet", 100)
    command = [sys.executable, "-c", _ON_A_SMALL_DISK, str(tmp_path), service.url]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ).stdout.split(maxsplit=2)
    assert (said[0], int(said[1]) > 5) == ("storage", True)
    assert "File too large" in said[2]
    first = service.bill()["received"]
    assert run_job(job_of(tmp_path, service.url)).dataset.speech == 100
    assert _spoken_ids(tmp_path / "out") == _names(100)
    assert service.bill()["received"] <= 100 + 8
    assert first >= int(said[1])
    check_bill(tmp_path / "out", service)


def test_a_slow_service_and_an_orderly_stop_leave_one_claim_of_nobody(tmp_path: Path, emulator: StartEmulator) -> None:
    """After a stop the claims are told in full by usage; none stays."""
    slow = emulator(voice_mode="tone", tone_bytes=20_000)
    write_lines(tmp_path / "lines.parquet", 20)
    slow.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 3}])
    run_job(job_of(tmp_path, slow.url))
    assert list((tmp_path / "out" / "claims").iterdir()) == []
    descriptor = orjson.loads((tmp_path / "out" / "dataset.json").read_bytes())
    assert descriptor["parts"] == 4
