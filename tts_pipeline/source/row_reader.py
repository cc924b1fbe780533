"""Read rows at ascending positions from batches, in one pass."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from tts_pipeline.errors import ConfigurationError


class RowBatches(Protocol):
    """Rows that are read in batches: those of a source, or the spooled rows of a part."""

    schema: pa.Schema

    def batches(self, start: int = 0, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield batches, each with its first row's position; the first batch begins at or before row ``start``."""

    def group_of(self, row: int) -> int:
        """Return the number of the group that holds a row; reading can restart at the beginning of each group."""


class RowReader:
    """Reads rows in ascending order, in one pass over the source; ``columns`` None is all."""

    def __init__(self, source: RowBatches, columns: Sequence[str] | None = None) -> None:
        self._source = source
        self._columns = columns
        self.schema = select_columns(source.schema, columns)
        """The schema of the rows that are read."""
        self._batches: Iterator[tuple[int, pa.RecordBatch]] = iter(())
        self._first_row = 0
        self._batch: pa.RecordBatch | None = None

    def read(self, row_indices: Sequence[int]) -> pa.Table:
        """Return the rows at these positions, which ascend."""
        return pa.Table.from_batches(self.batches(row_indices), schema=self.schema)

    def batches(self, row_indices: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Yield the rows at these positions, which ascend, in the batches of the source."""
        position = 0
        while position < len(row_indices):
            self._advance_to(row_indices[position])
            batch, first = self._batch, self._first_row
            if batch is None:
                raise ConfigurationError(
                    f"the source has no row {row_indices[position]}", hint="if the source was changed, restore it"
                )
            until = bisect.bisect_left(row_indices, first + batch.num_rows, lo=position)
            yield _take_rows(batch, first, row_indices[position:until])
            position = until

    def close(self) -> None:
        """Release the page and the buffers of the file that was read last."""
        self._batches, self._batch = iter(()), None

    def _advance_to(self, row_index: int) -> None:
        if self._holds(row_index):
            return
        next_row = self._first_row + (self._batch.num_rows if self._batch is not None else 0)
        if (
            self._batch is None
            or row_index < self._first_row
            or self._source.group_of(row_index) > self._source.group_of(next_row)
        ):
            self._batches = self._source.batches(row_index, self._columns)
        while not self._holds(row_index):
            next_batch = next(self._batches, None)
            self._first_row, self._batch = next_batch or (self._first_row, None)
            if self._batch is None:
                return

    def _holds(self, row_index: int) -> bool:
        return self._batch is not None and self._first_row <= row_index < self._first_row + self._batch.num_rows


def _take_rows(batch: pa.RecordBatch, first_row: int, row_indices: Sequence[int]) -> pa.RecordBatch:
    if row_indices[-1] - row_indices[0] + 1 == len(row_indices):
        return batch.slice(row_indices[0] - first_row, len(row_indices))
    return batch.take(pa.array([row_index - first_row for row_index in row_indices]))


def select_columns(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """Return the schema of the columns; None is all."""
    return schema if columns is None else pa.schema([schema.field(name) for name in columns])
