"""Tests of the look-up of rows by hashes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.storage.hash_index import HashIndex

HASHES = st.lists(st.integers(0, 3) | st.integers(2**64 - 3, 2**64 - 1), max_size=20)


@given(hashes=HASHES)
def test_the_rows_of_a_hash_are_found_in_their_order(hashes: list[int]) -> None:
    """All rows of a hash are found, and no row of another hash, for hashes of any size."""
    index = HashIndex(np.array(hashes, np.uint64), 7 + np.arange(len(hashes)))
    assert len(index) == len(hashes)
    for value in (*range(5), *range(2**64 - 5, 2**64)):
        assert index.rows(value) == [7 + row for row, hash_ in enumerate(hashes) if hash_ == value]
        assert (value in index) == (value in HashIndex(hashes)) == (value in hashes)


def test_signed_hashes_are_found_too() -> None:
    """The hashes of a source are signed."""
    assert -(2**63) in HashIndex(np.array([5, -(2**63)]))
    assert 2**63 not in HashIndex(np.array([5, -(2**63)]))
    assert 5 not in HashIndex()
