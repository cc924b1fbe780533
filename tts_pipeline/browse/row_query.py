"""Parse a query for rows (filter, order and page) from an untrusted URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import polars as pl

from tts_pipeline.errors import ConfigurationError

MAX_PAGE_ROWS = 500
"""The most rows of one page."""

NO_VALUE = "-"
"""Selects rows without a voice, a language or a flag."""

ANY_FLAG = "*"
"""Selects rows with any flag."""

SORT_KEYS: Mapping[str, pl.Expr] = {
    **{name: pl.col(name) for name in ("utterance_id", "text", "voice", "language", "duration_ms", "attempts")},
    "characters": pl.col("characters_billed"),
    # Polars 2.1 sorts a million decimals in 22 s, floats in 0.1 s; floats serve the order only.
    "cost": pl.col("cost").cast(pl.Float64),
    "flags": pl.col("quality").list.len(),
}
_CHOICE_COLUMNS = ("voice", "language", "error_code")
_RANGE_COLUMNS: Mapping[str, pl.Expr] = {"seconds": pl.col("duration_ms") / 1_000, "cost": SORT_KEYS["cost"]}


@dataclass(frozen=True, slots=True)
class RowQuery:
    """The rows of a page: conditions, order, offset and limit.

    Conditions are pairs of a known name and a text that is not empty, as in the URL. ``sort`` is a name of
    ``SORT_KEYS``; None is the order of the dataset. Nulls are always last.
    """

    conditions: tuple[tuple[str, str], ...] = ()
    sort: str | None = None
    descending: bool = False
    offset: int = 0
    limit: int = 100

    @property
    def is_unfiltered(self) -> bool:
        """Whether the query selects all rows, in the order of the dataset."""
        return not self.conditions and self.sort is None

    def condition(self) -> pl.Expr:
        """Return the condition of all selected rows."""
        return pl.all_horizontal(pl.lit(True), *(_condition(name, text) for name, text in self.conditions))


def parse_row_query(query: Mapping[str, str]) -> RowQuery:
    """Parse the query of a URL: ``q``, ``status``, ``voice``, ``seconds_from``, ``sort=-cost``, ``offset``, ..."""
    sort = query.get("sort", "")
    if sort.removeprefix("-") not in {"", *SORT_KEYS}:
        raise ConfigurationError(f"rows cannot be sorted by {sort!r}", hint=f"sort by one of {', '.join(SORT_KEYS)}")
    row_query = RowQuery(
        conditions=tuple((name, query[name]) for name in _CONDITION_NAMES if query.get(name)),
        sort=sort.removeprefix("-") or None,
        descending=sort.startswith("-"),
        offset=_whole_number(query, "offset", 0),
        limit=min(MAX_PAGE_ROWS, _whole_number(query, "limit", 100)),
    )
    row_query.condition()
    return row_query


_CONDITION_NAMES = (
    "q",
    "status",
    *_CHOICE_COLUMNS,
    "flag",
    *(f"{name}_{end}" for name in _RANGE_COLUMNS for end in ("from", "to")),
)


def _condition(name: str, text: str) -> pl.Expr:
    if name == "q":
        return _search(text)
    if name == "status":
        is_reject = pl.col("error_code").is_not_null()
        return is_reject if text == "reject" else ~is_reject
    if name == "flag":
        return _has_flag(text)
    if name in _CHOICE_COLUMNS:
        return pl.col(name).is_null() if text == NO_VALUE else pl.col(name) == text
    column, _, end = name.rpartition("_")
    return (
        _RANGE_COLUMNS[column] >= _number(name, text)
        if end == "from"
        else _RANGE_COLUMNS[column] <= _number(name, text)
    )


def _search(text: str) -> pl.Expr:
    """Find a literal text in any case, in the text, the id or the error message of a row."""
    pattern = f"(?i){pl.escape_regex(text)}"
    matches = (pl.col(name).str.contains(pattern).fill_null(False) for name in ("text", "utterance_id", "message"))
    return pl.any_horizontal(*matches)


def _has_flag(flag: str) -> pl.Expr:
    if flag in {ANY_FLAG, NO_VALUE}:
        return (pl.col("quality").list.len() > 0) == (flag == ANY_FLAG)
    return pl.col("quality").list.contains(flag)


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ConfigurationError(f"{name} must be a number, not {text!r}")
    return number


def _whole_number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        raise ConfigurationError(f"{name} must be a whole number, not {text!r}")
    return int(text)
