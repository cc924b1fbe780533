"""Turn the rows of a frame into the rows of a job, and put their results beside the frame's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from tts_pipeline.config import InputColumns, Selection
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.frames.conversion import to_polars
from tts_pipeline.job.prepare import select_rows
from tts_pipeline.models import ParameterValue
from tts_pipeline.schema import REJECTS, SPEECH, arrow_fields
from tts_pipeline.source.frame_stream import ArrowStream

Frame = pl.DataFrame | pl.LazyFrame | ArrowStream
"""A Polars frame, or any object with ``__arrow_c_stream__``: pyarrow, pandas, DuckDB and others."""

ID = "utterance_id"
TEXT = "text"

_INPUT_COLUMNS = {"take", TEXT, "service", "model", "voice", "language"}
"""Columns of the speech table that repeat the request: the frame and the call have them already."""

_ERROR_COLUMNS = ("error_class", "error_code", "message")
RESULT_COLUMNS = (*(column.name for column in SPEECH if column.name not in _INPUT_COLUMNS), *_ERROR_COLUMNS)
"""The columns that a result adds to the frame's own."""

_ROW_NUMBER = "__number"


@dataclass(frozen=True, slots=True)
class ColumnArguments:
    """The text, the id and the parameters of each row, as columns, expressions or fixed values.

    An ``utterance_id`` of None is the column ``id`` if it exists, else the row's number. A parameter is one value for
    all rows, or an expression.
    """

    text: str | pl.Expr = TEXT
    utterance_id: str | pl.Expr | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, ParameterValue | pl.Expr] = field(default_factory=dict)

    @property
    def fixed_parameters(self) -> dict[str, ParameterValue]:
        """The parameters that are the same for all rows."""
        return {name: value for name, value in self.parameters.items() if not isinstance(value, pl.Expr)}

    @property
    def column_parameters(self) -> dict[str, pl.Expr]:
        """The parameters that differ from row to row; a parameter that is given twice is refused."""
        expressions = {name: value for name, value in self.parameters.items() if isinstance(value, pl.Expr)}
        duplicates = sorted(expressions.keys() & self.columns.keys())
        if duplicates:
            raise ConfigurationError(
                f"the parameter {duplicates[0]!r} is given by `columns` and as an expression", hint="give one of them"
            )
        return {**expressions, **{name: pl.col(column) for name, column in self.columns.items()}}


def column_arguments(
    text: str | pl.Expr | None,
    utterance_id: str | pl.Expr | None,
    columns: Mapping[str, str] | InputColumns | None,
    parameters: Mapping[str, ParameterValue | pl.Expr],
) -> ColumnArguments:
    """Combine the arguments that name columns; those named by themselves go before those of ``columns``.

    Raises:
        ConfigurationError: ``columns`` has a field that is for files.
    """
    if not isinstance(columns, InputColumns):
        columns = InputColumns(parameters=columns or {})
    for name in ("rename", "drop", "hive"):
        if bool(getattr(columns, name)) is not bool(getattr(InputColumns(), name)):
            raise ConfigurationError(
                f"{name} of columns is for files, not for a frame",
                hint="rename or drop the columns of the frame itself",
            )
    if utterance_id is None and columns.generate_ids:
        utterance_id = pl.int_range(pl.len())
    elif utterance_id is None and columns.utterance_id != InputColumns().utterance_id:
        utterance_id = columns.utterance_id
    return ColumnArguments(columns.text if text is None else text, utterance_id, columns.parameters, parameters)


def materialize(frame: Frame) -> pl.DataFrame | pa.Table:
    """Return a frame's rows in memory: a lazy frame is computed, streamed; any other object becomes an Arrow table."""
    if isinstance(frame, pl.LazyFrame):
        return frame.collect(engine="streaming")
    if isinstance(frame, pl.DataFrame | pa.Table):
        return frame
    try:
        return pa.table(frame)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise ConfigurationError(
            f"rows cannot be read from a {type(frame).__name__}: {error}",
            hint="give a Polars frame, or another object with columns that has __arrow_c_stream__",
        ) from error


def select(table: pl.DataFrame | pa.Table, selection: Selection) -> pl.DataFrame | pa.Table:
    """Return the selected rows, in their order."""
    row_indices = select_rows(selection, len(table))
    if len(row_indices) == len(table):
        return table
    return table[row_indices] if isinstance(table, pl.DataFrame) else table.take(pa.array(row_indices, pa.int64()))


def utterance_rows(table: pl.DataFrame | pa.Table, arguments: ColumnArguments) -> pl.DataFrame:
    """Return a job's rows: a unique ``utterance_id``, ``text``, and each parameter under its name.

    Raises:
        ConfigurationError: A column is missing, a column has the name of a result's column, or an expression does not
            give one value for each row.
    """
    names = table.columns if isinstance(table, pl.DataFrame) else table.column_names
    id_expression = _id_expression(arguments, names)
    text = pl.col(arguments.text) if isinstance(arguments.text, str) else arguments.text
    expressions = {TEXT: text, **arguments.column_parameters, **({} if id_expression is None else {ID: id_expression})}
    columns = _required_columns(expressions, names)
    _refuse_collisions(names, id_expression)
    rows = table[columns] if isinstance(table, pl.DataFrame) else to_polars(table.select(columns))
    rows = _evaluate(rows, expressions, len(table))
    not_strings = [name for name, dtype in rows.schema.items() if dtype in {pl.Categorical, pl.Enum, pl.Null}]
    if not_strings:
        rows = rows.with_columns(pl.col(not_strings).cast(pl.String))
    ids = _unique_ids(rows).alias(ID)
    return rows.with_columns(ids) if ID in rows.columns else rows.hstack([ids])


def with_outcomes(
    table: pl.DataFrame | pa.Table, rows: pl.DataFrame, outcomes: pl.DataFrame
) -> pl.DataFrame | pa.Table:
    """Return the table with the outcome of each row in columns beside it; the order and the kind of table stay.

    ``rows`` are the table's rows with their ids; the outcomes are speech and rejects by id.
    """
    results = outcomes  # usually in this order; a query of Polars takes longer than a look
    if not outcomes[ID].equals(rows[ID]):
        results = rows[[ID]].join(outcomes, on=ID, how="left", maintain_order="left")
    if isinstance(table, pl.DataFrame):
        return table.hstack([column for column in results.get_columns() if column.name not in table.columns])
    arrow_results = results.to_arrow(compat_level=pl.CompatLevel.oldest())
    for name in arrow_results.column_names:
        if name not in table.column_names:
            table = table.append_column(arrow_results.schema.field(name), arrow_results.column(name))
    return table


def outcomes_of(speech: pa.Table, rejects: pa.Table) -> pl.DataFrame:
    """Return the outcome of each utterance from a dataset's tables: the columns of ``RESULT_COLUMNS``."""
    reject_columns = rejects.select([column.name for column in REJECTS])  # without the input
    renamed_rejects = pl.DataFrame(reject_columns).rename({"failed_at": "created_at"})
    return pl.concat([pl.DataFrame(speech), renamed_rejects], how="diagonal")[list(RESULT_COLUMNS)]


def empty_outcomes() -> pl.DataFrame:
    """Return an empty frame with the columns of outcomes."""
    return outcomes_of(pa.schema(arrow_fields(SPEECH)).empty_table(), pa.schema(arrow_fields(REJECTS)).empty_table())


def _id_expression(arguments: ColumnArguments, names: list[str]) -> pl.Expr | None:
    if arguments.utterance_id is None:
        return pl.col("id") if "id" in names else None
    return pl.col(arguments.utterance_id) if isinstance(arguments.utterance_id, str) else arguments.utterance_id


def _required_columns(expressions: Mapping[str, pl.Expr], names: list[str]) -> list[str]:
    if any(expression.meta.has_multiple_outputs() for expression in expressions.values()):
        return names  # only Polars can resolve a selector
    columns = dict.fromkeys(name for expression in expressions.values() for name in expression.meta.root_names())
    for name in columns:
        if name not in names:
            listing = ", ".join(map(repr, names[:12]))
            raise ConfigurationError(
                f"the frame has no column {name!r}; its columns are {listing}",
                hint=did_you_mean(name, names) + "name the text's column by `text`, and a parameter's by `columns`",
            )
    return [name for name in names if name in columns] or names[:1]  # a frame without columns has no number of rows


def _evaluate(rows: pl.DataFrame, expressions: Mapping[str, pl.Expr], height: int) -> pl.DataFrame:
    """Compute the expressions; one with a single value is repeated for every row."""
    # The column of row numbers fixes the height, whatever the expressions return.
    numbers = pl.lit(pl.int_range(height, eager=True)).alias(_ROW_NUMBER)
    try:
        computed = rows.select(*(expression.alias(name) for name, expression in expressions.items()), numbers)
    except pl.exceptions.ShapeError as error:
        raise _shape_error(height, str(error).partition("\n")[0]) from error
    if computed.height != height:  # Polars 1 repeats the numbers too
        raise _shape_error(height, f"they give {computed.height:,} rows")
    return computed[list(expressions)]


def _shape_error(height: int, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the expressions do not give one value for each of the frame's {height:,} rows: {reason}",
        hint="filter or explode the frame itself first",
    )


def _refuse_collisions(names: list[str], id_expression: pl.Expr | None) -> None:
    is_id_column = id_expression is not None and id_expression.meta.root_names() == [ID]
    clashes = [name for name in names if name in RESULT_COLUMNS and not (name == ID and is_id_column)]
    if clashes:
        raise ConfigurationError(
            f"the frame has a column {clashes[0]!r}, which is also a column of the result",
            hint=f"drop or rename {', '.join(map(repr, clashes))} first",
        )


def _unique_ids(rows: pl.DataFrame) -> pl.Series:
    """Return unique ids: a missing id becomes the row's number, and a repeated id gets the number appended.

    The number is appended again as long as the result is an id of the frame too.
    """
    number = pl.int_range(rows.height, eager=True).cast(pl.String)
    if ID not in rows.columns:
        return number
    ids = _as_text(rows[ID])
    is_first = ids.is_first_distinct() & ids.is_not_null()
    unique = ids.zip_with(is_first, (ids + ":" + number).fill_null(number))
    # Two generated ids never clash: each ends with its row's number.
    while (clash := ~is_first & unique.is_in(ids.implode())).any():
        unique = (unique + ":" + number).zip_with(clash, unique)
    return unique


def _as_text(ids: pl.Series) -> pl.Series:
    try:
        return ids.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise ConfigurationError(
            f"the ids are of type {ids.dtype}, which cannot be converted to text",
            hint="name another column by `utterance_id`, or give an expression of strings",
        ) from error
