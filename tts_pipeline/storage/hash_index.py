"""Look up 64-bit hashes, and the rows that they belong to, in little memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64] | npt.NDArray[np.int64]


class HashIndex:
    """Hashes in ascending order: 8 bytes of memory each, and 4 more with rows.

    ``rows`` has the row of each hash, below 2**32; None is enough for tests of membership.
    """

    def __init__(self, hashes: Hashes | Iterable[int] = (), rows: npt.NDArray[np.integer] | None = None) -> None:
        unsorted = hashes if isinstance(hashes, np.ndarray) else np.fromiter(hashes, np.uint64)
        order = None if rows is None else np.argsort(unsorted, kind="stable")
        self.hashes: Hashes = np.sort(unsorted) if order is None else unsorted[order]
        self._hashes = self.hashes.data  # searched in half the time of numpy's own search
        self._rows = None if rows is None else rows.astype(np.uint32)[order]

    def __len__(self) -> int:
        return len(self.hashes)

    def __contains__(self, value: int) -> bool:
        position = bisect_left(self._hashes, value)
        return position < len(self._hashes) and self._hashes[position] == value

    def rows(self, value: int) -> list[int]:
        """Return the rows of a hash in the order in which they were given; an unknown hash has none."""
        assert self._rows is not None
        first = bisect_left(self._hashes, value)
        rows: list[int] = self._rows[first : bisect_right(self._hashes, value, first)].tolist()
        return rows
