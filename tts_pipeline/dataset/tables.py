"""Reading Parquet files of ours back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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


def read_own(parquet: pq.ParquetFile, names: Sequence[str], columns: Sequence[Column], location: str) -> pa.Table:
    """Read columns of a file of one of our tables, in this thread, as the table's schema has them.

    Args:
        parquet: The open file.
        names: Which columns, in order.
        columns: The table's own; one that may be null and is not there is null: an earlier version did not write it.
        location: The file, for messages.

    Raises:
        StorageError: A column is not there, or holds nulls, where the schema has none: the file is damaged, or another.
        pyarrow.ArrowException: The file cannot be read, or a column is of another type.
    """
    table = parquet.read(columns=list(names), use_threads=False)
    by_name = {column.name: column for column in columns}
    return pa.table({name: _own_column(table, by_name[name], location) for name in names})


def _own_column(table: pa.Table, column: Column, location: str) -> pa.ChunkedArray:
    values = None
    if column.name in table.column_names:
        values = table.column(column.name).cast(column.type)
    elif column.nullable:
        values = pa.chunked_array([pa.nulls(table.num_rows, column.type)])
    if values is None or (values.null_count and not column.nullable):
        raise StorageError(f"{location} is damaged: its column {column.name!r} is not whole", hint="restore it")
    return values
