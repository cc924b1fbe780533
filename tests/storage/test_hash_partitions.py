"""Tests of duplicate hashes: found in one pass, in memory or with files."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.hash_partitions import PARTITIONS, HashPartitions, are_among, duplicate_hashes

HASHES = st.integers(-5, 5) | st.integers(-(2**63), 2**63 - 1)


@given(batches=st.lists(st.lists(HASHES, max_size=20), max_size=10), memory_records=st.integers(1, 60))
def test_what_stands_twice_is_found(batches: list[list[int]], memory_records: int) -> None:
    """Each duplicate is found once, ascending, whether both, one or none of its records were written to the disk."""
    with TemporaryDirectory() as scratch, HashPartitions(Path(scratch), memory_records=memory_records) as partitions:
        for hashes in batches:
            partitions.add(np.array(hashes, np.int64))
        counts = Counter(hash_ for hashes in batches for hash_ in hashes)
        assert duplicate_hashes(partitions).tolist() == sorted(hash_ for hash_, n in counts.items() if n > 1)


def test_hashes_are_looked_up_among_sorted_ones() -> None:
    """Also those below and above all of them."""
    found = are_among(np.array([-5, 3, 2**62]), np.array([-6, -5, 0, 3, 2**62, 2**63 - 1, -(2**63)]))
    assert found.tolist() == [False, True, False, True, True, False, False]


@pytest.mark.parametrize("step", [1, 64, 1_000, 2**22])
def test_numbers_spread_over_all_partitions(tmp_path: Path, step: int) -> None:
    """Also ids whose lower bits are alike, as those with a time and a counter: memory holds one partition at a time."""
    with HashPartitions(tmp_path, memory_records=1_000) as partitions:
        partitions.add(np.arange(64_000) * step)
        sizes = [len(partition) for partition in partitions.partitions()]
    assert (len(sizes), sum(sizes)) == (PARTITIONS, 64_000)
    assert max(sizes) < 1_500


def test_what_fits_into_memory_touches_no_disk(tmp_path: Path) -> None:
    """A scratch folder is made only for records beyond memory, and is empty afterwards."""
    scratch = tmp_path / "new" / "scratch"
    with HashPartitions(scratch, memory_records=3) as partitions:
        partitions.add(np.array([1, 2, 1]))
        assert duplicate_hashes(partitions).tolist() == [1]
        assert not scratch.exists()
        partitions.add(np.array([2]))
        assert len([path for path in scratch.rglob("*") if path.is_file()]) == PARTITIONS
    assert list(scratch.iterdir()) == []


def test_a_disk_that_fails_is_a_storage_error(tmp_path: Path) -> None:
    """Failures to write and to read back are both translated."""
    with HashPartitions(tmp_path, memory_records=1) as partitions:
        partitions.add(np.array([1, 2]))
        shutil.rmtree(next(tmp_path.iterdir()))
        with pytest.raises(StorageError, match="keeping hashes of 1 rows"):
            partitions.add(np.array([3]))
