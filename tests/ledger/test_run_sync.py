"""A run's usage reaches the ledger while it runs, and no ledger ever delays or fails a run."""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from msgspec.structs import replace

from tests.ledger.processes import run_start
from tests.ledger.usage import expected_sums, journal_id, put_usage, sums_of, usage_rows
from tests.machine import patience
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.ledger import Ledger, LedgerLocation, LedgerSync, RunEnd, Saving
from tts_pipeline.ledger.run_sync import FAILED, KILLED, copy_in_time, end_dead_runs
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.location import FsspecPath
from tts_pipeline.storage.store import Store

AT = datetime(2026, 11, 15, tzinfo=UTC)
SAVED = [Saving(origin="/data/pilot", rows=2, characters=20, cost=Decimal("0.0016"))]
END = RunEnd(ended_at_us=run_start("x").started_at_us + 1_000_000, speech=4, saved=SAVED)


def _publish(dataset: LocalStore, part: int) -> list[dict[str, Any]]:
    journal = journal_id(AT, part)
    rows = usage_rows(journal, AT)
    put_usage(dataset, part, journal, rows)
    return rows


def _wait(sync: LedgerSync, ledger: Ledger, files: int) -> None:
    tick = threading.Event()
    for _ in range(int(patience(6_000))):
        if len(ledger.store.sizes("usage")) >= files:
            return
        tick.wait(0.01)
    raise AssertionError(f"{sync} has not copied {files} files")


def test_each_part_is_copied_when_it_is_published(tmp_path: Path) -> None:
    """What earlier runs have left is copied first; the run is open until it has ended."""
    dataset, place = LocalStore(tmp_path / "dataset"), LedgerLocation(str(tmp_path / "ledger"), is_named=True)
    rows = _publish(dataset, 0)
    start = run_start("a" * 32, str(tmp_path / "dataset"))
    sync, ledger = LedgerSync(place, dataset, start), Ledger.open(place)
    sync.begin()
    _wait(sync, ledger, 1)
    rows += _publish(dataset, 1)
    sync.published(1)
    _wait(sync, ledger, 2)
    assert ledger.open_runs() == [start]
    rows += _publish(dataset, 2)  # nobody tells of it
    assert sync.close(END, patience(60))
    assert sums_of(ledger) == expected_sums(rows)
    assert ledger.open_runs() == []
    (run,) = ledger.ended_runs()
    assert (run.start, run.end) == (start, END)


def test_a_generation_that_is_not_in_place_is_copied_too(tmp_path: Path) -> None:
    """A rebuild publishes its parts beside the dataset."""
    dataset, place = LocalStore(tmp_path / "dataset"), LedgerLocation(str(tmp_path / "ledger"), is_named=True)
    sync, ledger = LedgerSync(place, dataset, run_start("a" * 32)), Ledger.open(place)
    sync.begin()
    generation = LocalStore(tmp_path / "dataset" / ".generations" / "2")
    rows = _publish(generation, 0)
    sync.published(0, generation)
    _wait(sync, ledger, 1)
    assert sync.close(END, patience(60))
    assert sums_of(ledger) == expected_sums(rows)


def test_a_run_that_ends_meanwhile_was_not_killed(tmp_path: Path) -> None:
    """Shards end at about the same time: one must not take the result of another for lost."""
    place = LedgerLocation(str(tmp_path / "ledger"), is_named=True)
    process = subprocess.Popen(["true"])
    process.wait()
    ledger, start = Ledger.open(place), run_start("b" * 32, host=socket.gethostname(), pid=process.pid)
    ledger.begin_run(start)

    def datasets() -> Iterator[Store]:
        ledger.end_run(start, END)
        yield LocalStore(tmp_path / "dataset")

    end_dead_runs(ledger, start.dataset_id, datasets())
    assert [run.end for run in ledger.ended_runs()] == [END]
    ledger.begin_run(replace(start, invocation_id="c" * 32))
    end_dead_runs(ledger, start.dataset_id, [LocalStore(tmp_path / "dataset")])
    assert [run.end and run.end.stopped_by for run in ledger.ended_runs()] == [None, KILLED]
    assert ledger.open_runs() == []


@pytest.mark.parametrize("has_claim", [False, True])
def test_a_run_that_raises_an_error_is_open_while_it_may_have_spent_more(tmp_path: Path, *, has_claim: bool) -> None:
    """Nothing more will come of a run that has no claim: the ledger does not show it as open for ever."""
    dataset, place = LocalStore(tmp_path / "dataset"), LedgerLocation(str(tmp_path / "ledger"), is_named=True)
    _publish(dataset, 0)
    start = run_start("a" * 32, str(tmp_path / "dataset"))
    if has_claim:
        header = journal_id(AT, 1), start.invocation_id, start.started_at_us
        write_claim(dataset, 1, Claim(*header, 100, None, None, "studio", "narrator", "acme"))
    sync, ledger = LedgerSync(place, dataset, start), Ledger.open(place)
    sync.begin()
    assert sync.close(None, patience(60))
    assert ledger.open_runs() == ([start] if has_claim else [])
    assert [run.end and run.end.stopped_by for run in ledger.ended_runs()] == ([] if has_claim else [FAILED])


def test_a_ledger_that_is_away_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The run goes on; when the ledger is back at its end, it gets everything."""
    place = tmp_path / "ledger"
    place.write_text("no folder")
    dataset = LocalStore(tmp_path / "dataset")
    sync = LedgerSync(LedgerLocation(str(place), is_named=True), dataset, run_start("a" * 32))
    with caplog.at_level(logging.WARNING):
        sync.begin()
        rows = [row for part in range(3) for row in _publish(dataset, part)]
        for part in range(3):
            sync.published(part)
        assert not sync.close(END, patience(60))
    (record,) = caplog.records
    assert str(place) in record.message
    assert "lacks usage of this run" in record.message
    place.unlink()
    later = LedgerSync(LedgerLocation(str(place), is_named=True), dataset, run_start("b" * 32))
    later.begin()
    assert later.close(END, patience(60))
    assert sums_of(Ledger(LocalStore(place))) == expected_sums(rows)


class _HangingFileSystem(MemoryFileSystem):  # type: ignore[misc] # fsspec is not typed
    """An object store that does not answer."""

    protocol = "hanging"
    answers = threading.Event()

    def cat_file(self, *arguments: Any, **options: Any) -> Any:
        self.answers.wait(patience(60))
        return super().cat_file(*arguments, **options)


def test_a_ledger_that_does_not_answer_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The end of the run waits as long as it is told, and no longer."""
    fsspec.register_implementation("hanging", _HangingFileSystem, clobber=True)
    location = LedgerLocation(FsspecPath("hanging://ledger", _HangingFileSystem()), is_named=True)
    sync = LedgerSync(location, LocalStore(tmp_path / "dataset"), run_start("a" * 32))
    with caplog.at_level(logging.WARNING):
        sync.begin()
        assert not sync.close(END, timeout_s=0.1)
        assert not copy_in_time(location, lambda ledger: ledger.make(), timeout_s=0.1)
    _HangingFileSystem.answers.set()
    assert ["has not answered for 0.1 s" in record.message for record in caplog.records] == [True, True]


def test_a_copy_that_fails_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a driver raises."""

    def fail(_: Ledger) -> None:
        raise KeyError("s3://ada:secret@host/ledger")

    location = LedgerLocation(str(tmp_path / "ledger"), is_named=True)
    with caplog.at_level(logging.WARNING):
        assert not copy_in_time(location, fail, patience(60))
        assert copy_in_time(location, lambda ledger: ledger.make(), patience(60))
    (record,) = caplog.records
    assert "lacks usage: KeyError: 's3://host/ledger'" in record.message


def test_what_is_no_ledger_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder with other files is left alone."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    dataset = LocalStore(tmp_path / "dataset")
    _publish(dataset, 0)
    sync = LedgerSync(LedgerLocation(str(tmp_path / "photos"), is_named=True), dataset, run_start("a" * 32))
    with caplog.at_level(logging.WARNING):
        sync.begin()
        assert not sync.close(END, patience(60))
    assert "is not a ledger" in caplog.records[0].message
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
