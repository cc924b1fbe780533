"""Frames in and out: which rows are to be said, and what came of them beside the rows that were given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from tts_pipeline.dataset.streamed import ArrowStream
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.frames.tables import to_polars
from tts_pipeline.models import ParameterValue
from tts_pipeline.schema import REJECTS, SPEECH, fields

Frame = pl.DataFrame | pl.LazyFrame | ArrowStream
"""What is taken: a Polars frame, or anything with ``__arrow_c_stream__``: pyarrow, pandas, DuckDB and others."""

ID = "utterance_id"
TEXT = "text"

_GIVEN = {"take", TEXT, "service", "model", "voice", "language"}
"""Columns of the speech table that say what was asked for: the frame and the call say it already."""

_ERRORS = ("error_class", "error_code", "message")
RESULTS = (*(column.name for column in SPEECH if column.name not in _GIVEN), *_ERRORS)
"""The columns that stand beside the frame's own."""

_NUMBER = "__number"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be said, and how, for each row.

    Args:
        text: The text.
        utterance_id: What names the row in the bill; None is the column ``id`` if there is one, else the row's number.
        columns: Parameter -> the column that carries it.
        parameters: Parameters by name: the same for all rows, or an expression.
    """

    text: str | pl.Expr = TEXT
    utterance_id: str | pl.Expr | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, ParameterValue | pl.Expr] = field(default_factory=dict)

    @property
    def fixed(self) -> dict[str, ParameterValue]:
        """The parameters that are the same for all rows."""
        return {name: value for name, value in self.parameters.items() if not isinstance(value, pl.Expr)}

    @property
    def varying(self) -> dict[str, pl.Expr]:
        """The parameters that differ from row to row.

        Raises:
            ConfigurationError: One is given twice.
        """
        expressions = {name: value for name, value in self.parameters.items() if isinstance(value, pl.Expr)}
        twice = sorted(expressions.keys() & self.columns.keys())
        if twice:
            raise ConfigurationError(
                f"the parameter {twice[0]!r} is given by columns= and as an expression", hint="give one of them"
            )
        return {**expressions, **{name: pl.col(column) for name, column in self.columns.items()}}


def collected(frame: Frame) -> pl.DataFrame | pa.Table:
    """Return a frame's rows in memory: a lazy one computed, streamed, and anything but Polars as an Arrow table.

    Raises:
        ConfigurationError: It has no rows that could be taken.
    """
    if isinstance(frame, pl.LazyFrame):
        return frame.collect(engine="streaming")
    if isinstance(frame, pl.DataFrame | pa.Table):
        return frame
    try:
        return pa.table(frame)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise ConfigurationError(
            f"rows cannot be taken from a {type(frame).__name__}: {error}",
            hint="give a Polars frame, or anything else with __arrow_c_stream__ that has columns",
        ) from error


def to_say(table: pl.DataFrame | pa.Table, wanted: Wanted) -> pl.DataFrame:
    """Return the rows as a job takes them: ``utterance_id``, unique, ``text``, and each parameter under its name.

    Raises:
        ConfigurationError: A column is missing, or has a name that a column of the result has, or an expression does
            not give one value for each row.
    """
    names = table.columns if isinstance(table, pl.DataFrame) else table.column_names
    naming = _naming(wanted, names)
    text = pl.col(wanted.text) if isinstance(wanted.text, str) else wanted.text
    picked = {TEXT: text, **wanted.varying, **({} if naming is None else {ID: naming})}
    needed = _needed(picked, names)
    _refuse_collisions(names, naming)
    rows = table.select(needed) if isinstance(table, pl.DataFrame) else to_polars(table.select(needed))
    rows = _row_by_row(rows, picked, len(table))
    plain = pl.selectors.by_dtype(pl.Categorical, pl.Enum, pl.Null)
    return rows.with_columns(plain.cast(pl.String)).with_columns(_unique_ids(rows).alias(ID))


def beside(table: pl.DataFrame | pa.Table, said: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame | pa.Table:
    """Put what came of each row beside it.

    Args:
        table: The rows as given.
        said: The same rows, with their ids.
        outcomes: Speech and rejects by id.

    Returns:
        The rows, in their order, in the kind of table that was given.
    """
    results = said.select(ID).join(outcomes, on=ID, how="left", maintain_order="left")
    if isinstance(table, pl.DataFrame):
        return table.hstack(results.select(name for name in results.columns if name not in table.columns))
    made = results.to_arrow(compat_level=pl.CompatLevel.oldest())
    for name in made.column_names:
        if name not in table.column_names:
            table = table.append_column(made.schema.field(name), made.column(name))
    return table


def outcomes_of(speech: pa.Table, rejects: pa.Table) -> pl.DataFrame:
    """Return what a dataset's tables say of each utterance, by ``utterance_id``, with the columns of ``RESULTS``.

    Args:
        speech: The speech table, or none of its rows.
        rejects: The rejects table, or none of its rows.
    """
    failed = pl.DataFrame(rejects).rename({"failed_at": "created_at"})
    both = pl.concat([pl.DataFrame(speech), failed], how="diagonal")
    return both.select(RESULTS)


def no_outcomes() -> pl.DataFrame:
    """Return the outcomes of no rows: their columns."""
    return outcomes_of(pa.schema(fields(SPEECH)).empty_table(), pa.schema(fields(REJECTS)).empty_table())


def _naming(wanted: Wanted, names: list[str]) -> pl.Expr | None:
    if wanted.utterance_id is None:
        return pl.col("id") if "id" in names else None
    return pl.col(wanted.utterance_id) if isinstance(wanted.utterance_id, str) else wanted.utterance_id


def _needed(picked: Mapping[str, pl.Expr], names: list[str]) -> list[str]:
    if any(expression.meta.has_multiple_outputs() for expression in picked.values()):
        return names  # a selector is Polars' to resolve
    needed = dict.fromkeys(name for expression in picked.values() for name in expression.meta.root_names())
    for name in needed:
        if name not in names:
            shown = ", ".join(map(repr, names[:12]))
            raise ConfigurationError(
                f"the frame has no column {name!r}; its columns are {shown}",
                hint=did_you_mean(name, names) + "say where the text is by text=, and a parameter by columns=",
            )
    return [name for name in names if name in needed] or names[:1]  # without any, it would not be known how many rows


def _row_by_row(rows: pl.DataFrame, picked: Mapping[str, pl.Expr], height: int) -> pl.DataFrame:
    """Compute the expressions: an expression of one value is repeated for every row."""
    # Beside the rows' numbers, so that there are as many as rows were given, whatever the expressions come to.
    numbers = pl.lit(pl.int_range(height, eager=True)).alias(_NUMBER)
    try:
        made = rows.select(*(expression.alias(name) for name, expression in picked.items()), numbers)
    except pl.exceptions.ShapeError as error:
        raise _not_by_row(height, str(error).partition("\n")[0]) from error
    if made.height != height:  # Polars 1 repeats a number, too
        raise _not_by_row(height, f"they give {made.height:,} rows")
    return made.drop(_NUMBER)


def _not_by_row(height: int, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the expressions do not give one value for each of the frame's {height:,} rows: {why}",
        hint="filter or explode the frame itself first",
    )


def _refuse_collisions(names: list[str], naming: pl.Expr | None) -> None:
    is_named_so = naming is not None and naming.meta.root_names() == [ID]
    clashes = [name for name in names if name in RESULTS and not (name == ID and is_named_so)]
    if clashes:
        raise ConfigurationError(
            f"the frame has a column {clashes[0]!r}, and so has the result",
            hint=f"drop or rename {', '.join(map(repr, clashes))} first",
        )


def _unique_ids(rows: pl.DataFrame) -> pl.Series:
    """A row without an id is named by its number, a repeated id gets it behind: again where that is a given id, too."""
    number = pl.int_range(rows.height, eager=True).cast(pl.String)
    if ID not in rows.columns:
        return number
    given = _as_text(rows[ID])
    first = given.is_first_distinct() & given.is_not_null()
    named = given.zip_with(first, (given + ":" + number).fill_null(number))
    # Two made ones never meet: each ends with its row's number.
    while (clash := ~first & named.is_in(given.implode())).any():
        named = (named + ":" + number).zip_with(clash, named)
    return named


def _as_text(ids: pl.Series) -> pl.Series:
    try:
        return ids.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise ConfigurationError(
            f"the ids are of type {ids.dtype}, which cannot be written as text",
            hint="name another column by utterance_id=, or give an expression of strings",
        ) from error
