"""A ledger counts every row of every dataset once: before, while and after its months are frozen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.ledger.usage import expected_sums, guess_rows, journal_id, put_usage, rows_of, sums_of, usage_rows
from tts_pipeline.errors import StorageError
from tts_pipeline.ledger import Ledger
from tts_pipeline.periods import microseconds
from tts_pipeline.storage.store import Store

OCTOBER, NOVEMBER, DECEMBER = (datetime(2026, month, 1, tzinfo=UTC) for month in (10, 11, 12))
MIDDLE = datetime(2026, 11, 15, 12, tzinfo=UTC)
NOW_US = microseconds(datetime(2027, 1, 15, tzinfo=UTC))


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store.subfolder("ledger"))


@pytest.fixture
def dataset(store: Store) -> Store:
    return store.subfolder("dataset")


def test_usage_is_copied_once(ledger: Ledger, dataset: Store) -> None:
    """A second sync copies nothing; a rebuild renames usage, which is no other usage."""
    journal = journal_id(MIDDLE)
    rows = usage_rows(journal, MIDDLE)
    name = put_usage(dataset, 7, journal, rows)
    assert ledger.sync_dataset(dataset, "/data/one") == 1
    assert ledger.sync_dataset(dataset, "/data/one") == 0
    dataset.move(name, f"usage/generation-1-{name.partition('/')[2]}")
    assert ledger.sync_dataset(dataset, "/data/one") == 0
    assert sums_of(ledger) == expected_sums(rows)
    first = rows_of(ledger.contents())[0]
    assert (first["dataset"], first["is_correction"], first["is_settlement"]) == ("/data/one", False, False)


def test_a_copied_dataset_counts_once(ledger: Ledger, dataset: Store) -> None:
    """It belongs to the dataset that the ledger saw first."""
    journal = journal_id(MIDDLE)
    rows = usage_rows(journal, MIDDLE)
    put_usage(dataset, 0, journal, rows)
    ledger.sync_dataset(dataset, "/data/first")
    ledger.sync_dataset(dataset, "/data/copy")
    assert sums_of(ledger) == expected_sums(rows)
    assert {row["dataset"] for row in rows_of(ledger.contents())} == {"/data/first"}
    ledger.compact("2026-11", "UTC", NOW_US)
    assert ledger.sync_dataset(dataset, "/data/copy") == 0
    assert sums_of(ledger) == expected_sums(rows)


def test_real_usage_replaces_a_guess(ledger: Ledger, dataset: Store) -> None:
    """Before the month is frozen, and a copy of the dataset that still has the guess does not bring it back."""
    journal = journal_id(MIDDLE)
    put_usage(dataset, 0, journal, guess_rows(journal, MIDDLE, 1_000))
    ledger.sync_dataset(dataset, "/data/copy")
    ledger.sync_dataset(dataset, "/data/one")
    assert sums_of(ledger)["characters_upper_bound"] == 1_000
    rows = usage_rows(journal, MIDDLE)
    put_usage(dataset, 0, journal, rows)
    assert ledger.sync_dataset(dataset, "/data/one") == 1
    assert sums_of(ledger) == expected_sums(rows)
    ledger.compact("2026-11", "UTC", NOW_US)
    assert sums_of(ledger) == expected_sums(rows)
    put_usage(dataset, 0, journal, guess_rows(journal, MIDDLE, 1_000))
    ledger.sync_dataset(dataset, "/data/another")
    assert sums_of(ledger) == expected_sums(rows)


def test_a_guess_does_not_replace_real_usage(ledger: Ledger, store: Store) -> None:
    """Datasets of two machines at the same path, one a copy of the other, have one name in the ledger."""
    journal, first, copy = journal_id(MIDDLE), store.subfolder("first"), store.subfolder("copy")
    rows = usage_rows(journal, MIDDLE)
    put_usage(first, 0, journal, rows)
    name = put_usage(copy, 0, journal, guess_rows(journal, MIDDLE, 1_000))
    for names in (None, [name]):
        assert ledger.sync_dataset(first, "/data/one", names) == 1
        assert ledger.sync_dataset(copy, "/data/one", names) == 0
        assert sums_of(ledger) == expected_sums(rows)


def test_a_foreign_file_stays_out_of_the_ledger(ledger: Ledger, store: Store) -> None:
    """It would be damage there, for everybody."""
    files = store.subfolder("calls")
    files.write("one/usage/notes.parquet", b"x")
    with pytest.raises(
        StorageError, match=r"'.*calls/one/usage/notes\.parquet' is not the name of a file of a dataset"
    ):
        ledger.sync_files(files, files.sizes(""), "/data/one")
    assert ledger.store.sizes("usage") == {}


def test_real_usage_replaces_a_frozen_guess(ledger: Ledger, dataset: Store) -> None:
    """It is a correction of the month; other rows of the month stay frozen."""
    lost, other = journal_id(MIDDLE), journal_id(MIDDLE, 1)
    kept = usage_rows(other, MIDDLE)
    put_usage(dataset, 0, lost, guess_rows(lost, MIDDLE, 1_000))
    put_usage(dataset, 1, other, kept)
    ledger.sync_dataset(dataset, "/data/one")
    ledger.compact("2026-11", "UTC", NOW_US)
    assert sums_of(ledger)["characters_upper_bound"] == 1_010
    real = usage_rows(lost, MIDDLE, rows=6)
    put_usage(dataset, 0, lost, real)
    assert ledger.sync_dataset(dataset, "/data/one") == 1
    assert ledger.sync_dataset(dataset, "/data/one") == 0
    assert sums_of(ledger) == expected_sums([*kept, *real])
    assert ledger.compact("2026-11", "UTC", NOW_US).was_frozen
    assert sums_of(ledger) == expected_sums([*kept, *real])
    corrections = {row["journal_id"]: row["is_correction"] for row in rows_of(ledger.contents())}
    assert corrections == {lost: True, other: False}


def test_a_guess_replaced_between_two_months(ledger: Ledger, dataset: Store) -> None:
    """The guess is frozen in November, its real usage in December."""
    opened = DECEMBER - timedelta(hours=1)
    journal = journal_id(opened)
    put_usage(dataset, 0, journal, guess_rows(journal, opened, 1_000))
    ledger.sync_dataset(dataset, "/data/one")
    ledger.compact("2026-11", "UTC", NOW_US)
    real = usage_rows(journal, DECEMBER + timedelta(hours=1))
    put_usage(dataset, 0, journal, real)
    ledger.sync_dataset(dataset, "/data/one")
    assert sums_of(ledger) == expected_sums(real)
    ledger.compact("2026-12", "UTC", NOW_US)
    assert sums_of(ledger) == expected_sums(real)
    assert ledger.sync_dataset(dataset, "/data/one") == 0


def test_a_frozen_month_holds_what_it_held(ledger: Ledger, dataset: Store) -> None:
    """Rows of other months stay raw; late rows are corrections; the months add up to the whole."""
    journals = [journal_id(OCTOBER + timedelta(days=day), day) for day in range(0, 92, 3)]
    rows = [
        usage_rows(journal, OCTOBER + timedelta(days=3 * number, hours=23, minutes=50), rows=20)
        for number, journal in enumerate(journals)
    ]
    for part, (journal, some) in enumerate(zip(journals, rows, strict=True)):
        put_usage(dataset, part, journal, some)
    ledger.sync_dataset(dataset, "/data/one")
    everything = expected_sums(row for some in rows for row in some)
    by_month = {month: sums_of(ledger, *month) for month in ((OCTOBER, NOVEMBER), (NOVEMBER, DECEMBER))}
    assert sums_of(ledger) == everything
    result = ledger.compact("2026-11", "UTC", NOW_US)
    assert result.manifest.rows == by_month[NOVEMBER, DECEMBER]["requests"]
    assert result.manifest.totals["CNY"].cost == by_month[NOVEMBER, DECEMBER]["cost"]
    assert 0 < result.removed_files < len(journals)
    assert sums_of(ledger) == everything
    assert {month: sums_of(ledger, *month) for month in by_month} == by_month
    ledger.compact("2026-10", "UTC", NOW_US)
    assert {month: sums_of(ledger, *month) for month in by_month} == by_month
    late = journal_id(MIDDLE, 999)
    late_rows = usage_rows(late, MIDDLE)
    put_usage(dataset, 99, late, late_rows)
    ledger.sync_dataset(dataset, "/data/one")
    corrections = [row["attempt_id"] for row in rows_of(ledger.contents()) if row["is_correction"]]
    assert corrections == [row["attempt_id"] for row in late_rows]
    assert sums_of(ledger) == expected_sums([*late_rows, *(row for some in rows for row in some)])
