"""A compaction changes no sum: killed at any instant, with a rival, with writers beside it, and on any store."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.ledger.processes import NOW_US, begin, kill_after, run_start, start_process
from tests.ledger.usage import Sums, expected_sums, journal_id, put_usage, sums_of, usage_rows
from tests.machine import DiedError, DyingStore, patience
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import microseconds
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

MONTHS = ("2026-10", "2026-11", "2026-12")
OCTOBER, NOVEMBER, DECEMBER, JANUARY = (datetime(2026 + m // 12, m % 12 + 1, 1, tzinfo=UTC) for m in range(9, 13))
PERIODS = ((OCTOBER, NOVEMBER), (NOVEMBER, DECEMBER), (DECEMBER, JANUARY))


class DyingLedgerStore(DyingStore):
    """A ledger whose process dies before a change, the creation of a manifest included."""

    def create(self, name: str, data: bytes) -> bool:
        self._count()
        return super().create(name, data)


def _fill(dataset: Store, files: int = 30, rows: int = 40) -> Sums:
    """Write usage of three months, of which every tenth file crosses the end of one."""
    written = []
    for number in range(files):
        at = OCTOBER + timedelta(days=92 * number / files)
        if number % 10 == 9:
            at = PERIODS[number // 10 % 3][1] - timedelta(minutes=rows // 2)
        journal = journal_id(at, number)
        some = usage_rows(journal, at, rows, outcome="unknown" if number % 7 == 3 else "succeeded")
        put_usage(dataset, number, journal, some)
        written += some
    return expected_sums(written)


def _by_month(ledger: Ledger) -> list[Sums]:
    return [sums_of(ledger, *period) for period in PERIODS]


def test_a_process_that_dies_at_any_step_changes_no_sum(tmp_path: Path) -> None:
    """Before each of its changes; the next compaction finishes what it began, and leaves nothing behind."""
    dataset = LocalStore(tmp_path / "dataset")
    expected = _fill(dataset, files=12)
    template = Ledger(LocalStore(tmp_path / "template"))
    template.sync_dataset(dataset, "/data/one")
    by_month = _by_month(template)
    deaths = 0
    for changes in range(1_000):
        folder = tmp_path / f"ledger-{changes}"
        shutil.copytree(tmp_path / "template", folder)
        DyingStore.changes_left = changes
        try:
            for month in MONTHS:
                Ledger(DyingLedgerStore(folder)).compact(month, "UTC", NOW_US)
        except DiedError:
            deaths += 1
        else:
            break
        finally:
            DyingStore.changes_left = 10_000
        ledger = Ledger(LocalStore(folder))
        assert (sums_of(ledger), _by_month(ledger)) == (expected, by_month)
        _finish(ledger, expected, by_month)
        shutil.rmtree(folder)
    assert deaths > 15


def _finish(ledger: Ledger, expected: Sums, by_month: list[Sums]) -> None:
    for month in MONTHS:
        manifest = ledger.compact(month, "UTC", NOW_US).manifest
        assert set(ledger.store.names(f"frozen/{month}")) == manifest.table_names
    assert (sums_of(ledger), _by_month(ledger)) == (expected, by_month)


@pytest.mark.slow
def test_a_process_is_killed_at_random_instants(tmp_path: Path) -> None:
    """SIGKILL, again and again on one ledger, while another process compacts it, too."""
    dataset = LocalStore(tmp_path / "dataset")
    expected = _fill(dataset, files=60)
    ledger = Ledger(LocalStore(tmp_path / "ledger"))
    ledger.sync_dataset(dataset, "/data/one")
    by_month = _by_month(ledger)
    chance = random.Random(15)
    processes = [start_process("compact", tmp_path / "ledger", *MONTHS) for _ in range(6)]
    for process in processes:
        begin(process)
        kill_after(process, chance.random() / 3)
        assert (sums_of(ledger), _by_month(ledger)) == (expected, by_month)
    _finish(ledger, expected, by_month)


def test_two_compactors_at_once_make_one_month(store: Store) -> None:
    """The loser reports the month of the winner, and none of its tables is left."""
    dataset, files = store.subfolder("dataset"), store.subfolder("ledger")
    expected = _fill(dataset)
    Ledger(files).sync_dataset(dataset, "/data/one")
    by_month = _by_month(Ledger(files))
    results: list[Any] = []
    barrier = threading.Barrier(2)

    def compact() -> None:
        barrier.wait(patience(60))
        results.append(Ledger(files).compact("2026-11", "UTC", NOW_US))

    _at_once(compact, compact)
    first, second = results
    assert first.manifest == second.manifest
    ledger = Ledger(files)
    assert set(files.names("frozen/2026-11")) == first.manifest.table_names
    assert (sums_of(ledger), _by_month(ledger)) == (expected, by_month)


class _Overlapping(LocalStore):
    """A ledger in which two processes freeze months of different time zones, step by step."""

    has_begun, has_checked, has_created, is_done = (threading.Event() for _ in range(4))
    listings = 0

    def create(self, name: str, data: bytes) -> bool:
        if name != "frozen/2026-12.json":
            return super().create(name, data)
        self.has_begun.set()
        assert self.has_checked.wait(patience(60))
        is_new = super().create(name, data)
        self.has_created.set()
        assert self.is_done.wait(patience(60))
        return is_new

    def names(self, folder: str, prefix: str = "") -> list[str]:
        is_first = threading.current_thread() is threading.main_thread()
        if folder == "frozen" and is_first and self.exists("frozen/2026-11.json"):
            _Overlapping.listings += 1
            if _Overlapping.listings == 2:  # after its look at what overlaps the month
                self.has_checked.set()
                assert self.has_created.wait(patience(60))
        return super().names(folder, prefix)


def test_a_month_that_is_withdrawn_loses_nothing(tmp_path: Path) -> None:
    """Two months that overlap are begun at once: the first one stands, and the second one's usage is as it was."""
    dataset, files = LocalStore(tmp_path / "dataset"), _Overlapping(tmp_path / "ledger")
    expected = _fill(dataset)
    Ledger(files).sync_dataset(dataset, "/data/one")
    errors: list[ConfigurationError] = []

    def freeze_another() -> None:
        try:
            Ledger(files).compact("2026-12", "Asia/Shanghai", NOW_US)
        except ConfigurationError as error:
            errors.append(error)

    other = threading.Thread(target=freeze_another)
    other.start()
    assert _Overlapping.has_begun.wait(patience(60))
    try:
        assert Ledger(files).compact("2026-11", "UTC", NOW_US).removed_files > 0
    finally:
        _Overlapping.is_done.set()
        other.join()
    assert "the month 2026-12 of Asia/Shanghai overlaps 2026-11 (UTC)" in str(errors[0])
    assert not files.exists("frozen/2026-12.json")
    assert sums_of(Ledger(files)) == expected


def _at_once(*actions: Callable[[], None]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_what_is_put_while_a_compaction_runs_counts_once(store: Store) -> None:
    """Frozen if it came in time, else as a correction; readers see every sum between the first and the last."""
    dataset, late, files = (store.subfolder(name) for name in ("dataset", "late", "ledger"))
    first = _fill(dataset)
    Ledger(files).sync_dataset(dataset, "/data/one")
    rows = []
    for number in range(20):
        journal = journal_id(NOVEMBER + timedelta(days=1), 1_000 + number)
        some = usage_rows(journal, NOVEMBER + timedelta(days=1 + number), 5)
        put_usage(late, number, journal, some)
        rows += some
    done = threading.Event()
    seen: list[int] = []

    def write() -> None:
        writer = Ledger(files)
        for name in sorted(late.names("usage")):
            writer.sync_dataset(late, "/data/late", [f"usage/{name}"])
        done.set()

    def compact() -> None:
        for month in MONTHS:
            Ledger(files).compact(month, "UTC", NOW_US)

    def read() -> None:
        while not done.is_set():
            seen.append(sums_of(Ledger(files))["requests"])

    _at_once(write, compact, read)
    ledger = Ledger(files)
    total = expected_sums(rows)
    assert {name: sums_of(ledger)[name] - first[name] for name in total} == total
    assert seen == sorted(seen)
    ledger.compact("2026-11", "UTC", NOW_US)
    assert {name: sums_of(ledger)[name] - first[name] for name in total} == total


def test_a_month_is_frozen_when_it_is_over(store: Store) -> None:
    """In its time zone; what is open in it is reported."""
    ledger = Ledger(store)
    end = datetime(2026, 11, 30, 16, tzinfo=UTC)  # in Shanghai, it is December
    ledger.begin_run(run_start("a" * 32))
    ledger.begin_run(run_start("b" * 32, started_at_us=microseconds(DECEMBER)))
    with pytest.raises(ConfigurationError, match="the month 2026-11 of Asia/Shanghai has not ended"):
        ledger.compact("2026-11", "Asia/Shanghai", microseconds(end) - 1)
    result = ledger.compact("2026-11", "Asia/Shanghai", microseconds(end))
    assert [start.invocation_id for start in result.open_runs] == ["a" * 32]
    assert result.manifest.interval == (microseconds(datetime(2026, 10, 31, 16, tzinfo=UTC)), microseconds(end))
    assert not result.was_frozen
    assert ledger.compact("2026-11", "Asia/Shanghai", microseconds(end)).was_frozen


@pytest.mark.parametrize(
    ("month", "timezone", "message"),
    [
        ("2026-11", "Asia/Shanghai", r"the month 2026-11 of Asia/Shanghai overlaps 2026-11 \(UTC\), frozen"),
        ("2026-10", "America/New_York", "the month 2026-10 of America/New_York overlaps 2026-11"),
        ("2026-13", "UTC", "'2026-13' is not a month"),
        ("../evil", "UTC", "is not a month"),
        ("2026-10", "Asia/Shangai", "no time zone 'Asia/Shangai' is known on this machine.*Did you mean"),
    ],
)
def test_a_month_that_cannot_be_frozen_is_refused(store: Store, month: str, timezone: str, message: str) -> None:
    """A month of another time zone would count the hours that both have in common twice."""
    ledger = Ledger(store)
    ledger.compact("2026-11", "UTC", NOW_US)
    with pytest.raises(ConfigurationError, match=message):
        ledger.compact(month, timezone, NOW_US)


def test_months_of_one_time_zone_stand_side_by_side(store: Store) -> None:
    """In any order."""
    dataset, ledger = store.subfolder("dataset"), Ledger(store.subfolder("ledger"))
    expected = _fill(dataset)
    ledger.sync_dataset(dataset, "/data/one")
    for month in ("2026-11", "2026-10", "2026-12"):
        ledger.compact(month, "Asia/Shanghai", NOW_US)
    assert sums_of(ledger) == expected


def test_only_values_that_repeat_have_dictionaries(tmp_path: Path) -> None:
    """Tags among them: these cost most of what a table's other columns take."""
    dataset, ledger = LocalStore(tmp_path / "dataset"), Ledger(LocalStore(tmp_path / "ledger"))
    _fill(dataset)
    ledger.sync_dataset(dataset, "/data/one")
    (table,) = ledger.compact("2026-11", "UTC", NOW_US).manifest.tables
    group = pq.ParquetFile(tmp_path / "ledger" / "frozen" / "2026-11" / table.name).metadata.row_group(0)
    columns = {column.path_in_schema: column.encodings for column in map(group.column, range(group.num_columns))}
    plain = {path for path, encodings in columns.items() if "RLE_DICTIONARY" not in encodings}
    assert plain == {"attempt_id", "utterance_id", "request_id", "started_at", "finished_at", "implausible"}
