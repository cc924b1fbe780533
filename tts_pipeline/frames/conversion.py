"""Convert Arrow rows to Polars, which cannot hold every type."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl
import pyarrow as pa

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source.dropped_columns import refuse_unknown_drop
from tts_pipeline.source.frame_stream import ArrowStream

UNSUPPORTED_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError)
"""What Polars raises about a type that it cannot hold; its panics are no ``Exception``."""


def to_polars(rows: ArrowStream, drop: Collection[str] = ()) -> pl.DataFrame:
    """Return rows as a Polars frame, without the dropped columns; a stream is used up.

    Raises:
        ConfigurationError: Polars cannot hold a column, or one to drop is not there; names it.
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
    """Find the column; of a stream that is used up, nothing more is known."""
    table = rows if isinstance(rows, pa.Table) else pa.table({})
    for field in table.schema:
        try:
            pl.DataFrame(table.select([field.name]))
        except UNSUPPORTED_ERRORS:
            return ConfigurationError(
                f"the column {field.name!r} is of type {field.type}, which Polars cannot hold",
                hint=f"convert it, or leave it out by `drop={[field.name]}`",
            )
    return ConfigurationError(f"Polars cannot hold the rows: {error}", hint="convert or drop the column")
