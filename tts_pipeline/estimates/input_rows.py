"""Input rows of an estimate, read in batches: frames, Arrow streams, Parquet sources."""

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
"""Rows that are held at a time, and as many again that are being read: a few MB of ordinary lines."""

BATCH_BYTES = 32 * 1024 * 1024
"""What such rows come to, about: fewer are held where they are long."""

_ROW_INDEX = "__row_index"


AnyRows = pl.DataFrame | pl.LazyFrame | ArrowStream | str | os.PathLike[str]
"""What an estimate is made of: a Polars frame, an Arrow stream, or a path, a glob or a URL of Parquet."""


STARTED = "__started"
"""Column of the row's place in ``InputRows.started_rows``; null for a row of which no segment is paid for."""


@dataclass(frozen=True, slots=True)
class StartedRow:
    """A row that an earlier run began, with the places of the segments whose answers are in a journal.

    Boundaries of None are one segment, or none sent yet.
    """

    boundaries: tuple[tuple[int, int], ...] | None
    paid: frozenset[int]


NOT_STARTED = StartedRow(None, frozenset())
"""A row that no run began."""


class InputRows(ABC):
    """Rows that can be gone through several times, in flat memory."""

    left_out: Mapping[str, int] = MappingProxyType({})
    """How many Parquet files were found beside those of the rows and are not read, by the reason."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        """Rows that the last pass left out, as ``speech`` (there already) and ``rejects`` (not to be tried anew)."""
        self.started_rows: list[StartedRow] = []
        """Rows that the last pass found begun."""

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Return all columns, as Arrow knows them."""

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield some columns of the rows in their order, ``BATCH_ROWS`` at a time."""


class FrameRows(InputRows):
    """Rows of a frame. A lazy one is run anew each time, streamed; what that raises is its owner's."""

    def __init__(self, frame: pl.LazyFrame, selection: Selection = Selection()) -> None:
        super().__init__()
        self._frame = frame
        if selection.limit is not None or selection.sample is not None:
            self._frame = self._select(selection)

    def schema(self) -> pa.Schema:  # noqa: D102 (documented on the abstract base)
        return pl.DataFrame(schema=self._frame.collect_schema()).to_arrow().schema

    def batches(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:  # noqa: D102
        # Only the columns as they are, and nothing computed of them: Polars reads as far ahead as it computes slowly,
        # up to all of a file, but waits for whoever takes the batches. Streamed, whatever engine a notebook has set.
        yield from self._frame.select(columns).collect_batches(chunk_size=BATCH_ROWS, engine="streaming")

    def _select(self, selection: Selection) -> pl.LazyFrame:
        row_indices = select_rows(selection, self._frame.select(pl.len()).collect(engine="streaming").item())
        if isinstance(row_indices, range):
            return self._frame.head(len(row_indices))
        indices = pl.Series(row_indices, dtype=pl.UInt32).implode()
        return self._frame.with_row_index(_ROW_INDEX).filter(pl.col(_ROW_INDEX).is_in(indices)).drop(_ROW_INDEX)


class SourceRows(InputRows):
    """Rows of a source, read as a run reads them, the next batch while this one is looked at; the indices ascend."""

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
    """Put tables that follow each other together, as many as make up ``BATCH_ROWS`` or ``BATCH_BYTES`` at most."""
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
        ConfigurationError: The source is missing, is not Parquet or holds no rows, or fewer than one row is asked for.
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
