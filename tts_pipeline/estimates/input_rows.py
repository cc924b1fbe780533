"""Read the input rows of an estimate in batches, from frames, Arrow streams or Parquet sources."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl
import pyarrow as pa

from tts_pipeline.config import InputColumns, Selection
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.conversion import to_polars
from tts_pipeline.job.prepare import select_rows
from tts_pipeline.source.dropped_columns import refuse_unknown_drop
from tts_pipeline.source.frame_stream import ArrowStream
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.row_sizes import groups_within

BATCH_ROWS = 50_000
"""Rows of one batch; two are in memory, the second while it is read: a few MB of ordinary lines."""

BATCH_BYTES = 32 * 1024 * 1024
"""The most bytes of one batch, about: long rows make smaller batches."""

_ROW_INDEX = "__row_index"


AnyRows = pl.DataFrame | pl.LazyFrame | ArrowStream | str | os.PathLike[str]
"""The rows of an estimate: a Polars frame, an Arrow stream, or a path, a glob or a URL of Parquet."""


STARTED = "__started"
"""Column of the row's index in ``InputRows.started_rows``; null for a row that no run has started."""


@dataclass(frozen=True, slots=True)
class StartedRow:
    """A row that an earlier run started, with the indexes of the segments whose answers are in a journal.

    ``boundaries`` of None mean one segment, or none sent yet.
    """

    boundaries: tuple[tuple[int, int], ...] | None
    paid: frozenset[int]


NOT_STARTED = StartedRow(None, frozenset())
"""A row that no run has started."""


class InputRows(ABC):
    """Rows that can be read several times, in flat memory."""

    left_out: Mapping[str, int] = MappingProxyType({})
    """The number of Parquet files beside those of the rows that are not read, by reason."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        """Rows that the last pass left out, as ``speech`` (already spoken) and ``rejects`` (not tried again)."""
        self.started_rows: list[StartedRow] = []
        """Started rows of the last pass."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Return the Arrow schema of all columns."""

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield some columns of the rows in their order, ``BATCH_ROWS`` at a time."""


class FrameRows(InputRows):
    """Rows of a frame. A lazy frame is run again for each pass, streamed; its errors go to the caller unchanged."""

    def __init__(self, frame: pl.LazyFrame, selection: Selection = Selection()) -> None:
        super().__init__()
        self._frame = frame
        if selection.limit is not None or selection.sample is not None:
            self._frame = self._select(selection)

    def schema(self) -> pa.Schema:  # noqa: D102 (documented on the abstract base)
        return pl.DataFrame(schema=self._frame.collect_schema()).to_arrow().schema

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:  # noqa: D102
        # Plain columns, no expressions over them: while Polars computes slowly it reads ahead, up to a whole file, but
        # it waits for the reader of its batches. The engine is set, because a notebook may have chosen another one.
        yield from self._frame.select(columns).collect_batches(chunk_size=BATCH_ROWS, engine="streaming")

    def _select(self, selection: Selection) -> pl.LazyFrame:
        row_indices = select_rows(selection, self._frame.select(pl.len()).collect(engine="streaming").item())
        if isinstance(row_indices, range):
            return self._frame.head(len(row_indices))
        indices = pl.Series(row_indices, dtype=pl.UInt32).implode()
        return self._frame.with_row_index(_ROW_INDEX).filter(pl.col(_ROW_INDEX).is_in(indices)).drop(_ROW_INDEX)


class SourceRows(InputRows):
    """Rows of a source at ascending indices, read as in a run; the next batch is read while this one is counted."""

    def __init__(self, source: Source, row_indices: Sequence[int]) -> None:
        super().__init__()
        self._source = source
        self._row_indices = row_indices
        self.left_out = source.left_out

    def schema(self) -> pa.Schema:  # noqa: D102
        return self._source.schema

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:  # noqa: D102
        batches = self._read(columns)
        with DaemonExecutor(1, "source-reader") as reading:
            next_batch = reading.submit(next, batches, None)
            while (batch := next_batch.result()) is not None:
                next_batch = reading.submit(next, batches, None)
                yield to_polars(batch)

    def _read(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        batches = RowReader(self._source, columns).batches(self._row_indices)
        return rebatch(pa.Table.from_batches([batch]) for batch in batches)


def rebatch(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join consecutive tables, up to ``BATCH_ROWS`` rows or ``BATCH_BYTES`` bytes."""
    return map(pa.concat_tables, groups_within(tables, _batch_share, 1))


def _batch_share(table: pa.Table) -> float:
    share: float = max(table.num_rows / BATCH_ROWS, table.nbytes / BATCH_BYTES)
    return share


def open_rows(
    rows: AnyRows,
    selection: Selection = Selection(),
    *,
    hive: bool = InputColumns().hive,
    drop: Sequence[str] = (),
) -> InputRows:
    """Open rows of any kind, with the arguments of ``estimate``.

    Raises:
        ConfigurationError: The source is missing, is not Parquet or holds no rows, or fewer than one row is selected.
    """
    if isinstance(rows, pl.LazyFrame | pl.DataFrame):
        refuse_unknown_drop(drop, rows.lazy().collect_schema().names())
        return FrameRows(rows.lazy().drop(*drop), selection)
    if isinstance(rows, str | os.PathLike):
        source = open_source(rows, hive=hive, drop=drop)
        return SourceRows(source, select_rows(selection, source.rows))
    if hasattr(rows, "__arrow_c_stream__"):
        return FrameRows(to_polars(rows, drop).lazy(), selection)
    raise ConfigurationError(
        f"rows cannot be read from a {type(rows).__name__}",
        hint="give a Polars frame, anything with __arrow_c_stream__, or the path of a Parquet file",
    )
