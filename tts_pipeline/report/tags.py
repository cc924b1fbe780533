"""Tags of usage rows as expressions: a list of entries in Polars 1, a map in Polars 2."""

from __future__ import annotations

import polars as pl

# What Polars 2 makes of a map when it is asked to, and what Polars 1 has already.
_ENTRIES = pl.col("tags").cast(pl.List(pl.Struct({"key": pl.String, "value": pl.String})))


def tag(key: str) -> pl.Expr:
    """Return the value of one tag, row by row; null where a row does not have it."""
    return _ENTRIES.list.filter(pl.element().struct.field("key") == key).list.first().struct.field("value")


def tag_keys() -> pl.Expr:
    """Return the keys of all rows one after another; it is as long as there are tags."""
    return _ENTRIES.explode(empty_as_null=False, keep_nulls=False).struct.field("key")
