"""Describe the published tables, column by column."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tts_pipeline.schema import TABLES, Column

INPUT_COLUMN = Column("input", pa.struct([]), False, None, "The whole input row, with the source's own column types.")
"""The last column of ``rejects``; its fields are those of the source."""


def describe_table(table: str) -> dict[str, Any]:
    """Return the published description of a table, the content of its file in ``schemas/``."""
    columns = [*TABLES[table], *([INPUT_COLUMN] if table == "rejects" else [])]
    return {
        "table": table,
        "columns": [
            {"name": c.name, "type": _type_name(c), "nullable": c.nullable, "unit": c.unit, "meaning": c.meaning}
            for c in columns
        ],
    }


def _type_name(column: Column) -> str:
    # Arrow gives a list's item a name without meaning, and Parquet another one.
    return "struct" if column is INPUT_COLUMN else str(column.type).replace("list<item: ", "list<")
