"""Read Parquet in slices of bounded bytes, whatever the size of row groups, pages and rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.config import (
    EXPANSION_EXEMPT_BYTES,
    MAX_EXPANSION_RATIO,
    MAX_FOOTER_BYTES,
    MAX_PAGE_BYTES,
    SLICE_BYTES,
    SLICE_ROWS,
    UNEVEN_SLICE_BYTES,
)
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.page_headers import PageHeader, read_page_headers
from tts_pipeline.storage.parquet import parquet_file
from tts_pipeline.storage.row_sizes import leaf_arrays, value_sizes

BUFFER_BYTES = 256 * 1024
"""Bytes of a column chunk in memory at a time. Without a buffer, pyarrow holds whole chunks of a row group."""

REMOTE_BUFFER_BYTES = 4 * 1024 * 1024
"""The same for remote files, where each read is a round trip."""

_ALL_BUFFERS_BYTES = 64 * 1024 * 1024

_TAIL_BYTES = 64 * 1024
_INITIAL_SLICE_ROWS = 64
_GROWTH = 4
_RELEASE_BYTES = 4 * 1024 * 1024
"""After a larger slice, Arrow's unused memory is released: otherwise it keeps the memory of a page of 100 MB."""

_MIN_VALUE_BYTES = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8, "BYTE_ARRAY": 4}
"""Bytes of a value in Arrow, at least: for a text, its offset."""

SMALLER_PAGES_HINT = "leave the column out with `drop`, or write the file with smaller values and pages"


class _ColumnChunk(NamedTuple):
    """A column chunk of a row group; ``is_flat`` means one value per row."""

    path: str
    group: int
    rows: int
    is_flat: bool
    metadata: pq.ColumnChunkMetaData

    @property
    def values(self) -> int:
        return int(max(self.rows, self.metadata.num_values))

    @property
    def is_dictionary(self) -> bool:
        return bool(self.metadata.has_dictionary_page and self.metadata.physical_type == "BYTE_ARRAY")


class Projection(NamedTuple):
    """The columns to read (None is all), and the unit of INT96 timestamps: ``s``, ``us`` or ``ns``."""

    columns: Sequence[str] | None = None
    int96_unit: str = "ns"


ALL_COLUMNS = Projection()


def measure_footer(stream: Any, label: str) -> tuple[int, int]:
    """Return the sizes of a file and of its footer; the footer's length (4 bytes) and ``PAR1`` follow the footer.

    Raises:
        ConfigurationError: The footer has more than ``MAX_FOOTER_BYTES``.
    """
    stream.seek(0, os.SEEK_END)
    size_bytes = stream.tell()  # a pyarrow file's seek returns nothing
    stream.seek(max(0, size_bytes - _TAIL_BYTES))  # pyarrow reads this first: one round trip serves both
    footer_bytes = int.from_bytes(stream.read(_TAIL_BYTES)[-8:-4], "little")
    if MAX_FOOTER_BYTES < footer_bytes < size_bytes:
        raise ConfigurationError(
            f"the footer of {label!r} has {footer_bytes:,} bytes; the maximum is {MAX_FOOTER_BYTES:,}",
            hint="write the file with fewer, larger row groups",
        )
    stream.seek(0)
    return size_bytes, footer_bytes


class ParquetReader:
    """Reads a Parquet file slice by slice; the stream stays open.

    Of a local file, all page headers are read before a page is decompressed: no read is a round trip.
    ``checked_groups`` are row groups that earlier readers of the file have checked; this reader adds its own.

    Raises:
        pyarrow.ArrowException, OSError: The file is not Parquet, or cannot be read.
    """

    def __init__(
        self,
        stream: Any,
        label: str,
        *,
        is_local: bool = True,
        projection: Projection = ALL_COLUMNS,
        checked_groups: set[int] | None = None,
    ) -> None:
        self._stream = stream
        self._label = label
        self._is_local = is_local
        self._projection = projection
        self._checked_groups = set[int]() if checked_groups is None else checked_groups
        self.metadata: pq.FileMetaData = parquet_file(stream).metadata
        self._read_options = {
            "metadata": self.metadata,
            "buffer_size": self._buffer_bytes(),
            "coerce_int96_timestamp_unit": projection.int96_unit,
        }
        self._parquet = parquet_file(stream, **self._read_options)
        # pyarrow 26 cannot read categories within lists and structs over several row groups.
        self._is_by_group = any(map(_has_nested_dictionary, self._parquet.schema_arrow.types))
        self._slice_rows = _INITIAL_SLICE_ROWS
        self._longest_values: dict[tuple[str, int], int] = {}
        """The bytes of a dictionary's longest value, by column and row group: each dictionary is decoded once."""

    def slices(self, groups: Iterable[int], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of row groups, whose numbers ascend; ``columns`` None is all.

        Raises:
            ConfigurationError: A page has more than ``MAX_PAGE_BYTES``, or a decoded row group is disproportionately
                large.
            pyarrow.ArrowException, OSError: The file is damaged, or cannot be read.
        """
        for run in self._group_runs(groups):
            max_rows = self._max_slice_rows(run, columns)
            rows = min(self._slice_rows, max_rows)
            rows_left = sum(self.metadata.row_group(group).num_rows for group in run)
            batches = self._parquet.iter_batches(rows, row_groups=run, columns=columns, use_threads=False)
            for batch in batches:
                rows_left -= batch.num_rows
                if rows_left == 0:
                    batches.close()  # the caller may keep the last rows for long: release the page
                batch_bytes = _batch_bytes(batch)
                rows = max(1, min(max_rows, rows * _GROWTH, SLICE_BYTES * batch.num_rows // max(1, batch_bytes)))
                self._parquet.reader.set_batch_size(rows)  # for the next batch: pyarrow reads the size each time
                self._slice_rows = rows
                if batch_bytes > _RELEASE_BYTES:
                    pa.default_memory_pool().release_unused()
                yield batch
                del batch

    def _group_runs(self, groups: Iterable[int]) -> Iterator[list[int]]:
        """Join row groups of few rows; each row group is checked when its turn comes."""
        run, rows = list[int](), 0
        for group in groups:
            self._check_group(group)
            run.append(group)
            rows += self.metadata.row_group(group).num_rows
            if rows >= SLICE_ROWS or self._is_by_group:
                yield run
                run, rows = [], 0
        if run:
            yield run

    def _check_group(self, group: int) -> None:
        """Refuse a row group that a dictionary, a page or a run of levels makes disproportionately large in memory."""
        if group in self._checked_groups:
            return
        row_group = self.metadata.row_group(group)
        allowance_bytes = EXPANSION_EXEMPT_BYTES * row_group.num_rows // max(1, self.metadata.num_rows)
        stored_bytes = sum(row_group.column(number).total_compressed_size for number in range(row_group.num_columns))
        limit_bytes, total_bytes = max(allowance_bytes, MAX_EXPANSION_RATIO * stored_bytes), 0
        for chunk in self._chunks([group], self._projection.columns):
            if chunk.is_flat and chunk.metadata.num_values != chunk.rows:
                raise pa.ArrowInvalid(f"{chunk.metadata.num_values:,} values for {chunk.rows:,} rows in {chunk.path!r}")
            self._check_pages(chunk)
            total_bytes += self._decoded_bytes(chunk, limit_bytes - total_bytes)
            if total_bytes > limit_bytes:
                raise ConfigurationError(
                    f"row group {group} of {self._label!r} has {stored_bytes:,} bytes, but its columns up to "
                    f"{chunk.path!r} decode to more than {limit_bytes:,}; the maximum is {MAX_EXPANSION_RATIO:,} times "
                    "as much",
                    hint=SMALLER_PAGES_HINT,
                )
        self._checked_groups.add(group)

    def _buffer_bytes(self) -> int:
        if self._is_local:
            return BUFFER_BYTES
        columns: int = self.metadata.num_columns
        return max(BUFFER_BYTES, min(REMOTE_BUFFER_BYTES, _ALL_BUFFERS_BYTES // max(1, columns)))

    def _chunks(self, groups: Sequence[int], columns: Sequence[str] | None) -> Iterator[_ColumnChunk]:
        schema = self.metadata.schema
        leaves = [(number, schema.column(number)) for number in range(len(schema))]
        selected_leaves = [
            (number, leaf) for number, leaf in leaves if columns is None or _is_within(leaf.path, columns)
        ]
        for group in groups:
            row_group = self.metadata.row_group(group)
            for number, leaf in selected_leaves:
                is_flat = leaf.max_repetition_level == 0
                yield _ColumnChunk(leaf.path, group, row_group.num_rows, is_flat, row_group.column(number))

    def _max_slice_rows(self, groups: Sequence[int], columns: Sequence[str] | None) -> int:
        """Return the maximum rows of a slice, so that even the largest rows fit into it together."""
        row_bytes = dict.fromkeys(groups, 1)
        for chunk in self._chunks(groups, columns):
            value_bytes = max(self._max_page_mean(chunk), self._longest_value(chunk, UNEVEN_SLICE_BYTES, SLICE_ROWS))
            largest = value_bytes * chunk.values // max(1, chunk.rows)
            row_bytes[chunk.group] += largest
        return max(1, min(SLICE_ROWS, UNEVEN_SLICE_BYTES // max(row_bytes.values())))

    def _max_page_mean(self, chunk: _ColumnChunk) -> int:
        """Return the mean bytes of a value in the page where this mean is largest."""
        pages = [page for page in self._check_pages(chunk) if not page.is_dictionary]
        mean_bytes = chunk.metadata.total_uncompressed_size // max(1, chunk.values)
        mean_value_bytes = [page.unpacked_bytes // max(1, page.values) for page in pages]
        return int(max(mean_value_bytes, default=mean_bytes))

    def _check_pages(self, chunk: _ColumnChunk) -> list[PageHeader]:
        """Return a chunk's page headers, and refuse a large page before it is decompressed."""
        metadata = chunk.metadata
        if not self._is_local and metadata.total_uncompressed_size <= MAX_PAGE_BYTES:
            return []
        start = metadata.dictionary_page_offset or metadata.data_page_offset
        headers = list(read_page_headers(self._read_at, start, start + metadata.total_compressed_size))
        largest_bytes = max((page.unpacked_bytes for page in headers), default=0)
        if largest_bytes > MAX_PAGE_BYTES:
            raise ConfigurationError(
                f"column {chunk.path!r} of {self._label!r} has a page of {largest_bytes:,} bytes; the maximum is "
                f"{MAX_PAGE_BYTES:,}",
                hint=SMALLER_PAGES_HINT,
            )
        return headers

    def _read_at(self, offset: int, size_bytes: int) -> bytes:
        self._stream.seek(max(0, offset), os.SEEK_SET)
        data: bytes = self._stream.read(size_bytes)
        return data

    def _decoded_bytes(self, chunk: _ColumnChunk, limit_bytes: int) -> int:
        """Return the decoded bytes of a chunk; the count stops when it passes the limit."""
        width = _MIN_VALUE_BYTES.get(chunk.metadata.physical_type, 1)
        least_bytes: int = max(chunk.metadata.total_uncompressed_size, width * chunk.values)
        if least_bytes > limit_bytes or self._longest_value(chunk, limit_bytes, chunk.values) == 0:
            return least_bytes
        return max(least_bytes, self._dictionary_bytes(chunk, limit_bytes))

    def _longest_value(self, chunk: _ColumnChunk, limit_bytes: int, values: int) -> int:
        """Return the bytes of a dictionary's longest value; 0 if ``values`` of this size cannot pass the limit."""
        if not chunk.is_dictionary or min(values, chunk.values) * chunk.metadata.total_uncompressed_size <= limit_bytes:
            return 0
        key = (chunk.path, chunk.group)
        if key not in self._longest_values:
            arrays = next(self._dictionaries(chunk, 1), [])
            sizes = (int(value_sizes(array.dictionary).max(initial=0)) for array in arrays)
            self._longest_values[key] = max(sizes, default=0)
        longest = self._longest_values[key]
        return longest if min(values, chunk.values) * longest > limit_bytes else 0

    def _dictionary_bytes(self, chunk: _ColumnChunk, limit_bytes: int) -> int:
        total_bytes = 0
        for arrays in self._dictionaries(chunk, SLICE_ROWS):
            total_bytes += sum(int(value_sizes(array).sum()) for array in arrays)
            if total_bytes > limit_bytes:
                break
        return total_bytes

    def _dictionaries(self, chunk: _ColumnChunk, rows: int) -> Iterator[list[pa.DictionaryArray]]:
        """Yield a chunk as dictionary arrays, ``rows`` rows at a time."""
        parquet = parquet_file(self._stream, read_dictionary=[chunk.path], **self._read_options)
        for batch in parquet.iter_batches(rows, row_groups=[chunk.group], columns=[chunk.path], use_threads=False):
            leaves = (leaf for column in batch.columns for leaf in leaf_arrays(column))
            yield [leaf for leaf in leaves if pa.types.is_dictionary(leaf.type)]


def _batch_bytes(batch: pa.RecordBatch) -> int:
    """Return the bytes of a batch without its dictionaries, which it shares with other batches."""
    columns = (column.indices if pa.types.is_dictionary(column.type) else column for column in batch.columns)
    return sum(int(column.nbytes) for column in columns)


def _is_within(path: str, columns: Sequence[str]) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in columns)


def _has_nested_dictionary(kind: pa.DataType) -> bool:
    children = (kind.field(index).type for index in range(kind.num_fields))
    return any(pa.types.is_dictionary(child) or _has_nested_dictionary(child) for child in children)
