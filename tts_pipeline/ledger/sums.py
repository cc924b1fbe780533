"""Add usage rows up by quarter hour and all columns of few values: a report over months then reads few rows."""

from __future__ import annotations

import polars as pl

from tts_pipeline.schema import usage_schema

STEP = "15m"
"""The length of a sum: the offsets of all time zones in use are whole quarters of an hour, so that days can be cut."""

STEP_US = 900_000_000

KEYS = (
    "started_at",
    "dataset_id",
    "service",
    "account",
    "key_id",
    "model",
    "voice",
    "kind",
    "door",
    "outcome",
    "error_code",
    "price_id",
    "price_basis",
    "currency",
    "invocation_id",
    "tags",
)
COUNTS = (
    "requests",
    "retries",
    "characters_counted",
    "characters_reported",
    "characters_billed",
    "characters_priced",
    "characters_upper_bound",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "audio_ms",
    "without_audio_ms",
    "without_cost",
    "implausible",
    "mismatched",
)
MONEY = ("cost", "cost_upper_bound", "list_cost", "cost_at_list", "cost_in_question")
"""Amounts, null where no row has one."""

MEASURES = (*COUNTS, *MONEY)

_SUM_MONEY = pl.Decimal(38, 9)


def as_sums(rows: pl.LazyFrame, more: tuple[str, ...] = ()) -> pl.LazyFrame:
    """Return each usage row as a sum of one: the columns ``KEYS``, ``MEASURES`` and ``more``.

    ``retries`` counts requests that were not the first of their segment; ``without_cost`` those whose cost has no known
    bound, ``without_audio_ms`` successes whose length is not known; ``mismatched`` those whose reported characters are
    not ours; ``cost_in_question`` is the possible cost of ``implausible`` ones; ``characters_priced`` are the billed
    characters of requests with a cost, and ``cost_at_list`` the cost of those with a list cost. ``started_at`` is the
    beginning of a quarter hour. A settlement is no request.
    """
    is_request = pl.col("outcome") != "settled"
    money = {
        "cost_at_list": pl.when(pl.col("list_cost").is_not_null()).then(pl.col("cost")),
        "cost_in_question": pl.when(pl.col("implausible")).then(pl.col("cost_upper_bound")),
    }
    counts = {
        "requests": is_request,
        "retries": pl.col("attempt") > 1,
        "characters_priced": pl.when(pl.col("cost").is_not_null()).then(pl.col("characters_billed")),
        "without_audio_ms": (pl.col("outcome") == "succeeded") & pl.col("audio_ms").is_null(),
        "without_cost": pl.col("cost_upper_bound").is_null() & is_request,
        "implausible": pl.col("implausible"),
        "mismatched": pl.col("characters_reported") != pl.col("characters_counted"),
    }
    return rows.select(
        pl.col("started_at").dt.truncate(STEP),
        *KEYS[1:],
        *(counts.get(name, pl.col(name)).cast(pl.Int64).fill_null(0).alias(name) for name in COUNTS),
        *(money.get(name, pl.col(name)).cast(_SUM_MONEY).alias(name) for name in MONEY),
        *more,
    )


def add_up(sums: pl.LazyFrame, more: tuple[str, ...] = ()) -> pl.LazyFrame:
    """Add sums up that have equal keys."""
    amounts = [pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name in MONEY]
    return sums.group_by(*KEYS, *more).agg(pl.col(*COUNTS).sum(), *amounts).select(*KEYS, *MEASURES, *more)


def negative(sums: pl.LazyFrame) -> pl.LazyFrame:
    """Return sums that take others away when both are added up."""
    return sums.with_columns(
        *((pl.lit(0) - pl.col(name)).alias(name) for name in COUNTS),
        *((pl.lit(0).cast(_SUM_MONEY) - pl.col(name)).cast(_SUM_MONEY).alias(name) for name in MONEY),
    )


def sums_schema() -> pl.Schema:
    """Return the columns of a table of sums."""
    usage = pl.Schema(usage_schema())
    keys = {name: usage.get(name, pl.String()) for name in KEYS}
    return pl.Schema({**keys, **dict.fromkeys(COUNTS, pl.Int64()), **dict.fromkeys(MONEY, _SUM_MONEY)})
