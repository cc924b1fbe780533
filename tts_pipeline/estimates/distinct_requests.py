"""Repeated requests found by their hashes, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from tts_pipeline.storage.scratch import scratch_root
from tts_pipeline.storage.store import storage_errors

PARTITIONS = 64
MEMORY_ROWS = 2_000_000
"""Rows in memory, 16 bytes each; what is beyond goes to files."""

REQUEST_DTYPE = np.dtype([("key", "<u8"), ("characters", "<u4"), ("segments", "<u4")])

RequestArray = npt.NDArray[np.void]


class DistinctRequests:
    """Sums up requests, each of the repeated ones once.

    Two rows are the same when their 64-bit keys are. That two different ones share a key has a chance of n * n / 2**65:
    3 in a million for 10,000,000 rows, 3 in 10,000 for 100,000,000; the estimate would then be one row short.

    Args:
        scratch: A local folder for what does not fit into memory, not touched before that; None is the user's
            cache, or the system's temporary folder.
        memory_rows: Rows in memory.
    """

    def __init__(self, scratch: Path | None, memory_rows: int = MEMORY_ROWS) -> None:
        self._scratch = scratch
        self._memory_rows = memory_rows
        self._in_memory: list[RequestArray] = []
        self._rows = 0
        self._folder: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, requests: RequestArray) -> None:
        """Take note of rows.

        Raises:
            StorageError: The scratch folder cannot be written.
        """
        self._in_memory.append(requests)
        self._rows += len(requests)
        if self._rows > self._memory_rows:
            with storage_errors(f"keeping hashes of requests in {self._scratch}"):
                self._spill()

    def totals(self) -> tuple[int, int, int]:
        """Return how many different rows there are, and their characters and segments.

        Raises:
            StorageError: The scratch folder cannot be read.
        """
        rows = characters = segments = 0
        with storage_errors(f"reading hashes of requests in {self._scratch}"):
            for requests in self._partitions():
                _, first = np.unique(requests["key"], return_index=True)
                rows += len(first)
                characters += int(requests["characters"][first].sum(dtype=np.int64))
                segments += int(requests["segments"][first].sum(dtype=np.int64))
        return rows, characters, segments

    def _partitions(self) -> Iterator[RequestArray]:
        """Yield the rows in runs such that equal keys meet in one."""
        if self._folder is None:
            yield self._drain()
            return
        self._spill()
        for path in self._paths(self._folder):
            yield np.fromfile(path, dtype=REQUEST_DTYPE)

    def _spill(self) -> None:
        if self._folder is None:
            parent = self._scratch or scratch_root()
            parent.mkdir(parents=True, exist_ok=True)
            self._folder = TemporaryDirectory(dir=parent, prefix="estimate-")
        requests = self._drain()
        partition = (requests["key"] % PARTITIONS).astype(np.uint8)
        order = np.argsort(partition, kind="stable")
        ends = np.searchsorted(partition[order], np.arange(PARTITIONS), side="right")
        for path, chunk in zip(self._paths(self._folder), np.split(requests[order], ends[:-1]), strict=True):
            with path.open("ab") as file:
                chunk.tofile(file)

    def _drain(self) -> RequestArray:
        requests = np.concatenate([np.empty(0, dtype=REQUEST_DTYPE), *self._in_memory])
        self._in_memory, self._rows = [], 0
        return requests

    def _paths(self, folder: TemporaryDirectory[str]) -> list[Path]:
        return [Path(folder.name) / f"{number:02}" for number in range(PARTITIONS)]
