"""Repeated requests: found by their keys, each counted once, in memory or through files."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.errors import StorageError
from tts_pipeline.estimates.distinct_requests import REQUEST_DTYPE, DistinctRequests

KEYS = st.integers(0, 5) | st.integers(2**64 - 70, 2**64 - 1) | st.integers(0, 2**64 - 1)


def _requests(keys: list[int]) -> Any:
    """Equal keys are equal requests, so that what they come to follows from the key."""
    return np.array([(key, key % 97, 1 + key % 3) for key in keys], dtype=REQUEST_DTYPE)


def _expected(keys: list[int]) -> tuple[int, int, int]:
    distinct = set(keys)
    return len(distinct), sum(key % 97 for key in distinct), sum(1 + key % 3 for key in distinct)


@given(batches=st.lists(st.lists(KEYS, max_size=20), max_size=10), held_rows=st.integers(0, 60))
def test_each_is_counted_once(batches: list[list[int]], held_rows: int) -> None:
    """However many fit into memory, and in whichever batches they come."""
    with TemporaryDirectory() as scratch, DistinctRequests(Path(scratch) / "new", held_rows) as repeats:
        for keys in batches:
            repeats.add(_requests(keys))
        assert repeats.totals() == _expected([key for keys in batches for key in keys])


def test_small_sources_touch_no_disk(tmp_path: Path) -> None:
    """A scratch folder is only made for what does not fit into memory, and is empty afterwards."""
    with DistinctRequests(tmp_path / "scratch") as repeats:
        repeats.add(_requests([1, 2, 1]))
        assert repeats.totals() == _expected([1, 2])
    assert not (tmp_path / "scratch").exists()
    with DistinctRequests(tmp_path / "scratch", memory_rows=1) as repeats:
        repeats.add(_requests([1, 2, 1]))
        assert len(list((tmp_path / "scratch").rglob("*"))) > 1
    assert list((tmp_path / "scratch").iterdir()) == []


def test_sums_do_not_overflow() -> None:
    """A record holds 32 bits, their sum does not."""
    most = 2**32 - 1
    with DistinctRequests(Path("unused")) as repeats:
        repeats.add(np.array([(key, most, most) for key in range(3)], dtype=REQUEST_DTYPE))
        assert repeats.totals() == (3, 3 * most, 3 * most)


def test_a_scratch_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    """The message names it."""
    (tmp_path / "file").write_text("no folder")
    with DistinctRequests(tmp_path / "file", memory_rows=0) as repeats, pytest.raises(StorageError, match="file"):
        repeats.add(_requests([1]))
