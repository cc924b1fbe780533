"""Read the rows of a month from many usage files, nearly in the order of their times, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tts_pipeline.errors import StorageError
from tts_pipeline.ledger.contents import LedgerContents, RawFile
from tts_pipeline.ledger.manifest import FrozenFile, Interval
from tts_pipeline.ledger.scan import GONE_HINT, group_range
from tts_pipeline.ledger.usage_facts import check_amounts, count_outcomes
from tts_pipeline.schema import USAGE, usage_schema
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.parquet import conform_columns, parquet_file
from tts_pipeline.storage.store import storage_errors

BUFFER_ROWS = 2**17
"""Rows that are sorted together: some 100 MB, twice while they are sorted. Half of them are a row group, or two."""

_BATCH_ROWS = 2**16


class MonthRows:
    """The rows of a month in a ledger's usage files. ``files`` lists those that had some, after all frames are read."""

    def __init__(self, contents: LedgerContents, month: Interval) -> None:
        self.files: list[FrozenFile] = []
        self._contents = contents
        self._store = contents.store
        self._month = month

    def sorted_frames(self) -> Iterator[pl.DataFrame]:
        """Yield the rows in frames that are sorted; frames follow each other in time as far as the files do. Blocking.

        Raises:
            StorageError: A file is damaged, or its amounts are impossible.
        """
        buffer, rows = [], 0
        for table in self._tables():
            buffer.append(table)
            rows += table.num_rows
            if rows >= BUFFER_ROWS:
                frame = _sort(buffer)
                yield frame.head(rows // 2)
                buffer, rows = [frame.slice(rows // 2).to_arrow()], rows - rows // 2
        if buffer:
            yield _sort(buffer)

    def _tables(self) -> Iterator[pa.Table]:
        """Yield the rows of the files in tables of bounded size, in the order of the files."""
        for file in self._in_order():
            yield from self._read(file)

    def _in_order(self) -> list[RawFile]:
        """Return the files in the order of their first rows."""
        with DaemonExecutor(FILE_READERS, "ledger") as readers:
            ranges = list(readers.map(self._range, self._contents.files))
        ordered = sorted(zip(ranges, self._contents.files, strict=True), key=lambda pair: (pair[0][0], pair[1].path))
        return [file for range_, file in ordered if self._month.overlaps(*range_)]

    def _range(self, file: RawFile) -> tuple[int, int]:
        with self._open(file) as (stream, _):
            parquet = parquet_file(stream)
            ranges = [group_range(parquet, number) for number in range(parquet.num_row_groups)]
        firsts = [self._month.start_us if first is None else first for first, _ in ranges]
        lasts = [self._month.end_us if last is None else last for _, last in ranges]
        return min(firsts, default=0), max(lasts, default=0)

    @contextmanager
    def _open(self, file: RawFile) -> Iterator[tuple[Any, int]]:
        """Give a file, as it is at this moment, and its size in bytes."""
        location = self._store.describe(file.path)
        with storage_errors(f"reading {location}", Exception):
            stream: BinaryIO
            if isinstance(self._store, LocalStore):
                stream = self._store.open(file.path)
            else:
                data = self._store.read(file.path)
                if data is None:
                    raise StorageError(f"{location} is gone", hint=GONE_HINT)
                stream = BytesIO(data)
            with stream:
                size_bytes = stream.seek(0, 2)
                yield stream, size_bytes

    def _read(self, file: RawFile) -> Iterator[pa.Table]:
        """Yield the rows of a file that are in the month and not frozen elsewhere; note the file if it has some."""
        location = self._store.describe(file.path)
        names = usage_schema().names
        first_us, last_us, in_month = 2**63, -1, 0
        settled = claims = unknown = 0
        with self._open(file) as (stream, size_bytes):
            parquet: pq.ParquetFile = parquet_file(stream, page_checksum_verification=True)
            existing = set(parquet.schema_arrow.names)
            stored = [name for name in names if name in existing]
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=stored, use_threads=False):
                table = conform_columns(pa.Table.from_batches([batch]), names, USAGE, location)
                check_amounts(table, location)
                started_us = table.column("started_at").cast(pa.int64())
                first_us = min(first_us, pc.min(started_us).as_py())
                last_us = max(last_us, pc.max(started_us).as_py())
                counts = count_outcomes([table])
                settled, claims, unknown = settled + counts[0], claims + counts[1], unknown + counts[2]
                table = self._rows_of_month(table, started_us)
                in_month += table.num_rows
                if table.num_rows:
                    yield table.append_column("dataset_id", pa.repeat(file.dataset_id, table.num_rows))
        if in_month:
            self.files.append(
                FrozenFile(file.dataset_id, file.name, size_bytes, first_us, last_us, settled, claims, unknown)
            )

    def _rows_of_month(self, table: pa.Table, started_us: pa.ChunkedArray) -> pa.Table:
        is_late_enough = pc.greater_equal(started_us, self._month.start_us)
        return table.filter(pc.and_(is_late_enough, pc.less(started_us, self._month.end_us)))


def _sort(tables: list[pa.Table]) -> pl.DataFrame:
    frame = pl.DataFrame(pa.concat_tables(tables, promote_options="permissive"))
    return frame.sort("started_at")
