"""Rows at places that ascend, out of batches that are gone through once."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from tts_pipeline.errors import ConfigurationError


class Rows(Protocol):
    """Rows that are gone through in batches: those of a source, or what is held of them."""

    def batches(self, start: int = 0, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield batches, each with its first row's place, from somewhere at or before row ``start`` on."""

    def schema_of(self, columns: Sequence[str] | None) -> pa.Schema:
        """Return the schema of some columns; None is all."""

    def group_of(self, row: int) -> int:
        """Return the number of the group that holds a row: at the beginning of another one, reading can begin anew."""


class RowReader:
    """Reads runs of rows in ascending order, going through the source once.

    Args:
        source: The rows.
        columns: Only these; None is all.
    """

    def __init__(self, source: Rows, columns: Sequence[str] | None = None) -> None:
        self._source = source
        self._columns = columns
        self.schema = source.schema_of(columns)
        """Of the rows that are read."""
        self._batches: Iterator[tuple[int, pa.RecordBatch]] = iter(())
        self._first = 0
        self._batch: pa.RecordBatch | None = None

    def read(self, places: Sequence[int]) -> pa.Table:
        """Return the rows at these places, which ascend."""
        return pa.Table.from_batches(self.pieces(places), schema=self.schema)

    def pieces(self, places: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Yield the rows at these places, which ascend, batch by batch: so many as are in memory anyway."""
        done = 0
        while done < len(places):
            self._advance_to(places[done])
            batch, first = self._batch, self._first
            if batch is None:
                raise ConfigurationError(f"the source has no row {places[done]}", hint="was it changed meanwhile?")
            until = bisect.bisect_left(places, first + batch.num_rows, lo=done)
            yield _rows_of(batch, first, places[done:until])
            done = until

    def close(self) -> None:
        """Let go what is in memory of the file that was read last: its page, and buffers."""
        self._batches, self._batch = iter(()), None

    def _advance_to(self, place: int) -> None:
        if self._holds(place):
            return
        reached = self._first + (self._batch.num_rows if self._batch is not None else 0)
        if self._batch is None or place < self._first or self._source.group_of(place) > self._source.group_of(reached):
            self._batches = self._source.batches(place, self._columns)
        while not self._holds(place):
            following = next(self._batches, None)
            self._first, self._batch = following or (self._first, None)
            if self._batch is None:
                return

    def _holds(self, place: int) -> bool:
        return self._batch is not None and self._first <= place < self._first + self._batch.num_rows


def _rows_of(batch: pa.RecordBatch, first: int, places: Sequence[int]) -> pa.RecordBatch:
    if places[-1] - places[0] + 1 == len(places):
        return batch.slice(places[0] - first, len(places))
    return batch.take(pa.array([place - first for place in places]))
