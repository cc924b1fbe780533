"""Parquet read in slices that are bounded in bytes, whatever the sizes of its row groups, pages and rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.config import (
    ALWAYS_READ_BYTES,
    MAX_EXPANSION,
    MAX_FOOTER_BYTES,
    MAX_PAGE_BYTES,
    SLICE_BYTES,
    SLICE_ROWS,
    UNEVEN_SLICE_BYTES,
)
from tts_pipeline.dataset.page_headers import Page, pages_of
from tts_pipeline.errors import ConfigurationError

BUFFER_BYTES = 256 * 1024
"""Of a column chunk that are in memory at one time. Unbuffered, pyarrow holds the chunks of a row group whole."""

FAR_BUFFER_BYTES = 4 * 1024 * 1024
"""The same where each reading is a round trip."""

_ALL_BUFFERS_BYTES = 64 * 1024 * 1024

_TAIL_BYTES = 64 * 1024
_FIRST_ROWS = 64
_GROWTH = 4
_RELEASE_BYTES = 4 * 1024 * 1024
"""With a slice of this size Arrow's memory is given back, which else keeps what it had for a page of 100 MB."""

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8, "BYTE_ARRAY": 4}
"""Bytes of a value in Arrow, at least: of a text, where it ends."""

HINT = "leave the column out with --drop, or write the file with smaller values and pages"


class _Chunk(NamedTuple):
    """A column chunk of a row group.

    Args:
        path: The column's, as Parquet calls it.
        group: Number of the row group.
        rows: Of the row group.
        is_flat: Whether a row has just one value.
        facts: What the footer tells of the chunk.
    """

    path: str
    group: int
    rows: int
    is_flat: bool
    facts: pq.ColumnChunkMetaData

    @property
    def values(self) -> int:
        return int(max(self.rows, self.facts.num_values))

    @property
    def is_dictionary(self) -> bool:
        return bool(self.facts.has_dictionary_page and self.facts.physical_type == "BYTE_ARRAY")


class Projection(NamedTuple):
    """What is read of a file.

    Args:
        columns: Only these; None is all.
        int96_unit: What INT96 timestamps are read as: ``s``, ``us`` or ``ns``.
    """

    columns: Sequence[str] | None = None
    int96_unit: str = "ns"


EVERYTHING = Projection()


def footer_of(stream: Any, where: str) -> tuple[int, int]:
    """Return a file's size and that of its footer, which its length (4 bytes) and ``PAR1`` follow.

    Args:
        stream: The file.
        where: What it is called in an error.

    Raises:
        ConfigurationError: The footer is too large to be read.
    """
    stream.seek(0, os.SEEK_END)
    size_bytes = stream.tell()  # a pyarrow file's seek returns nothing
    stream.seek(max(0, size_bytes - _TAIL_BYTES))  # what pyarrow reads first: one round trip then serves both
    footer_bytes = int.from_bytes(stream.read(_TAIL_BYTES)[-8:-4], "little")
    if MAX_FOOTER_BYTES < footer_bytes < size_bytes:
        raise ConfigurationError(
            f"the footer of {where!r} has {footer_bytes:,} bytes; the longest that is read has {MAX_FOOTER_BYTES:,}",
            hint="write the file with fewer, larger row groups",
        )
    stream.seek(0)
    return size_bytes, footer_bytes


class SlicedParquet:
    """A Parquet file that is read slice by slice.

    Args:
        stream: The file, opened; it stays open.
        where: What it is called in an error.
        is_near: Whether reading is no round trip: then the headers of all pages are looked at before they are unpacked.
        projection: What is ever read of it.
        checked: Row groups that were found to be in proportion when the file was opened before; grows.

    Raises:
        pyarrow.ArrowException, OSError: It is not Parquet, or cannot be read.
    """

    def __init__(
        self,
        stream: Any,
        where: str,
        *,
        is_near: bool = True,
        projection: Projection = EVERYTHING,
        checked: set[int] | None = None,
    ) -> None:
        self._stream = stream
        self._where = where
        self._is_near = is_near
        self._projection = projection
        self._checked = set[int]() if checked is None else checked
        self.metadata: pq.FileMetaData = pq.ParquetFile(stream, pre_buffer=False).metadata
        # Buffered ahead, every row group that was read would stay in memory until the file is closed.
        self._reading = {
            "metadata": self.metadata,
            "pre_buffer": False,
            "buffer_size": self._buffer_bytes(),
            "coerce_int96_timestamp_unit": projection.int96_unit,
        }
        self._parquet = pq.ParquetFile(stream, **self._reading)
        # Categories within lists and structs are what pyarrow 26 cannot read over several row groups.
        self._is_by_group = any(map(_has_categories_within, self._parquet.schema_arrow.types))
        self._rows = _FIRST_ROWS

    def slices(self, groups: Iterable[int], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of row groups in order.

        Args:
            groups: Numbers of row groups, ascending.
            columns: Only these, and whatever else comes with them; None is all.

        Raises:
            ConfigurationError: A page would take more memory than is given to one, or a row group is out of all
                proportion when it is read.
            pyarrow.ArrowException, OSError: It is damaged, or cannot be read.
        """
        for run in self._runs(groups):
            most_rows = self._most_rows(run, columns)
            rows = min(self._rows, most_rows)
            left = sum(self.metadata.row_group(group).num_rows for group in run)
            batches = self._parquet.iter_batches(rows, row_groups=run, columns=columns, use_threads=False)
            for batch in batches:
                left -= batch.num_rows
                if left == 0:
                    batches.close()  # whoever has the last rows may be long about them: the page goes now
                batch_bytes = _own_bytes(batch)
                rows = max(1, min(most_rows, rows * _GROWTH, SLICE_BYTES * batch.num_rows // max(1, batch_bytes)))
                self._parquet.reader.set_batch_size(rows)  # of the next batch: pyarrow looks it up for each
                self._rows = rows
                if batch_bytes > _RELEASE_BYTES:
                    pa.default_memory_pool().release_unused()
                yield batch
                del batch

    def _runs(self, groups: Iterable[int]) -> Iterator[list[int]]:
        """Put row groups of few rows together; whatever is wrong with one is found when it is its turn."""
        run, rows = list[int](), 0
        for group in groups:
            self._check(group)
            run.append(group)
            rows += self.metadata.row_group(group).num_rows
            if rows >= SLICE_ROWS or self._is_by_group:
                yield run
                run, rows = [], 0
        if run:
            yield run

    def _check(self, group: int) -> None:
        """Refuse a row group that is out of all proportion when it is read: a dictionary, a page or a run of levels."""
        if group in self._checked:
            return
        facts = self.metadata.row_group(group)
        always_bytes = ALWAYS_READ_BYTES * facts.num_rows // max(1, self.metadata.num_rows)
        stored_bytes = sum(facts.column(number).total_compressed_size for number in range(facts.num_columns))
        limit_bytes, total_bytes = max(always_bytes, MAX_EXPANSION * stored_bytes), 0
        for chunk in self._chunks([group], self._projection.columns):
            if chunk.is_flat and chunk.facts.num_values != chunk.rows:
                raise pa.ArrowInvalid(f"{chunk.rows:,} rows are promised, {chunk.facts.num_values:,} are there")
            self._pages(chunk)
            total_bytes += self._decoded_bytes(chunk, limit_bytes - total_bytes)
            if total_bytes > limit_bytes:
                raise ConfigurationError(
                    f"row group {group} of {self._where!r} has {stored_bytes:,} bytes, but its columns up to "
                    f"{chunk.path!r} come to more than {limit_bytes:,} when they are read, which is beyond "
                    f"{MAX_EXPANSION:,} times as much",
                    hint=HINT,
                )
        self._checked.add(group)

    def _buffer_bytes(self) -> int:
        if self._is_near:
            return BUFFER_BYTES
        columns: int = self.metadata.num_columns
        return max(BUFFER_BYTES, min(FAR_BUFFER_BYTES, _ALL_BUFFERS_BYTES // max(1, columns)))

    def _chunks(self, groups: Sequence[int], columns: Sequence[str] | None) -> Iterator[_Chunk]:
        schema = self.metadata.schema
        leaves = [(number, schema.column(number)) for number in range(len(schema))]
        chosen = [(number, leaf) for number, leaf in leaves if columns is None or _is_of(leaf.path, columns)]
        for group in groups:
            facts = self.metadata.row_group(group)
            for number, leaf in chosen:
                is_flat = leaf.max_repetition_level == 0
                yield _Chunk(leaf.path, group, facts.num_rows, is_flat, facts.column(number))

    def _most_rows(self, groups: Sequence[int], columns: Sequence[str] | None) -> int:
        """Return how many rows may be read at one time, so that even the largest of them fit together."""
        row_bytes = dict.fromkeys(groups, 1)
        for chunk in self._chunks(groups, columns):
            value_bytes = max(self._fullest_page(chunk), self._longest_value(chunk, UNEVEN_SLICE_BYTES, SLICE_ROWS))
            largest = value_bytes * chunk.values // max(1, chunk.rows)
            row_bytes[chunk.group] += largest
        return max(1, min(SLICE_ROWS, UNEVEN_SLICE_BYTES // max(row_bytes.values())))

    def _fullest_page(self, chunk: _Chunk) -> int:
        """Return what a value has in the page where they have most."""
        pages = [page for page in self._pages(chunk) if not page.is_dictionary]
        mean_bytes = chunk.facts.total_uncompressed_size // max(1, chunk.values)
        full = [page.unpacked_bytes // max(1, page.values) for page in pages]
        return int(max(full, default=mean_bytes))

    def _pages(self, chunk: _Chunk) -> list[Page]:
        """Look at a chunk's pages before one of them is unpacked."""
        facts = chunk.facts
        if not self._is_near and facts.total_uncompressed_size <= MAX_PAGE_BYTES:
            return []
        start = facts.dictionary_page_offset or facts.data_page_offset
        found = list(pages_of(self._read, start, start + facts.total_compressed_size))
        largest_bytes = max((page.unpacked_bytes for page in found), default=0)
        if largest_bytes > MAX_PAGE_BYTES:
            raise ConfigurationError(
                f"column {chunk.path!r} of {self._where!r} has a page of {largest_bytes:,} bytes; the largest that is "
                f"read has {MAX_PAGE_BYTES:,}",
                hint=HINT,
            )
        return found

    def _read(self, offset: int, size_bytes: int) -> bytes:
        self._stream.seek(max(0, offset), os.SEEK_SET)
        data: bytes = self._stream.read(size_bytes)
        return data

    def _decoded_bytes(self, chunk: _Chunk, limit_bytes: int) -> int:
        """Return what a chunk has when it is read; no more is counted than tells that it passes the limit."""
        width = _WIDTHS.get(chunk.facts.physical_type, 1)
        least_bytes: int = max(chunk.facts.total_uncompressed_size, width * chunk.values)
        if least_bytes > limit_bytes or self._longest_value(chunk, limit_bytes, chunk.values) == 0:
            return least_bytes
        return max(least_bytes, self._dictionary_bytes(chunk, limit_bytes))

    def _longest_value(self, chunk: _Chunk, limit_bytes: int, values: int) -> int:
        """Return the length of the longest value of a dictionary; 0 where so many values pass no limit anyway."""
        if not chunk.is_dictionary or min(values, chunk.values) * chunk.facts.total_uncompressed_size <= limit_bytes:
            return 0
        lengths = next(self._dictionaries(chunk, 1), None)
        longest = 0 if lengths is None else max(map(_longest, lengths), default=0)
        return longest if min(values, chunk.values) * longest > limit_bytes else 0

    def _dictionary_bytes(self, chunk: _Chunk, limit_bytes: int) -> int:
        total_bytes = 0
        for arrays in self._dictionaries(chunk, SLICE_ROWS):
            total_bytes += sum(map(_decoded, arrays))
            if total_bytes > limit_bytes:
                break
        return total_bytes

    def _dictionaries(self, chunk: _Chunk, rows: int) -> Iterator[list[pa.DictionaryArray]]:
        """Yield a chunk as numbers and what they stand for, so many rows at a time."""
        parquet = pq.ParquetFile(self._stream, read_dictionary=[chunk.path], **self._reading)
        for batch in parquet.iter_batches(rows, row_groups=[chunk.group], columns=[chunk.path], use_threads=False):
            yield [leaf for column in batch.columns for leaf in _leaves(column)]


def _own_bytes(batch: pa.RecordBatch) -> int:
    """Return the size of rows without the dictionaries that they have in common with others."""
    columns = (column.indices if pa.types.is_dictionary(column.type) else column for column in batch.columns)
    return sum(int(column.nbytes) for column in columns)


def _is_of(path: str, columns: Sequence[str]) -> bool:
    return any(path == column or path.startswith(f"{column}.") for column in columns)


def _leaves(array: pa.Array) -> Iterator[pa.DictionaryArray]:
    kind = array.type
    if pa.types.is_dictionary(kind):
        yield array
    elif pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from _leaves(array.field(number))
    elif pa.types.is_map(kind):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaves(array.flatten())


def _lengths(array: pa.DictionaryArray) -> npt.NDArray[np.int64]:
    """Return the lengths of a dictionary's values. By numpy: Arrow's functions take a second to import."""
    values = array.dictionary
    is_large = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    ends = np.frombuffer(values.buffers()[1], np.int64 if is_large else np.int32)
    return np.diff(ends[values.offset : values.offset + len(values) + 1]).astype(np.int64)


def _longest(array: pa.DictionaryArray) -> int:
    return int(_lengths(array).max(initial=0))


def _decoded(array: pa.DictionaryArray) -> int:
    numbers = array.indices
    validity, data = numbers.buffers()
    places = np.frombuffer(data, numbers.type.to_pandas_dtype())[numbers.offset :][: len(numbers)]
    if numbers.null_count:
        is_valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[numbers.offset :]
        places = places[is_valid[: len(numbers)].astype(bool)]
    return int(_lengths(array)[places].sum())


def _has_categories_within(kind: pa.DataType) -> bool:
    children = (kind.field(place).type for place in range(kind.num_fields))
    return any(pa.types.is_dictionary(child) or _has_categories_within(child) for child in children)
