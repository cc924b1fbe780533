"""A dataset as it is now, also while it grows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tts_pipeline.browse.row_query import RowQuery
from tts_pipeline.browse.snapshot import Snapshot
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.open_store import open_store


def test_the_first_page_does_not_wait_for_all_rows(dataset: Path) -> None:
    """As long as they are not read, how many there are is not known; the rows are the same."""
    fresh = Snapshot(open_store(dataset, dataset.parent))
    total, first = fresh.page(RowQuery(limit=3))
    assert total is None
    fresh.rows()
    assert fresh.page(RowQuery(limit=3)) == (12, first)


def test_facts_are_those_of_the_dataset(snapshot: Snapshot, dataset: Path) -> None:
    """Counts, duration, and where it is."""
    facts = snapshot.summary()
    assert (facts["rows"], facts["speech"], facts["rejects"], facts["finished"]) == (12, 11, 1, True)
    assert facts["root"] == str(dataset)
    assert facts["duration_ms"] > 1_000


def test_what_is_published_later_is_seen(dataset: Path, tmp_path: Path) -> None:
    """A snapshot knows that it is one of the past."""
    growing = tmp_path / "out"
    shutil.copytree(dataset, growing)
    (growing / "speech/part-00002.parquet").unlink()
    snapshot = Snapshot(open_store(growing, tmp_path))
    assert snapshot.summary()["speech"] == 9
    assert snapshot.is_current()
    shutil.copy(dataset / "speech/part-00002.parquet", growing / "speech")
    assert not snapshot.is_current()


def test_a_dataset_without_rows_is_one(dataset: Path, tmp_path: Path) -> None:
    """A job that was stopped before its first part has a page, and a bill of nothing."""
    shutil.copy(dataset / "dataset.json", tmp_path)
    snapshot = Snapshot(open_store(tmp_path, tmp_path))
    assert snapshot.page(RowQuery()) == (0, [])
    assert snapshot.summary()["speech"] == 0
    assert snapshot.bill()["totals"] == []


def test_a_place_without_a_dataset_is_told(tmp_path: Path) -> None:
    """Before a page is served."""
    with pytest.raises(ConfigurationError, match="there is no dataset at"):
        Snapshot(open_store(tmp_path, tmp_path))
