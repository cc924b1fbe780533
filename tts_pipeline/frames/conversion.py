"""Convert Arrow rows to a Polars frame, and name a column whose type Polars cannot hold."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl
import pyarrow as pa

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source.dropped_columns import refuse_unknown_drop
from tts_pipeline.source.frame_stream import ArrowStream

UNSUPPORTED_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError)
"""The errors that Polars raises for a type that it cannot hold; its panics are not an ``Exception``."""


def to_polars(rows: ArrowStream, drop: Collection[str] = ()) -> pl.DataFrame:
    """Return rows as a Polars frame, without the dropped columns; this consumes a stream.

    Raises:
        ConfigurationError: Polars cannot hold a column, or a column to drop is missing; the message names the column.
    """
    if drop:
        table = pa.table(rows)
        refuse_unknown_drop(drop, table.column_names)
        rows = table.drop_columns(list(drop))
    try:
        return pl.DataFrame(rows)
    except UNSUPPORTED_ERRORS as error:
        raise _unsupported_column(rows, error) from error


def _unsupported_column(rows: ArrowStream, error: BaseException) -> ConfigurationError:
    """Return an error that names the column; the columns of a consumed stream are not known."""
    table = rows if isinstance(rows, pa.Table) else pa.table({})
    for field in table.schema:
        try:
            pl.DataFrame(table.select([field.name]))
        except UNSUPPORTED_ERRORS:
            return ConfigurationError(
                f"the column {field.name!r} is of type {field.type}, which Polars cannot hold",
                hint=f"convert it, or leave it out with `drop={[field.name]}`",
            )
    return ConfigurationError(f"Polars cannot hold the rows: {error}", hint="convert or drop the column")
