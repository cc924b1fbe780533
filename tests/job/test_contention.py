"""Parts that other processes hold are waited for, or named in the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.builders import job_of, write_lines
from tests.datasets import check_bill, read_table
from tts_pipeline.dataset.names import part_name
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StoppedError, StorageError
from tts_pipeline.job import run_job
from tts_pipeline.job.contention import wait_for_others
from tts_pipeline.job.stop import CancelToken
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import LocalStore


def test_a_part_that_another_process_has_stops_the_run_and_loses_nothing(
    tmp_path: Path, tone_service: LocalService
) -> None:
    """Exit 6, naming the part; speech so far is kept, and the next run buys none of it again."""
    write_lines(tmp_path / "lines.parquet", 23)
    job = job_of(tmp_path, tone_service.url)
    with FileLock(tmp_path / "out" / ".work" / "locks" / "part-00002.lock"):
        report = run_job(job)
    assert isinstance(report.stopped, StorageError)
    assert report.stopped_by == "storage"
    assert "part-00002" in str(report.stopped)
    assert run_job(job).dataset.speech == 23
    check_bill(tmp_path / "out", tone_service)
    assert tone_service.bill()["received"] == read_table(tmp_path / "out", "usage").num_rows == 23


def _names(count: int) -> list[str]:
    return [part_name(number) for number in range(count)]


@contextmanager
def _held(folder: Path, names: Sequence[str]) -> Iterator[Leases]:
    """Hold parts as another process on this machine does; yield this process's leases."""
    with ExitStack() as stack, Leases(LocalStore(folder), folder / "locks") as leases:
        for name in names:
            stack.enter_context(FileLock(folder / "locks" / f"{name}.lock"))
        yield leases


def test_a_part_that_is_free_again_is_not_waited_for(tmp_path: Path) -> None:
    """One free part is enough to go on."""
    with _held(tmp_path, ["part-00000"]) as leases:
        assert wait_for_others(leases, _names(2), CancelToken()) is None


def test_when_all_holders_live_they_are_named_with_their_parts(tmp_path: Path) -> None:
    """The error names a few of the parts for all, and the way out."""
    with _held(tmp_path, _names(7)) as leases:
        reason = wait_for_others(leases, _names(7), CancelToken())
    assert isinstance(reason, StorageError)
    assert reason.message.endswith("part-00000, part-00001, part-00002, part-00003, part-00004 and 2 more")
    assert "run the same command again" in (reason.hint or "")


def test_a_stop_ends_the_wait(tmp_path: Path) -> None:
    """A stop takes precedence over parts that others hold."""
    stop = CancelToken()
    stop.set()
    with _held(tmp_path, _names(1)) as leases:
        reason = wait_for_others(leases, _names(1), stop)
    assert isinstance(reason, StoppedError)
    assert reason.stopped_by == "interrupted"
