"""What is read for a period: no file too few, none twice, and few too many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.ledger.processes import NOW_US
from tests.ledger.usage import expected_sums, guess_rows, journal_id, put_usage, sums_of, usage_rows
from tts_pipeline.ledger import Ledger
from tts_pipeline.ledger.contents import is_within
from tts_pipeline.ledger.manifest import Interval
from tts_pipeline.periods import microseconds
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

OCTOBER, NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (10, 11, 12))


def _files(ledger: Ledger, since: datetime | None = None, until: datetime | None = None) -> list[str]:
    contents = ledger.contents(*(None if at is None else microseconds(at) for at in (since, until)))
    return [file.name.split("-")[1] for file in contents.files]


def test_files_of_later_journals_are_not_read(store: Store) -> None:
    """A journal's id says when it was opened; a clock may have been set back by some hours."""
    dataset, ledger = store.subfolder("dataset"), Ledger(store.subfolder("ledger"))
    for part, at in enumerate((OCTOBER, NOVEMBER + timedelta(hours=23), NOVEMBER + timedelta(days=2))):
        put_usage(dataset, part, journal_id(at), usage_rows(journal_id(at), at))
    put_usage(dataset, 3, "unknown_time", usage_rows("unknown_time", OCTOBER))
    ledger.sync_dataset(dataset, "/data/one")
    assert _files(ledger) == ["00000", "00001", "00002", "00003"]
    assert _files(ledger, until=NOVEMBER) == ["00000", "00001", "00003"]
    assert sums_of(ledger, until=NOVEMBER)["requests"] == 8


def test_files_that_are_frozen_are_not_read(store: Store) -> None:
    """A file that crosses the end of a month is read for the months that are not frozen; nothing is removed of it."""
    dataset, ledger = store.subfolder("dataset"), Ledger(store.subfolder("ledger"))
    at = NOVEMBER - timedelta(minutes=2)
    put_usage(dataset, 0, journal_id(at), usage_rows(journal_id(at), at))
    ledger.sync_dataset(dataset, "/data/one")
    assert ledger.compact("2026-10", "UTC", NOW_US).removed_files == 0
    assert _files(ledger) == _files(ledger, since=NOVEMBER) == ["00000"]
    assert _files(ledger, until=OCTOBER) == []
    assert sums_of(ledger, until=NOVEMBER)["requests"] == sums_of(ledger, since=NOVEMBER)["requests"] == 2
    assert ledger.compact("2026-11", "UTC", NOW_US).removed_files == 1
    assert _files(ledger) == []
    assert sums_of(ledger)["requests"] == 4


def test_a_file_that_may_be_replaced_stays(store: Store) -> None:
    """Somebody may put the real usage in place of a guess in the instant between a last look at it and its removal."""
    dataset, ledger = store.subfolder("dataset"), Ledger(store.subfolder("ledger"))
    put_usage(dataset, 0, journal_id(OCTOBER), guess_rows(journal_id(OCTOBER), OCTOBER, 100))
    ledger.sync_dataset(dataset, "/data/one")
    assert ledger.compact("2026-10", "UTC", NOW_US).removed_files == 0
    assert len(ledger.store.sizes("usage")) == 1
    assert _files(ledger) == []
    assert sums_of(ledger)["characters_upper_bound"] == 100


class _Interrupted(LocalStore):
    """A ledger in which something happens right after a folder was listed."""

    folder_name = ""
    action: Callable[[], object] | None = None

    def _interrupt(self, folder: str) -> None:
        action = _Interrupted.action
        if folder == _Interrupted.folder_name and action is not None:
            _Interrupted.action = None
            action()

    def sizes(self, folder: str, prefix: str = "") -> dict[str, int]:
        sizes = super().sizes(folder, prefix)
        self._interrupt(folder)
        return sizes

    def names(self, folder: str, prefix: str = "") -> list[str]:
        names = super().names(folder, prefix)
        self._interrupt(folder)
        return names


@pytest.mark.parametrize("folder", ["usage", "settlements", "frozen", "datasets"])
def test_a_month_is_frozen_while_the_ledger_is_listed(tmp_path: Path, folder: str) -> None:
    """Its rows are counted once, whether the reader sees the month or not."""
    dataset, place = LocalStore(tmp_path / "dataset"), tmp_path / "ledger"
    rows = usage_rows(journal_id(OCTOBER), OCTOBER)
    put_usage(dataset, 0, journal_id(OCTOBER), rows)
    Ledger(LocalStore(place)).sync_dataset(dataset, "/data/one")
    _Interrupted.folder_name = folder
    _Interrupted.action = lambda: Ledger(LocalStore(place)).compact("2026-10", "UTC", NOW_US)
    assert sums_of(Ledger(_Interrupted(place))) == expected_sums(rows)
    assert _Interrupted.action is None
    assert (place / "frozen" / "2026-10.json").exists()


@pytest.mark.parametrize(
    ("first_us", "last_us", "is_in"),
    [(0, 9, True), (0, 19, True), (0, 20, False), (5, 15, True), (15, 25, False), (30, 39, True), (25, 35, False)],
)
def test_instants_may_be_within_several_intervals(first_us: int, last_us: int, is_in: bool) -> None:
    """As far as one begins where another one ends."""
    assert is_within(first_us, last_us, [Interval(30, 40), Interval(10, 20), Interval(0, 10)]) is is_in
