"""Write a stream of rows to one Parquet file, the source of a job, in constant memory.

A source is identified by its footer, and a footer holds no values. So the footer of this file also holds a hash of
everything before it: two streams are the same source only if their rows are the same.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.source.view_types import without_view_types
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.parquet import parquet_file, parquet_writer
from tts_pipeline.storage.row_sizes import Sizes, row_sizes
from tts_pipeline.storage.scratch import scratch_root
from tts_pipeline.storage.store import storage_errors

GROUP_ROWS = 8_192
"""Rows in a row group, however the stream is divided into batches: the file depends on the rows alone."""

GROUP_BYTES = 32 * 1024 * 1024
"""Bytes in a row group, at most: it has fewer rows if they are wider than 4 kB."""

CONTENT_HASH_KEY = "tts_pipeline.content_sha256"
"""The hash's key in the footer's metadata."""


class ArrowStream(Protocol):
    """An object that exports its rows as an Arrow stream: of pyarrow, Polars, pandas, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the stream in a capsule."""
        ...


@runtime_checkable
class LazyRows(Protocol):
    """Rows that are not computed yet, such as a Polars LazyFrame; the check needs no import of Polars."""

    def collect_batches(self, *, chunk_size: int | None, engine: Literal["streaming"]) -> Iterable[ArrowStream]:
        """Compute the rows in order, ``chunk_size`` at a time."""
        ...

    def collect_schema(self) -> object:
        """Return the columns without computing the rows."""
        ...


RowStream = ArrowStream | LazyRows

FILE_NAME = "frame.parquet"
"""A constant, because this name is part of the source's fingerprint and of generated ids."""

_LOCK_SUFFIX = ".lock"


def write_stream(rows: RowStream, path: Path, drop: Collection[str] = ()) -> str:
    """Write rows as a Parquet file, some thousands at a time; return the hexadecimal hash of the contents. Blocking.

    The hash is the same for the same rows, column names and types, as long as pyarrow writes the same bytes for them.
    A stream reader is used up. Categories are written as their texts; only the names of dropped columns are written.
    An exception while a lazy frame is computed belongs to the frame's owner and passes through.

    Raises:
        ConfigurationError: ``rows`` is not a stream of rows, or a column cannot be read row by row or stored unchanged.
        StorageError: The disk failed.
    """
    tables = _tables(rows, drop)
    columns = next(tables)
    readable = without_view_types(columns.schema.remove_metadata())
    schema = pa.schema([_without_categories(field) for field in readable])
    parquet_schema = pa.schema([field.with_type(_type_in_parquet(field)) for field in schema])
    with ExitStack() as stack:
        with storage_errors(f"writing {path}"):
            file = stack.enter_context(_HashingFile(path, schema))
            writer = stack.enter_context(parquet_writer(file, schema, has_checksums=False))
        pieces = (table.slice(first, GROUP_ROWS) for table in tables for first in range(0, table.num_rows, GROUP_ROWS))
        for table in _regroup(readable.empty_table(), (piece.cast(readable) for piece in pieces)):
            group = _check_lossless(table, schema, parquet_schema)
            with storage_errors(f"writing {path}"):
                writer.write_table(group, row_group_size=GROUP_ROWS)
        content_hash = file.hexdigest()
        with storage_errors(f"writing {path}"):
            writer.add_key_value_metadata({CONTENT_HASH_KEY: content_hash})
            writer.close()
    return content_hash


def _type_in_parquet(field: pa.Field) -> pa.DataType:
    with io.BytesIO() as file:
        try:
            parquet_writer(file, pa.schema([field])).close()
        except (OSError, pa.ArrowException) as error:
            raise _lossy_column_error(field, error) from error
        return parquet_file(file).schema_arrow.field(0).type


def _check_lossless(table: pa.Table, schema: pa.Schema, parquet_schema: pa.Schema) -> pa.Table:
    """Return the rows with the types of ``schema``; refuse values that the types of ``parquet_schema`` would alter."""
    columns = []
    for column, field, parquet_field in zip(table.columns, schema, parquet_schema, strict=True):
        try:
            values = column.cast(field.type).combine_chunks()
            if parquet_field.type != field.type:  # dates with a time of day would silently lose it
                values.cast(parquet_field.type)
        except pa.ArrowException as error:
            raise _lossy_column_error(field, error) from error
        columns.append(values)
    return pa.table(columns, schema=schema)


def _lossy_column_error(field: pa.Field, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"column {field.name!r} is of type {field.type}, which Parquet cannot hold unchanged: {error}",
        hint="convert it, or leave it out with `drop`",
    )


def _without_categories(field: pa.Field) -> pa.Field:
    """Return a column of categories as a column of their values: their numbers depend on the stream's batches."""
    if not pa.types.is_dictionary(field.type):
        return field
    return pa.field(field.name, field.type.value_type, field.nullable)  # without Polars's metadata of categories


class _HashingFile(io.FileIO):
    """A file that hashes its schema and all bytes that are written to it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, "wb")
        self._hash = hashlib.sha256(str(schema).encode())

    def write(self, data: Any) -> int:
        """Write all bytes, as a buffered file would: pyarrow does not check how many were written."""
        rest = memoryview(data).cast("B")
        self._hash.update(rest)
        size_bytes = len(rest)
        while rest:
            rest = rest[super().write(rest) :]
        return size_bytes

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _tables(rows: RowStream, drop: Collection[str]) -> Iterator[pa.Table]:
    """Yield an empty table, which has the columns, and then the rows."""
    if isinstance(rows, LazyRows):
        yield _empty_table(pa.schema(rows.collect_schema()), drop)
        batches = rows.collect_batches(chunk_size=GROUP_ROWS, engine="streaming")
    else:
        batches = [rows]
    for stream in batches:
        reader = _reader(stream)
        yield _empty_table(reader.schema, drop)
        for batch in reader:
            yield _with_nulls(pa.Table.from_batches([batch]), drop)


def _empty_table(schema: pa.Schema, drop: Collection[str]) -> pa.Table:
    plain = pa.schema([field.with_type(pa.null()) if field.name in drop else field for field in schema])
    try:
        return plain.empty_table()
    except pa.ArrowNotImplementedError as error:
        raise ConfigurationError(
            f"a column has a type that cannot be read row by row: {error}",
            hint="convert it, or leave it out with `drop`",
        ) from error


def _with_nulls(table: pa.Table, drop: Collection[str]) -> pa.Table:
    """Return the table with nulls in the columns of ``drop``, whatever their types."""
    for index, name in enumerate(table.column_names):
        if name in drop:
            table = table.set_column(index, name, pa.nulls(table.num_rows))
    return table


def _reader(rows: ArrowStream) -> pa.RecordBatchReader:
    try:
        return pa.RecordBatchReader.from_stream(rows)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise ConfigurationError(
            f"rows cannot be read from a {type(rows).__name__}: {error}",
            hint="give a Polars frame, another object with columns and __arrow_c_stream__, or a path",
        ) from error


def _regroup(pending: pa.Table, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows in tables of ``GROUP_ROWS``, or fewer where ``GROUP_BYTES`` is reached, or at the end."""
    sizes = row_sizes(pending)
    for table in tables:
        pending = pa.concat_tables([pending, table])
        sizes = np.concatenate([sizes, row_sizes(table)])
        while rows := _full_group_rows(sizes):
            yield pending.slice(0, rows)
            pending, sizes = pending.slice(rows), sizes[rows:]
    if pending.num_rows:
        yield pending


def _full_group_rows(sizes: Sizes) -> int:
    """Return the number of rows that fill a table; 0 when they do not fill it."""
    fitting = int(np.searchsorted(np.cumsum(sizes[:GROUP_ROWS]), GROUP_BYTES, "right"))
    is_full = fitting == GROUP_ROWS or fitting < len(sizes[:GROUP_ROWS])
    return max(1, fitting) if is_full else 0


@contextmanager
def temporary_parquet(rows: RowStream, work_dir: Path | None = None, drop: Collection[str] = ()) -> Iterator[Path]:
    """Write rows to a file that exists while the block runs; only the names of dropped columns are written.

    ``work_dir`` None is the user's cache, or the system's temporary folder. Files of killed processes are removed.

    Raises:
        ConfigurationError: See ``write_stream``.
        StorageError: The disk failed.
    """
    folder = scratch_root(work_dir) / "rows"
    with storage_errors(f"using the folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _remove_abandoned(folder)
    own_folder = folder / uuid.uuid4().hex
    with FileLock(own_folder.with_suffix(_LOCK_SUFFIX)):
        try:
            with storage_errors(f"making the folder {own_folder}"):
                own_folder.mkdir(mode=0o700)
            write_stream(rows, own_folder / FILE_NAME, drop)
            yield own_folder / FILE_NAME
        finally:
            shutil.rmtree(own_folder, ignore_errors=True)


def _remove_abandoned(folder: Path) -> None:
    for abandoned in folder.glob("*/"):
        with suppress(StorageError), FileLock(abandoned.with_suffix(_LOCK_SUFFIX)):
            shutil.rmtree(abandoned, ignore_errors=True)
