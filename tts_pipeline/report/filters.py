"""Filter the rows of a table by a condition in SQL, without reading audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from tts_pipeline.errors import ConfigurationError, did_you_mean

AUDIO = "audio"
_POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)
"""The errors that Polars raises for types; its panics are not an ``Exception``."""

_CROSS_ROW = "reads more than one row at a time"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a condition is about: the table by name, and a condition as an example for hints."""

    table: str
    example: str


SPEECH = Subject("speech", "duration_ms < 20000 AND language = 'de'")


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on one row: its SQL, the Polars expression of it, the columns that it reads, and its subject."""

    text: str
    expression: pl.Expr
    columns: tuple[str, ...]
    subject: Subject = SPEECH

    def check(self, schema: pa.Schema) -> None:
        """Check the condition against the schema, by running it on a row of nulls.

        Raises:
            ConfigurationError: A column is missing, types do not match, or the condition reads several rows at a time.
        """
        for name in self.columns:
            if name not in schema.names or name == AUDIO:
                known = [known for known in schema.names if known != AUDIO]
                raise ConfigurationError(
                    f"`where={self.text!r}`: the {self.subject.table} table has no column {name!r} to filter by",
                    hint=f"{did_you_mean(name, known)}Its columns are {', '.join(known)}",
                )
        # One row of nulls, because without rows Polars does not check types that it cannot hold.
        null_row = pa.table({name: pa.nulls(1, schema.field(name).type) for name in self.columns})
        frame = self._frame(null_row)
        # Rows are filtered in batches, so that a mean or a rank would be that of a batch.
        cross_row = _find_cross_row(self.expression, frame)
        if cross_row is not None:
            raise self._cross_row_error(cross_row)
        self.mask(null_row)
        if not _is_pushed_down(self._query("SELECT * FROM self WHERE ({}) IS NULL", pl.concat([frame, frame]))):
            raise self._cross_row_error(self.text)

    def apply(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return the rows that meet the condition, which was checked; null does not meet it."""
        return self._query("SELECT * FROM self WHERE ({})", rows)

    def mask(self, table: pa.Table) -> Sequence[bool]:
        """Return for each row whether it meets the condition; null counts as False.

        Raises:
            ConfigurationError: The condition does not fit these types, or is neither true nor false.
        """
        subset = table.select(list(self.columns))
        frame = self._frame(subset)
        try:
            result = self._query("SELECT ({}) AS chosen FROM self", frame).collect().to_series()
        except _POLARS_ERRORS as error:
            raise self._error(f"{_first_line(error)}, for {_types(subset)}") from error
        if result.dtype != pl.Boolean:
            raise self._error(f"it is of type {result.dtype}, neither true nor false")
        mask: list[bool] = result.fill_null(value=False).to_list()
        return mask

    def _query(self, query: str, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Return a query with the condition; it knows the types of its columns, so that a text can stand for a date."""
        return pl.SQLContext({"self": rows}, eager=False).execute(query.format(f"{self.text}\n"))

    def _frame(self, table: pa.Table) -> pl.LazyFrame:
        try:
            return pl.DataFrame(table).lazy()
        except _POLARS_ERRORS as error:
            raise self._error(f"Polars cannot hold {_types(table)}") from error

    def _cross_row_error(self, piece: str) -> ConfigurationError:
        return self._error(f"{piece} {_CROSS_ROW}")

    def _error(self, reason: str) -> ConfigurationError:
        return _filter_error(self.text, reason, self.subject)


def parse_filter(text: str, subject: Subject = SPEECH) -> Filter:
    """Parse a condition.

    Raises:
        ConfigurationError: The text is no SQL expression, or reads no column, a number of rows, or another table.
    """
    try:
        expression = pl.sql_expr(text)
    except pl.exceptions.PolarsError as error:
        raise _filter_error(text, _first_line(error), subject) from error
    for leaf in _leaves(expression):
        if not (leaf.meta.is_column() or leaf.meta.is_literal()):
            raise _filter_error(text, f"{leaf} {_CROSS_ROW}", subject)
    columns = tuple(dict.fromkeys(expression.meta.root_names()))
    if not columns:
        raise _filter_error(text, "it names no column", subject)
    return Filter(text, expression, columns, subject)


def _leaves(expression: pl.Expr) -> Iterator[pl.Expr]:
    pieces = expression.meta.pop()
    if not pieces:
        yield expression
    for piece in pieces:
        yield from _leaves(piece)


def _find_cross_row(expression: pl.Expr, table: pl.LazyFrame) -> str | None:
    """Return the piece of an expression that is not decided row by row; None if every piece is."""
    cross_row = next(filter(None, (_find_cross_row(piece, table) for piece in expression.meta.pop())), None)
    if cross_row is None and expression.meta.root_names() and not _is_elementwise(expression, table):
        return str(expression)
    return cross_row


def _is_elementwise(expression: pl.Expr, table: pl.LazyFrame) -> bool:
    # Only Polars 2 can tell whether an expression is elementwise. But in both, the plan pushes a filter below a concat
    # only if the result stays the same.
    try:
        return _is_pushed_down(pl.concat([table, table]).filter(expression.is_null()))
    except _POLARS_ERRORS:  # of types that match only in the whole condition
        return True


def _is_pushed_down(filtered: pl.LazyFrame) -> bool:
    return not filtered.explain().startswith("FILTER")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]


def _filter_error(text: str, reason: str, subject: Subject) -> ConfigurationError:
    return ConfigurationError(
        f"`where={text!r}` cannot be used: {reason}", hint=f'give one condition in SQL, such as "{subject.example}"'
    )


def _types(table: pa.Table) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in table.schema)
