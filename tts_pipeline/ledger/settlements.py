"""Write the rows that an invoice adds to the bill."""

from __future__ import annotations

import pyarrow as pa

from tts_pipeline.schema import USAGE, arrow_fields
from tts_pipeline.storage.parquet import parquet_writer

SETTLED = "settled"
"""The outcome of settlements, which are no requests."""


def settlement_bytes(rows: pa.Table) -> bytes:
    """Return settlements as a Parquet file: the usage table's columns, and ``dataset_id``, null if it is not known.

    Raises:
        ValueError: A column is missing, has another type, or holds forbidden nulls, or a row is a request.
    """
    fields = [*arrow_fields(USAGE), pa.field("dataset_id", pa.string())]
    columns = []
    for field in fields:
        if field.name in rows.column_names:
            columns.append(rows.column(field.name).cast(field.type))
        elif field.nullable:
            columns.append(pa.chunked_array([pa.nulls(rows.num_rows, field.type)]))
        else:
            raise ValueError(f"settlements need the column {field.name!r}")
        if not field.nullable and columns[-1].null_count:
            raise ValueError(f"column {field.name!r} must not be null")
    table = pa.table(columns, schema=pa.schema(fields))
    outcomes = set(table.column("outcome").unique().to_pylist())
    if not outcomes <= {SETTLED}:
        raise ValueError(f"the outcome of settlements is {SETTLED!r}, not {', '.join(sorted(outcomes - {SETTLED}))}")
    sink = pa.BufferOutputStream()
    with parquet_writer(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
