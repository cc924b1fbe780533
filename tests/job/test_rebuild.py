"""A rebuild in place: changed rows are bought, unchanged audio is reused, and readers never see half."""

from __future__ import annotations

import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import job_of
from tests.conftest import StartEmulator
from tests.datasets import check_bill, read_table
from tests.machine import patience
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.job import Job, plan, publish, run_job, run_parts, validate
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.local_store import LocalStore

REBUILD: dict[str, Any] = {"rebuild": True}


@pytest.fixture
def service(tone_service: LocalService) -> LocalService:
    """A service that hums, with an empty bill and no faults."""
    return tone_service


def _write(folder: Path, texts: list[str]) -> None:
    ids = [f"r{number}" for number in range(len(texts))]
    columns = {"id": pa.array(ids, pa.string()), "text": pa.array(texts, pa.string())}
    pq.write_table(pa.table(columns), folder / "lines.parquet")


def _lines(rows: int, *, changed: tuple[int, ...] = ()) -> list[str]:
    return [f"Line {number}{' anew' if number in changed else ''}." for number in range(rows)]


def _job(folder: Path, service: LocalService, *, limits: dict[str, Any] | None = None, **options: Any) -> Job:
    return job_of(folder, service.url, options=options, limits=limits or {})


def _texts(folder: Path) -> list[str]:
    texts: list[str] = read_table(folder / "out", "speech")["text"].to_pylist()
    return texts


def test_only_what_changed_is_bought(tmp_path: Path, service: LocalService) -> None:
    """The new dataset replaces the old one, with the new rows; its bill continues the old one's."""
    _write(tmp_path, _lines(23))
    run_job(_job(tmp_path, service))
    changed = _lines(17, changed=(3, 4, 16))
    _write(tmp_path, changed)
    with pytest.raises(ConfigurationError, match="`rebuild=True`"):
        run_job(_job(tmp_path, service))
    report = run_job(_job(tmp_path, service, **REBUILD))
    assert (report.stopped, report.dataset.rows, report.dataset.speech) == (None, 17, 17)
    assert (report.this_run.attempts, report.dataset.attempts, report.dataset.reused) == (3, 26, 14)
    assert _texts(tmp_path) == changed
    rows = read_table(tmp_path / "out", "speech").to_pylist()
    assert {row["deduplicated_from"] for row in rows} == {None, *(f"generation 1#r{n}" for n in range(17))} - {
        *(f"generation 1#r{n}" for n in (3, 4, 16))
    }
    assert not (tmp_path / "out" / ".generations" / "2").exists()
    check_bill(tmp_path / "out", service)
    again = run_job(_job(tmp_path, service))
    assert (again.this_run.attempts, again.dataset) == (0, report.dataset)
    assert [path for path in (tmp_path / "out" / ".work").rglob("*") if path.is_file()] == []


def test_a_rebuild_of_what_did_not_change_is_a_plain_run(tmp_path: Path, service: LocalService) -> None:
    """After a finished rebuild, too: a repetition has nothing to do."""
    _write(tmp_path, _lines(7))
    first = run_job(_job(tmp_path, service, **REBUILD))
    assert run_job(_job(tmp_path, service, **REBUILD)).dataset == first.dataset
    assert service.bill()["received"] == 7


def test_readers_see_the_old_dataset_while_the_new_one_is_made(tmp_path: Path, service: LocalService) -> None:
    """A rebuild that stops half-way leaves the old dataset finalized; the next rebuild continues it."""
    _write(tmp_path, _lines(12))
    run_job(_job(tmp_path, service))
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("[!.]*/*")}
    manifest = (tmp_path / "out" / "parts.json").read_bytes()
    _write(tmp_path, _lines(12, changed=tuple(range(2, 12))))
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 4}])
    stopped = run_job(_job(tmp_path, service, limits={"max_concurrency": 1}, **REBUILD))
    assert (stopped.stopped_by, stopped.dataset.attempts) == ("service", 12 + 5)
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "out" / "parts.json").read_bytes() == manifest
    service.clear_faults()
    report = run_job(_job(tmp_path, service, **REBUILD))
    assert (report.stopped, report.dataset.speech) == (None, 12)
    assert service.bill()["received"] == 12 + 1 + 10
    assert _texts(tmp_path) == _lines(12, changed=tuple(range(2, 12)))
    check_bill(tmp_path / "out", service)


def test_a_source_that_changes_again_is_another_generation(tmp_path: Path, service: LocalService) -> None:
    """The audio of the abandoned generation is reused, from parts and journals; its bill is kept."""
    _write(tmp_path, _lines(12))
    run_job(_job(tmp_path, service))
    _write(tmp_path, _lines(12, changed=tuple(range(12))))
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 8}])
    run_job(_job(tmp_path, service, limits={"max_concurrency": 1}, **REBUILD))
    service.clear_faults()
    last = _lines(12, changed=tuple(range(6, 12)))
    _write(tmp_path, last)
    report = run_job(_job(tmp_path, service, **REBUILD))
    assert (report.stopped, report.this_run.attempts) == (None, 4), "r6 and r7 are in a part and in a journal"
    assert _texts(tmp_path) == last
    assert report.dataset.attempts == 12 + 9 + 4
    assert not list((tmp_path / "out" / ".generations").iterdir())
    check_bill(tmp_path / "out", service)


def test_what_an_unfinished_dataset_paid_for_is_taken(tmp_path: Path, service: LocalService) -> None:
    """The first run stopped, then the source changed: its journals' audio is reused, and their usage reported."""
    _write(tmp_path, _lines(12))
    service.set_faults([{"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no", "after": 8}])
    run_job(_job(tmp_path, service, limits={"max_concurrency": 1}))
    service.clear_faults()
    _write(tmp_path, _lines(13))
    report = run_job(_job(tmp_path, service, **REBUILD))
    assert (report.stopped, report.this_run.attempts, report.dataset.attempts) == (None, 5, 9 + 5)
    check_bill(tmp_path / "out", service)


def test_shards_of_a_rebuild_are_put_in_place_by_publish(tmp_path: Path, service: LocalService) -> None:
    """Planned, run and published like any others; publishing twice is harmless."""
    _write(tmp_path, _lines(12))
    run_job(_job(tmp_path, service))
    _write(tmp_path, _lines(14))
    job = _job(tmp_path, service, **REBUILD)
    shards = plan(job, 2)
    for shard in shards:
        assert run_parts(job, shard).stopped is None
        assert len(_texts(tmp_path)) == 12
    assert publish(job).dataset.speech == publish(job).dataset.speech == 14
    assert _texts(tmp_path) == _lines(14)
    assert service.bill()["received"] == 14
    check_bill(tmp_path / "out", service)


@pytest.mark.parametrize("verb", ["run_parts", "publish"])
@pytest.mark.parametrize("now", [None, 0, 23])
def test_what_was_planned_is_not_given_up_for_a_source_that_changed_meanwhile(
    tmp_path: Path, service: LocalService, now: int | None, verb: str
) -> None:
    """A source that is now missing or changed replaces neither dataset; a new rebuild needs a new plan."""
    _write(tmp_path, _lines(20))
    run_job(_job(tmp_path, service))
    job = _job(tmp_path, service, **REBUILD, missing_is_empty=True)
    _write(tmp_path, _lines(22))
    (shard,) = plan(job)
    run_parts(job, shard)
    (tmp_path / "lines.parquet").rename(tmp_path / "aside.parquet")
    if now is not None:
        _write(tmp_path, _lines(now))
    with pytest.raises(ConfigurationError, match=r"no rebuild of .* is planned"):
        run_parts(job, shard) if verb == "run_parts" else publish(job)
    assert len(_texts(tmp_path)) == 20
    (tmp_path / "aside.parquet").rename(tmp_path / "lines.parquet")
    assert publish(job).dataset.speech == 22
    assert service.bill()["received"] == 22


def test_nobody_else_may_work_on_the_dataset_at_the_swap(tmp_path: Path, service: LocalService) -> None:
    """The run stops with everything kept, and the next run swaps."""
    _write(tmp_path, _lines(6))
    run_job(_job(tmp_path, service))
    _write(tmp_path, _lines(7))
    with FileLock(tmp_path / "out" / ".work" / "locks" / "dataset.lock", shared=True):
        report = run_job(_job(tmp_path, service, **REBUILD))
    assert isinstance(report.stopped, StorageError)
    assert len(_texts(tmp_path)) == 6
    assert run_job(_job(tmp_path, service, **REBUILD)).stopped is None
    assert len(_texts(tmp_path)) == 7
    assert service.bill()["received"] == 7


def test_what_was_spent_on_the_old_one_meanwhile_is_carried_too(tmp_path: Path, service: LocalService) -> None:
    """A claim came after the rebuild began: its journal is on another machine, so its upper bound counts."""
    _write(tmp_path, _lines(6))
    run_job(_job(tmp_path, service))
    _write(tmp_path, _lines(7))
    job = _job(tmp_path, service, **REBUILD)
    (shard,) = plan(job)
    run_parts(job, shard)
    claim = Claim("0123456789abcdef01234567", "i", 1, 500, Decimal("0.04"), "CNY", "s", "m", None)
    write_claim(LocalStore(tmp_path / "out"), 0, claim)
    report = publish(job)
    assert (report.dataset.attempts, report.dataset.unknown_attempts) == (8, 1)
    assert report.dataset.characters_upper_bound - report.dataset.characters_billed == 500


_SWAPPING = """
import os, signal, sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.job import run_job

left = int(sys.argv[3])
move = LocalStore.move

def dying(self, name, to):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    move(self, name, to)

LocalStore.move = dying
run_job(job_of(Path(sys.argv[1]), sys.argv[2], options={"rebuild": True}))
"""


def test_a_swap_that_is_killed_is_finished_by_any_run(tmp_path: Path, service: LocalService) -> None:
    """Even by a run without ``rebuild``; readers get an error that says to wait for it."""
    _write(tmp_path, _lines(12))
    run_job(_job(tmp_path, service))
    _write(tmp_path, _lines(13, changed=(0,)))
    command = [sys.executable, "-c", _SWAPPING, str(tmp_path), service.url, "5"]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (tmp_path / "out" / "parts.json").exists()
    with pytest.raises(ConfigurationError, match="being replaced"):
        validate(_job(tmp_path, service))
    report = run_job(_job(tmp_path, service))
    assert (report.stopped, report.this_run.attempts, report.dataset.speech) == (None, 0, 13)
    assert _texts(tmp_path) == _lines(13, changed=(0,))
    assert service.bill()["received"] == 12 + 2
    check_bill(tmp_path / "out", service)


_REBUILD = """
import sys
from pathlib import Path
from tests.builders import job_of
from tts_pipeline.job import run_job
run_job(job_of(Path(sys.argv[1]), sys.argv[2], options={"rebuild": True}))
"""


def test_a_rebuild_that_is_killed_buys_again_what_was_in_flight(tmp_path: Path, emulator: StartEmulator) -> None:
    """SIGKILL during the rebuild: the old dataset is unchanged, and the next rebuild continues."""
    service = emulator(voice_mode="tone", tone_bytes=2_000)
    _write(tmp_path, _lines(20))
    run_job(_job(tmp_path, service))
    _write(tmp_path, _lines(40))
    service.set_faults([{"what": "slow", "delay_s": patience(20), "after": 7}])
    with subprocess.Popen([sys.executable, "-c", _REBUILD, str(tmp_path), service.url]) as process:
        while service.bill()["received"] < 20 + 12:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert len(_texts(tmp_path)) == 20
    service.clear_faults()
    report = run_job(_job(tmp_path, service, **REBUILD))
    assert (report.stopped, report.dataset.speech) == (None, 40)
    assert service.bill()["received"] <= 40 + 8
    check_bill(tmp_path / "out", service)


def test_an_object_store_is_swapped_by_copies(tmp_path: Path, service: LocalService, remote: str) -> None:
    """It cannot rename; the outcome is the same."""

    def make(**options: Any) -> Job:
        return job_of(tmp_path, service.url, destination=remote, options={"work_dir": tmp_path / "work", **options})

    _write(tmp_path, _lines(12))
    run_job(make())
    _write(tmp_path, _lines(8, changed=(7,)))
    report = run_job(make(rebuild=True))
    assert (report.stopped, report.dataset.speech, report.dataset.attempts) == (None, 8, 13)
    filesystem, path = fsspec.core.url_to_fs(remote)
    names = {name.removeprefix(path) for name in filesystem.find(path)}
    assert sorted(name for name in names if "/speech/" in name or "/done/" in name) == [
        *("/done/part-00000.json", "/done/part-00001.json"),
        *("/speech/part-00000.parquet", "/speech/part-00001.parquet"),
    ]
    assert len([name for name in names if name.startswith("/usage/generation-1-part-")]) == 3
    assert not [name for name in names if "/.generations/" in name]
    assert [path.name for path in (tmp_path / "work").rglob("*") if path.is_file()] == ["work.id"]
