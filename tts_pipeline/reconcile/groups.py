"""Compare days and months as wholes: which one a time is in, and what moved from one to another."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tts_pipeline.reconcile.attempts import NANO, bucket_of
from tts_pipeline.reconcile.comparison import sum_ours, sum_theirs
from tts_pipeline.reconcile.layout import Layout

_ONE_SIDED = ("only_ours", "only_theirs", "wrong_quantity", "wrong_price")
"""Kinds of differences that a counterpart elsewhere may explain."""


_KEYS = ["level", "day", "model", "currency", "label", "foreign", "charge_key"]


@dataclass(frozen=True, slots=True)
class GroupMatch:
    """What ``match_groups`` found.

    Args:
        pairs: As ``name_differences`` takes them, with ``bucket``: the number of a group.
        left: The attempts that are in no group.
        members: ``attempt_id`` and ``currency`` of the others, and their ``bucket``.
        buckets: What each ``bucket`` is: ``level``, ``day`` (its first), ``model``, ``currency``, ``label`` and
            ``foreign``.
        has_models: Whether the lines name models; else all models of a day are one group.
    """

    pairs: pl.DataFrame
    left: pl.DataFrame
    members: pl.DataFrame
    buckets: pl.DataFrame
    has_models: bool


def match_groups(attempts: pl.DataFrame, lines: pl.DataFrame, layout: Layout) -> GroupMatch:
    """Compare the lines without a request id with the attempts of their days or months.

    In an invoice by request such lines are credits and roundings: only what was settled for them is compared with them.
    """
    is_by_request = layout.level == "request"
    charge = pl.col("charge") if is_by_request else pl.lit("usage")
    level = pl.lit("month" if layout.level == "month" else "day")
    lines = (
        lines.filter(pl.col("request_id").is_null())
        .with_columns(
            level=pl.when(pl.col("level") == "month").then("level").otherwise(pl.lit("day")),
            foreign=pl.when("is_foreign").then("account"),
            charge_key=charge,
        )
        .with_columns(day=bucket_of("start", pl.col("level"), layout))
    )
    models = lines.filter(pl.col("charge") == "usage")["model"]
    has_models = not len(models) or models.null_count() < len(models)
    keyed = attempts.filter("is_here").with_columns(
        level=level,
        day=bucket_of("start", level, layout),
        model=pl.col("model") if has_models else pl.lit(None, dtype=pl.String),
        charge_key=charge,
    )
    if is_by_request:
        keyed = keyed.join(lines.select(_KEYS).unique(), on=_KEYS, how="semi", nulls_equal=True)
    attempt = ["attempt_id", "currency"]
    pairs = (
        sum_theirs(lines, _KEYS)
        .join(sum_ours(keyed, _KEYS), on=_KEYS, how="full", coalesce=True, nulls_equal=True)
        .sort(_KEYS)
        .with_row_index("bucket")
        .with_columns(
            pl.col("bucket").cast(pl.Int64),
            request_id=pl.lit(None, dtype=pl.String),
            attempt_id=pl.lit(None, dtype=pl.String),
            is_dated=pl.lit(value=False),
        )
    )
    return GroupMatch(
        pairs,
        attempts.join(keyed.select(attempt), on=attempt, how="anti", nulls_equal=True),
        keyed.join(pairs.select(*_KEYS, "bucket"), on=_KEYS, nulls_equal=True).select(*attempt, "bucket"),
        pairs.select("level", "day", "model", "currency", "label", "foreign", "bucket"),
        has_models,
    )


def name_shifts(pairs: pl.DataFrame, attempts: pl.DataFrame) -> pl.DataFrame:
    """Name differences of groups that cancel each other: another day, another account, another currency."""
    pairs = pairs.with_columns(gap=pl.col("theirs_q") - pl.col("ours_q"))
    pairs = _across(pairs, "foreign_account", ["day", "model", "currency"], ["rest"])
    currencies = attempts.filter(~pl.col("was_settled"))["currency"].drop_nulls().unique()
    is_abroad = ~pl.col("currency").is_in(currencies.implode()) & (pl.col("kind") == "only_theirs")
    is_abroad &= pl.lit(bool(len(currencies)))
    pairs = pairs.with_columns(
        pl.when(is_abroad).then(pl.lit("other_currency")).otherwise(name).alias(name) for name in ("kind", "step")
    )
    pairs = _across(pairs, "other_currency", ["day", "model"], [])
    pairs = _balanced(pairs)
    return _paired(pairs)


def _across(pairs: pl.DataFrame, kind: str, keys: list[str], equal: list[str]) -> pl.DataFrame:
    """Give a kind to the difference that lacks what a line of that kind has."""
    lines = pairs.filter((pl.col("kind") == kind) & ~pl.col("has_ours"))
    if not lines.height:
        return pairs
    # Equal amounts, or the same quantity in another currency.
    wanted = lines.select(*keys, *(pl.col(name).alias(f"their_{name}") for name in ("rest", "theirs_q")))
    lacking = (
        pairs.with_row_index("at")
        .filter(pl.col("kind").is_in(_ONE_SIDED), pl.col("rest") < 0)
        .join(wanted, on=keys, nulls_equal=True)
        .filter(
            (pl.col("rest") + pl.col("their_rest") == 0)
            if equal
            else (
                pl.col("their_theirs_q").is_null()
                | (pl.col("theirs_q").fill_null(0) + pl.col("their_theirs_q") == pl.col("characters"))
                | (pl.col("theirs_q").fill_null(0) + pl.col("their_theirs_q") == pl.col("tokens"))
            )
        )["at"]
        .unique()
    )
    is_lacking = pl.int_range(pl.len()).is_in(lacking.implode())
    return pairs.with_columns(
        pl.when(is_lacking).then(pl.lit(kind)).otherwise(name).alias(name) for name in ("kind", "step")
    )


def _balanced(pairs: pl.DataFrame) -> pl.DataFrame:
    """Name the differences of a model that add up to nothing over all days: what moved to another day."""
    keys = ["model", "currency", "label", "foreign"]
    is_open = pl.col("step").is_in(_ONE_SIDED) & (pl.col("rest") != 0)
    total = pl.when(is_open).then("rest").otherwise(0).sum().over(keys)
    count = is_open.sum().over(keys)
    return _moved(pairs, is_open & (total == 0) & (count > 1))


def _paired(pairs: pl.DataFrame) -> pl.DataFrame:
    """Name two differences of a model that are equal but for their sign."""
    size = pl.col("rest").abs().cast(NANO)
    keys = [pl.col(name) for name in ("model", "currency", "label", "foreign")]
    is_open = pl.col("step").is_in(_ONE_SIDED) & (pl.col("rest") != 0)
    # The k-th gap and the k-th surplus of one size make a pair.
    rank = pl.int_range(pl.len()).over(*keys, size, pl.col("rest") > 0, is_open)
    ranked = pairs.with_columns(size=size, rank=rank, is_open=is_open)
    sides = (
        pl.col("rest")
        .filter(pl.col("is_open"))
        .sign()
        .n_unique()
        .over("model", "currency", "label", "foreign", "size", "rank")
    )
    return _moved(ranked, pl.col("is_open") & (sides == 2)).drop("size", "rank", "is_open")


def _moved(pairs: pl.DataFrame, is_moved: pl.Expr) -> pl.DataFrame:
    return pairs.with_columns(
        pl.when(is_moved).then(pl.lit("wrong_day")).otherwise(name).alias(name) for name in ("kind", "step")
    )
