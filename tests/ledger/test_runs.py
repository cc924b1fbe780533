"""Records of runs: who began, who ended, and what a month's many small files become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.ledger.processes import NOW_US, run_start
from tests.machine import DiedError, DyingStore
from tts_pipeline.errors import StorageError
from tts_pipeline.ledger import Ledger, RunEnd, RunStart
from tts_pipeline.periods import microseconds
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

END = RunEnd(ended_at_us=NOW_US, speech=4)
RUNS = 20


def _start(number: int) -> RunStart:
    """Return a run of October or November; the last of October in New York are of November in UTC."""
    at = datetime(2026, 10, 31, 14, tzinfo=UTC) + timedelta(hours=number)
    return run_start(f"run-{number:02}", started_at_us=microseconds(at))


@pytest.fixture
def ledger(store: Store) -> Ledger:
    """A ledger with runs that have ended, and one that has not."""
    ledger = Ledger(store.subfolder("ledger"))
    for number in range(RUNS):
        ledger.begin_run(_start(number))
        if number != 3:
            ledger.end_run(_start(number), END)
    return ledger


def _files(ledger: Ledger, month: str) -> list[str]:
    return [name.rpartition(".")[2] for name in ledger.store.names(f"runs/{month}")]


def test_the_runs_of_a_frozen_month_are_one_file(ledger: Ledger) -> None:
    """Of its time zone, for each month of UTC; an open run stays, and one that ends later is merged when it ended."""
    runs = ledger.ended_runs()
    assert [run.start for run in runs] == [_start(number) for number in range(RUNS) if number != 3]
    ledger.compact("2026-10", "America/New_York", NOW_US)
    assert (_files(ledger, "2026-10"), _files(ledger, "2026-11")) == (["jsonl"], ["jsonl"] + ["json"] * 6)
    assert ledger.ended_runs() == runs
    assert ledger.open_runs() == [_start(3)]
    since_us = microseconds(datetime(2026, 11, 1, 2, tzinfo=UTC))
    assert ledger.ended_runs(since_us) == [run for run in runs if run.start.started_at_us >= since_us]
    ledger.end_run(_start(3), END)
    assert [run.start.invocation_id for run in ledger.ended_runs()] == [f"run-{number:02}" for number in range(RUNS)]
    assert ledger.open_runs() == []


def test_a_destination_is_told_from_anywhere(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an absolute path, or a URL without its password."""
    monkeypatch.chdir(tmp_path)
    for number, destination in enumerate(("out", "s3://ada:secret@bucket/out")):
        ledger.begin_run(run_start(f"run-{RUNS + number}", destination))
    destinations = {start.destination for start in ledger.open_runs() if start.invocation_id != "run-03"}
    assert str(tmp_path / "out") in destinations
    assert "secret" not in "".join(destinations)


def test_a_later_word_on_a_run_counts(ledger: Ledger) -> None:
    """A run that was taken for dead, and then ended."""
    ledger.compact("2026-11", "UTC", NOW_US)
    later = RunEnd(ended_at_us=NOW_US + 1, speech=5, saved=[])
    ledger.end_run(_start(15), later)
    assert [run.end for run in ledger.ended_runs() if run.start == _start(15)] == [later]


def test_a_merge_that_is_killed_loses_no_run(tmp_path: Path) -> None:
    """Before each of its changes."""
    deaths = 0
    for changes in range(200):
        ledger = Ledger(LocalStore(tmp_path / str(changes)))
        for number in range(12, 16):
            ledger.begin_run(_start(number))
            ledger.end_run(_start(number), END)
        ledger.begin_run(_start(17))
        runs, open_runs = ledger.ended_runs(), ledger.open_runs()
        DyingStore.changes_left = changes
        try:
            Ledger(DyingStore(tmp_path / str(changes))).compact("2026-11", "UTC", NOW_US)
        except DiedError:
            deaths += 1
        else:
            break
        finally:
            DyingStore.changes_left = 10_000
        assert (ledger.ended_runs(), ledger.open_runs()) == (runs, open_runs)
        ledger.compact("2026-11", "UTC", NOW_US)
        assert (ledger.ended_runs(), ledger.open_runs()) == (runs, open_runs)
    assert deaths > 6


def test_a_damaged_file_of_many_is_named(ledger: Ledger) -> None:
    """It is never skipped."""
    ledger.compact("2026-11", "UTC", NOW_US)
    (name,) = (name for name in ledger.store.names("runs/2026-11") if name.endswith(".jsonl"))
    data = ledger.store.read(f"runs/2026-11/{name}") or b""
    ledger.store.write(f"runs/2026-11/{name}", data[:-20])
    with pytest.raises(StorageError, match=name):
        ledger.ended_runs()
    ledger.store.write(f"runs/2026-12/{name}", data)
    with pytest.raises(StorageError, match=f"2026-12/{name}"):
        ledger.ended_runs(microseconds(datetime(2026, 12, 1, tzinfo=UTC)))
