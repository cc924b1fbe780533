"""Open and write Parquet files in one way: unbuffered, in the caller's thread, in any store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.errors import StorageError
from tts_pipeline.schema import Column
from tts_pipeline.storage.json_files import RESTORE_HINT
from tts_pipeline.storage.store import Store, storage_errors


def parquet_file(stream: Any, **options: Any) -> pq.ParquetFile:
    """Open a Parquet stream, which stays open. Read it with ``use_threads=False``.

    With pre-buffering, every row group would stay in memory until the file is closed. And Arrow's threads sometimes
    abort a process that ends soon after ("terminate called without an active exception", pyarrow 26.0.1 on a busy
    machine): ``pyarrow.parquet.read_table`` starts such threads.
    """
    return pq.ParquetFile(stream, pre_buffer=False, **options)


@contextmanager
def open_parquet(store: Store, name: str) -> Iterator[pq.ParquetFile]:
    """Open a file that this package wrote, and verify the checksums of its pages, if it has any. Blocking.

    Raises:
        StorageError: The file cannot be read, or is damaged; this includes errors of reads within the block.
    """
    with storage_errors(f"reading {store.describe(name)}", Exception), store.open(name) as stream:
        yield parquet_file(stream, page_checksum_verification=True)


def read_columns(file: bytes | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table's file in this thread; ``columns`` None is all."""
    stream = pa.OSFile(str(file), "rb") if isinstance(file, Path) else pa.BufferReader(file)
    with stream:
        parquet = parquet_file(stream, page_checksum_verification=True)
        return parquet.read(columns=None if columns is None else list(columns), use_threads=False)


def conform_columns(
    table: pa.Table, names: Sequence[str], columns: Sequence[Column], location: str, *, keeps_nulls: bool = False
) -> pa.Table:
    """Return columns of a file with the types of the table's schema, and without the file's metadata.

    Polars panics at metadata that are not UTF-8, and its panics are no ``Exception``.

    A missing nullable column becomes null: an earlier version did not write it. Columns outside the schema pass
    through. With ``keeps_nulls``, forbidden nulls are kept for the caller, who skips their rows.

    Raises:
        StorageError: A column is missing, has another type, or holds forbidden nulls: the file is damaged, or is
            another file.
    """
    by_name = {column.name: column for column in columns}
    with storage_errors(f"reading {location}", Exception):
        conformed = pa.table({name: _conform(table, name, by_name.get(name), location) for name in names})
    for name in () if keeps_nulls else names:
        if name in by_name and not by_name[name].nullable and conformed.column(name).null_count:
            raise StorageError(f"{location} is damaged: its column {name!r} has nulls", hint=RESTORE_HINT)
    return conformed


def _conform(table: pa.Table, name: str, column: Column | None, location: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        if column is None or not column.nullable:
            raise StorageError(f"{location} is damaged: it has no column {name!r}", hint=RESTORE_HINT)
        return pa.chunked_array([pa.nulls(table.num_rows, column.type)])
    values: pa.ChunkedArray = table.column(name)
    if column is not None and values.type != column.type:
        values = values.cast(column.type)
    return values


_RAW_BATCH_ROWS = 16
"""Rows between two looks at a page's size. With Arrow's 1,024, all audio of a row group is one page, built in memory
that the system must clear first: a quarter of the publishing thread's time at 48 KB a row (2026-11)."""


def parquet_writer(
    file: Any,
    schema: pa.Schema,
    *,
    raw_leaves: Collection[str] = (),
    has_checksums: bool = True,
    dictionaries: bool | Sequence[str] = True,
) -> pq.ParquetWriter:
    """Open a file to write tables to, each as one row group. Used with ``with``.

    ``raw_leaves`` are the Parquet paths of values that compression does not make smaller. Row groups of some hundred
    rows need no ``dictionaries``: zstd alone makes them smaller, in two thirds of the time (a tenth of the file size
    and 1.2 us a row less for the usage table). Large ones need those of columns whose values repeat.
    """
    encoding: dict[str, Any] = {"compression": "zstd", "use_dictionary": dictionaries}
    if raw_leaves:
        leaves = [leaf for field in schema for leaf in _leaf_paths(field.name, field.type)]
        compressed = [leaf for leaf in leaves if leaf not in raw_leaves]
        encoding |= {"compression": dict.fromkeys(compressed, "zstd"), "write_statistics": compressed}
        encoding["use_dictionary"] = compressed if dictionaries else False
        encoding["write_batch_size"] = _RAW_BATCH_ROWS
    return pq.ParquetWriter(file, schema, write_page_checksum=has_checksums, **encoding)


def write_tables(
    store: Store, name: str, schema: pa.Schema, tables: Iterable[pa.Table], *, is_new: bool = False
) -> dict[str, Any]:
    """Write tables as the row groups of a file; return its size and hash. Blocking; see ``Store.stage``."""
    with store.stage(name, is_new=is_new) as path:
        with parquet_writer(path, schema, dictionaries=False) as writer:
            for table in tables:
                writer.write_table(table)
        return size_and_hash_at(path)


def size_and_hash_at(path: Path) -> dict[str, Any]:
    """Return a file's size and hash, as a marker holds them."""
    with path.open("rb") as file:
        return size_and_hash(file)


def size_and_hash(file: Any) -> dict[str, Any]:
    """Return the size and hash of a file that is open at its beginning; the file is read in pieces."""
    digest = hashlib.file_digest(file, "sha256")
    return {"bytes": file.seek(0, os.SEEK_END), "sha256": digest.hexdigest()}


def _leaf_paths(path: str, kind: pa.DataType) -> Iterator[str]:
    if pa.types.is_struct(kind):
        for child in kind:
            yield from _leaf_paths(f"{path}.{child.name}", child.type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _leaf_paths(f"{path}.list.element", kind.value_type)
    elif pa.types.is_map(kind):
        yield from _leaf_paths(f"{path}.key_value.key", kind.key_type)
        yield from _leaf_paths(f"{path}.key_value.value", kind.item_type)
    else:
        yield path
