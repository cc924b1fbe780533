"""Requests of an estimate: each is counted once, in memory or through files."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.estimates.tally import REQUEST_DTYPE, distinct_totals
from tts_pipeline.storage.hash_partitions import HashPartitions

KEYS = st.integers(0, 5) | st.integers(2**64 - 70, 2**64 - 1) | st.integers(0, 2**64 - 1)


def _requests(keys: list[int]) -> Any:
    """Equal keys are equal requests, so that what they come to follows from the key."""
    return np.array([(key, key % 97, 1 + key % 3) for key in keys], dtype=REQUEST_DTYPE)


def _expected(keys: list[int]) -> tuple[int, int, int]:
    distinct = set(keys)
    return len(distinct), sum(key % 97 for key in distinct), sum(1 + key % 3 for key in distinct)


@given(batches=st.lists(st.lists(KEYS, max_size=20), max_size=10), memory_records=st.integers(1, 60))
def test_each_is_counted_once(batches: list[list[int]], memory_records: int) -> None:
    """However many fit into memory, and in whichever batches they come."""
    with TemporaryDirectory() as scratch, HashPartitions(Path(scratch), REQUEST_DTYPE, memory_records) as requests:
        for keys in batches:
            requests.add(_requests(keys))
        assert distinct_totals(requests) == _expected([key for keys in batches for key in keys])


def test_sums_do_not_overflow() -> None:
    """A record holds 32 bits, their sum does not."""
    most = 2**32 - 1
    with HashPartitions(None, REQUEST_DTYPE) as requests:
        requests.add(np.array([(key, most, most) for key in range(3)], dtype=REQUEST_DTYPE))
        assert distinct_totals(requests) == (3, 3 * most, 3 * most)
