"""Reading Parquet files of ours back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tts_pipeline.dataset.store import storage_errors
from tts_pipeline.errors import StorageError
from tts_pipeline.schema import Column


def read_columns(file: bytes | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file of a table, in this thread.

    Not by ``pyarrow.parquet.read_table``: it reads through Arrow's datasets, whose threads abort the process now and
    then when it ends soon after ("terminate called without an active exception", pyarrow 26.0.1 on a busy machine).

    Args:
        file: A path, or what is in the file.
        columns: Which; None is all of them.
    """
    opened = pa.OSFile(str(file), "rb") if isinstance(file, Path) else pa.BufferReader(file)
    with opened, pq.ParquetFile(opened, pre_buffer=False, page_checksum_verification=True) as parquet:
        return parquet.read(columns=None if columns is None else list(columns), use_threads=False)


def own_columns(
    table: pa.Table, names: Sequence[str], columns: Sequence[Column], location: str, *, keeps_nulls: bool = False
) -> pa.Table:
    """Return columns of a file of one of our tables as the table's schema has them, without the file's metadata.

    Args:
        table: As it was read.
        names: Which columns, in order; those that are not the table's own are as they were read.
        columns: The table's own; one that may be null and is not there is null: an earlier version did not write it.
        location: The file, for messages.
        keeps_nulls: Whether a null where the schema has none is left to the caller, who passes over its row.

    Raises:
        StorageError: A column is not there, is of another type, or holds nulls where the schema has none: the file is
            damaged, or another.
    """
    own = {column.name: column for column in columns}
    with storage_errors(f"reading {location}", Exception):
        made = pa.table({name: _own_column(table, name, own.get(name), location) for name in names})
    for name in () if keeps_nulls else names:
        if name in own and not own[name].nullable and made.column(name).null_count:
            raise _damaged(location, name)
    return made


def _own_column(table: pa.Table, name: str, column: Column | None, location: str) -> pa.ChunkedArray:
    if column is not None and name not in table.column_names:
        if not column.nullable:
            raise _damaged(location, name)
        return pa.chunked_array([pa.nulls(table.num_rows, column.type)])
    values: pa.ChunkedArray = table.column(name)
    return values if column is None or values.type == column.type else values.cast(column.type)


def _damaged(location: str, name: str) -> StorageError:
    return StorageError(f"{location} is damaged: its column {name!r} is not whole", hint="restore it")
