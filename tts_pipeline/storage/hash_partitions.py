"""Find duplicate hashes in one pass and bounded memory, by partitions in which equal hashes meet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tts_pipeline.storage.scratch import scratch_folder
from tts_pipeline.storage.store import storage_errors

PARTITIONS = 64
MEMORY_RECORDS = 1_000_000

_ODD = np.uint64(0x9E3779B97F4A7C15)
"""2**64 by the golden ratio: multiplied by it, neighbouring numbers and multiples of one number spread evenly."""

Records = npt.NDArray[Any]
SortedHashes = npt.NDArray[np.int64]
"""Hashes in ascending order, each once: 8 bytes of memory each."""


class HashPartitions(ExitStack):
    """Records with 64-bit hashes, in partitions: equal hashes are in the same partition. Used with ``with``.

    Memory holds ``memory_records`` records; later, a 64th of all records is read back at a time.

    A record of ``kind`` is the hash itself, a 64-bit integer, or has several fields, of which ``key`` is the hash. The
    scratch folder is used only when memory is full; see ``scratch_folder``.
    """

    def __init__(
        self, scratch: Path | None, kind: npt.DTypeLike = np.int64, memory_records: int = MEMORY_RECORDS
    ) -> None:
        super().__init__()
        self._scratch = scratch
        self._buffer: Records = np.empty(memory_records, kind)  # takes memory as it fills
        self._records = 0
        self._paths: list[Path] = []

    def add(self, records: Records) -> None:
        """Add records. Blocking."""
        while len(records):
            if self._records == len(self._buffer):
                self._spill()
            fitting = records[: len(self._buffer) - self._records]
            self._buffer[self._records : self._records + len(fitting)] = fitting
            self._records += len(fitting)
            records = records[len(fitting) :]

    def partitions(self) -> Iterator[Records]:
        """Yield all records, in no order; the caller may alter them."""
        if not self._paths:
            yield self._buffer[: self._records]
            return
        self._spill()
        for path in self._paths:
            with storage_errors(f"reading {path}"):
                records = np.fromfile(path, dtype=self._buffer.dtype)
            yield records

    def _spill(self) -> None:
        records = self._buffer[: self._records]
        hashes = records["key"] if records.dtype.names else records
        # By the product's upper bits: the hash of a number is itself, and numbered ids may share their lower bits.
        upper_bits = hashes.astype(np.uint64) * _ODD >> np.uint64(64 - PARTITIONS.bit_length() + 1)
        partition = upper_bits.astype(np.uint8)  # sorted ten times as fast as 64 bits
        order = np.argsort(partition, kind="stable")
        ends = np.searchsorted(partition[order], np.arange(PARTITIONS), side="right")
        with storage_errors(f"keeping hashes of {self._records:,} rows"):
            if not self._paths:
                folder = self.enter_context(scratch_folder(self._scratch, prefix="hashes-"))
                self._paths = [folder / f"{number:02}" for number in range(PARTITIONS)]
            for path, chunk in zip(self._paths, np.split(records[order], ends[:-1]), strict=True):
                with path.open("ab") as file:
                    chunk.tofile(file)
        self._records = 0


def duplicate_hashes(hashes: HashPartitions) -> SortedHashes:
    """Return the hashes that were added more than once."""
    return np.sort(np.concatenate([_duplicates(partition) for partition in hashes.partitions()]))


def are_among(sorted_hashes: SortedHashes, hashes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return for each hash whether it is one of ``sorted_hashes``, which are not empty."""
    places = np.searchsorted(sorted_hashes, hashes).clip(max=len(sorted_hashes) - 1)
    found: npt.NDArray[np.bool_] = sorted_hashes[places] == hashes
    return found


def _duplicates(hashes: Records) -> SortedHashes:
    hashes.sort()
    repeats = hashes[1:][hashes[1:] == hashes[:-1]]
    unique: SortedHashes = repeats[np.diff(repeats, prepend=repeats[:1] - 1) != 0]  # np.unique imports numpy.ma: 0.05 s
    return unique
