"""Check the voice parameters of rows as in a run, and give the sent values as expressions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import polars as pl

from tts_pipeline.card import Card
from tts_pipeline.catalog.checks import check_column, check_parameters
from tts_pipeline.catalog.value import JsonText, to_json_text
from tts_pipeline.estimates.input_rows import InputRows
from tts_pipeline.models import Parameters, ParameterValue
from tts_pipeline.source.columns import TAKE
from tts_pipeline.source.scan import MAX_DISTINCT
from tts_pipeline.wire.request import is_in_body

JsonByValue = Mapping[Any, str]
"""A column's distinct values -> the values sent, as JSON."""


@dataclass(frozen=True, slots=True)
class RowParameters:
    """The parameters of rows: fixed parameters as sent, and columns, perhaps including ``take``.

    ``json_by_value`` maps the values of each parameter's column to the values sent; None for a column with too many
    values: then the column's values themselves distinguish requests.
    """

    card: Card
    fixed: Parameters
    columns: Mapping[str, str]
    json_by_value: Mapping[str, JsonByValue | None] = field(default_factory=dict)
    unchecked: Collection[str] = ()

    def as_json(self, name: str) -> pl.Expr:
        """Return the value that each row sends for a parameter, as JSON; null if it is unset."""
        fixed = pl.lit(to_json(self.fixed.get(name)), dtype=pl.String)
        if name not in self.columns:
            return fixed
        json_by_value = self.json_by_value[name]
        column = countable(pl.col(self.columns[name]))
        if json_by_value is None:
            return column.cast(pl.String).fill_null(fixed)
        return column.replace_strict(
            list(json_by_value), list(json_by_value.values()), default=None, return_dtype=pl.String
        ).fill_null(fixed)

    def label(self, name: str | None) -> pl.Expr:
        """Return the value that each row sends for a parameter, to group by; null also for a column with too many."""
        is_known = name is not None and self.json_by_value.get(name, {}) is not None
        return self.as_json(name) if is_known and name is not None else pl.lit(None, dtype=pl.String)

    def by_row(self, batch: pl.DataFrame) -> list[tuple[Parameters, int]]:
        """Return the parameters and the take of each row of a batch, as requests have them."""
        varying = [self._values(name, batch[self.columns[name]]) for name in self.json_by_value]
        takes = batch[self.columns[TAKE]].fill_null(0).to_list() if TAKE in self.columns else [0] * batch.height
        row_values = zip(*varying, strict=True) if varying else [()] * batch.height
        return [
            ({**self.fixed, **{name: value for name, value in pairs if value is not None}}, take)
            for pairs, take in zip(row_values, takes, strict=True)
        ]

    def _values(self, name: str, column: pl.Series) -> list[tuple[str, ParameterValue | None]]:
        values, json_by_value = _countable(column).to_list(), self.json_by_value[name]
        wire_values = (
            check_column(self.card, name, Counter(values), self.unchecked, has_fixed_value=name in self.fixed)
            if json_by_value is None
            else {value: from_json(text) for value, text in json_by_value.items()}
        )
        return [(name, wire_values.get(value)) for value in values]

    def identity_columns(self) -> list[pl.Expr]:
        """Return the columns that, with the text, identify a request: varying parameters of the body, and the take."""
        names = [name for name in self.columns if name != TAKE and is_in_body(self.card, name)]
        varying = [self.as_json(name).alias(f"sent {name}") for name in names]
        take = self.columns.get(TAKE)
        return varying if take is None else [*varying, pl.col(take).fill_null(0).alias(TAKE)]


def countable(column: pl.Expr) -> pl.Expr:
    """Return a parameter's column with objects and lists as JSON, so that its values can be counted and looked up."""
    return column.map_batches(_countable)


def _countable(values: pl.Series) -> pl.Series:
    if not values.dtype.is_nested():
        return values
    return pl.Series(values.name, [to_json_text(value) for value in values.to_list()], dtype=pl.String)


def to_json(value: ParameterValue | None) -> str | None:
    """Serialize a value as JSON; None stays None."""
    return None if value is None else orjson.dumps(value).decode()


def from_json(text: str | None) -> Any:
    """Parse the JSON of ``to_json``; None stays None."""
    return None if text is None else orjson.loads(text)


def check_row_parameters(
    input_rows: InputRows, card: Card, parameters: Parameters, columns: Mapping[str, str], unchecked: Collection[str]
) -> RowParameters:
    """Check the parameters of all rows; if columns carry parameters, in one pass over these columns."""
    varying = {name: column for name, column in columns.items() if name != TAKE}
    fixed = check_parameters(card, parameters, unchecked, from_columns=varying)
    counters = {name: _ValueCounter(card, name, unchecked, name in fixed) for name in varying}
    if varying:
        for batch in input_rows.batches(list(dict.fromkeys(varying.values()))):
            for name, counter in counters.items():
                counter.add(batch[varying[name]])
    json_by_value = {name: counter.json_by_value() for name, counter in counters.items()}
    return RowParameters(card, fixed, columns, json_by_value, unchecked)


@dataclass(slots=True)
class _ValueCounter:
    card: Card
    name: str
    unchecked: Collection[str]
    has_fixed_value: bool
    counts: Counter[Any] = field(default_factory=Counter)
    is_complete: bool = True

    def add(self, values: pl.Series) -> None:
        is_nested = values.dtype.is_nested()
        value_counts = _countable(values).value_counts(name="__rows")
        # A value of a nested column is marked as JSON, so that it is not taken for a text.
        self.counts.update(
            {
                JsonText(value) if is_nested and value is not None else value: rows
                for value, rows in value_counts.iter_rows()
            }
        )
        if len(self.counts) > MAX_DISTINCT:
            self._check()
            self.counts.clear()
            self.is_complete = False

    def json_by_value(self) -> JsonByValue | None:
        wire_values = self._check()
        return (
            {value: orjson.dumps(wire_value).decode() for value, wire_value in wire_values.items()}
            if self.is_complete
            else None
        )

    def _check(self) -> dict[Any, ParameterValue]:
        return check_column(self.card, self.name, self.counts, self.unchecked, has_fixed_value=self.has_fixed_value)
