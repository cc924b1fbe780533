"""Check the columns that ``drop`` leaves out, and remove them from the source's schema."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import pyarrow as pa

from tts_pipeline.config import InputColumns
from tts_pipeline.errors import ConfigurationError, did_you_mean


def check_drop(columns: InputColumns, tag_columns: Mapping[str, str]) -> None:
    """Refuse to drop a column that the job needs."""
    uses = {columns.text: "the text"}
    if not columns.generate_ids:
        uses[columns.utterance_id] = "the id"
    uses |= {column: f"the parameter {name!r}" for name, column in columns.parameters.items()}
    uses |= {column: f"the tag {name!r}" for name, column in tag_columns.items()}
    uses |= {column: f"`rename={{{column!r}: {name!r}}}`" for column, name in columns.rename.items()}
    for name in columns.drop:
        if name in uses:
            raise ConfigurationError(
                f"the column {name!r} cannot be dropped: it is needed for {uses[name]}",
                hint="remove it from `drop`, or use another column",
            )


def refuse_unknown_drop(drop: Iterable[str], names: Iterable[str]) -> None:
    """Refuse to drop a column that the source does not have."""
    source_columns = dict.fromkeys(names)
    for name in drop:
        if name not in source_columns:
            names_text = ", ".join(repr(column) for column in [*source_columns][:12])
            raise ConfigurationError(
                f"`drop` names a column that the source does not have: {name!r}",
                hint=f"{did_you_mean(name, source_columns)}the columns are {names_text}",
            )


def without_columns(schema: pa.Schema, drop: Collection[str]) -> pa.Schema:
    """Return the schema without the columns in ``drop``."""
    return pa.schema([field for field in schema if field.name not in drop], schema.metadata) if drop else schema
