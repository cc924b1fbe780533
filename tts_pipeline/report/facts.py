"""Turn usage into facts, which every report adds up: keys to group by, and measures that are sums.

A row of facts stands for one request or for many: usage rows give facts with ``requests`` 1, a ledger's sums give the
same columns. So every report is one grouped sum, in the memory of its groups.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import polars as pl

from tts_pipeline.attempt import RETAKEN, Outcome

TAG_TYPE = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
"""The type of tags in Polars 1; those of Polars 2 are a map, which casts to it."""

MARKS = ("is_open", "is_correction", "is_settlement")
"""Columns that say what a row is: an open part, late usage of a frozen month, or a settlement."""

KEYS = (
    *("started_at", "dataset", "service", "account", "key_id", "model", "voice", "kind", "door", "outcome"),
    *("error_code", "price_id", "price_basis", "currency", "invocation_id", "tags", *MARKS),
)
"""The columns of facts to group by. ``started_at`` of a sum is the beginning of its quarter of an hour."""

_IS_REQUEST = ~pl.col("is_open") & ~pl.col("is_settlement")
_HAS_AUDIO = pl.col("outcome") == Outcome.SUCCEEDED.value


def _count(condition: pl.Expr) -> pl.Expr:
    return condition.cast(pl.Int64)


def _among(condition: pl.Expr, name: str) -> pl.Expr:
    return pl.when(condition).then(pl.col(name))


_DERIVED: Mapping[str, pl.Expr] = {
    "open_parts": _count(pl.col("is_open")),
    "audio_ms": _among(_HAS_AUDIO, "audio_ms"),
    "retaken_cost": _among((pl.col("outcome") == Outcome.DISCARDED.value) & (pl.col("error_code") == RETAKEN), "cost"),
}
"""Measures that follow from the other columns of a usage row, or of a sum."""

_COUNTED: Mapping[str, pl.Expr] = {
    "requests": _count(_IS_REQUEST),
    "retries": _count(pl.col("attempt") > 1),
    "cost_at_list": _among(pl.col("list_cost").is_not_null(), "cost"),
    "characters_priced": _among(pl.col("cost").is_not_null(), "characters_billed"),
    "without_cost": _count(pl.col("cost_upper_bound").is_null() & _IS_REQUEST),
    "without_audio_ms": _count(_HAS_AUDIO & pl.col("audio_ms").is_null()),
    "mismatches": _count(pl.col("characters_reported") != pl.col("characters_counted")),
    "implausible": _count(pl.col("implausible")),
    "cost_in_question": _among(pl.col("implausible"), "cost_upper_bound"),
}
"""Measures of a usage row, which a sum has as numbers."""

_AMOUNTS = (
    *("characters_billed", "characters_upper_bound", "input_tokens", "output_tokens"),
    *("cost", "cost_upper_bound", "list_cost"),
)

MEASURES = (*_AMOUNTS, *_COUNTED, *_DERIVED)
"""The measures of facts; null adds nothing.

``cost_at_list`` is the cost of requests with a list cost, ``characters_priced`` the billed characters of those with a
cost; ``without_cost`` and ``without_audio_ms`` count requests whose cost, or whose audio's length, is not known.
"""


def facts_of(rows: pl.LazyFrame, more: Sequence[str] = ()) -> pl.LazyFrame:
    """Return the facts of usage rows with ``dataset``: ``KEYS``, ``MEASURES`` and ``more`` columns.

    A mark that the rows lack is False.
    """
    known = rows.collect_schema()
    marked = rows.with_columns(pl.lit(value=False).alias(name) for name in MARKS if name not in known)
    return _facts(marked, _COUNTED, more)


def facts_of_sums(sums: pl.LazyFrame) -> pl.LazyFrame:
    """Return the facts of a ledger's sums, see ``scan_sums``."""
    return _facts(sums, {**{name: pl.col(name) for name in _COUNTED}, "mismatches": pl.col("mismatched")})


def _facts(frame: pl.LazyFrame, counted: Mapping[str, pl.Expr], more: Sequence[str] = ()) -> pl.LazyFrame:
    measures = {**counted, **_DERIVED}
    named = (expression.alias(name) for name, expression in measures.items())
    return frame.select(*KEYS, *_AMOUNTS, *named, *more)


def add_up(facts: pl.LazyFrame, by: Mapping[str, pl.Expr], measures: Collection[str] = MEASURES) -> pl.LazyFrame:
    """Add facts up by expressions over their keys; a sum is null if all its values are: unknown is not 0.

    Collect the result with the streaming engine, which needs the memory of the groups.
    """
    sums = [pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name in measures]
    keys = [expression.alias(name) for name, expression in by.items()]
    return facts.group_by(keys).agg(sums) if keys else facts.select(sums)


def tag(key: str) -> pl.Expr:
    """Return the value of a tag for each row; null if a row lacks the tag."""
    entries = pl.col("tags").cast(TAG_TYPE)
    return entries.list.filter(pl.element().struct.field("key") == key).list.first().struct.field("value")


def tag_keys() -> pl.Expr:
    """Return the tag keys of all rows as one column, with one entry per tag of a row."""
    return pl.col("tags").cast(TAG_TYPE).explode(empty_as_null=False, keep_nulls=False).struct.field("key")
