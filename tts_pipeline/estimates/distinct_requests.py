"""Count distinct requests by their hashes, in flat memory."""

from __future__ import annotations

import numpy as np

from tts_pipeline.storage.hash_partitions import HashPartitions

REQUEST_DTYPE = np.dtype([("key", "<u8"), ("characters", "<u4"), ("segments", "<u4")])


def distinct_totals(requests: HashPartitions) -> tuple[int, int, int]:
    """Return how many different requests there are, and their characters and segments.

    Two rows are the same when their 64-bit keys are. That two different ones share a key has a chance of n * n / 2**65:
    3 in a million for 10,000,000 rows, 3 in 10,000 for 100,000,000; the estimate would then be one row short.

    Args:
        requests: Records of ``REQUEST_DTYPE``.

    Raises:
        StorageError: The scratch folder failed.
    """
    rows = characters = segments = 0
    for records in requests.partitions():
        _, first = np.unique(records["key"], return_index=True)
        rows += len(first)
        characters += int(records["characters"][first].sum(dtype=np.int64))
        segments += int(records["segments"][first].sum(dtype=np.int64))
    return rows, characters, segments
