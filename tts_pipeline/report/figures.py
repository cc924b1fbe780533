"""Turn groups of facts into the rows of a report: counts, money, waste, savings, hours and unit costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import polars as pl

from tts_pipeline.models import HOUR_MS
from tts_pipeline.report.facts import MEASURES, add_up

GROUPS = {name: pl.col(name) for name in ("outcome", "is_open", "is_correction", "currency")}
"""What facts are grouped by for every report, beside its own keys."""

SAVINGS = ("saved_rows", "saved_characters", "saved")
"""Measures of reused audio: rows that cost nothing, their characters, and what these would have cost."""

_OUTCOMES = ("succeeded", "discarded", "failed", "unknown")
_WASTED = tuple(f"wasted_{name}" for name in ("failed", "discarded", "retaken", "unknown"))
_IS_KNOWN = pl.col("cost_upper_bound").is_not_null()
_UNIT_CHARACTERS = 10_000
_SAVED = {
    "saved_rows": pl.col("saved_rows").fill_null(0),
    "saved": pl.when(pl.col("saved_rows").is_null() & _IS_KNOWN).then(0).otherwise(pl.col("saved")),
}
"""Groups with savings say 0 where nothing was saved; without a group of savings, nobody looked."""

_MONEY = pl.Decimal(38, 9)


def group_facts(facts: pl.LazyFrame, keys: Mapping[str, pl.Expr], measures: Collection[str] = MEASURES) -> pl.LazyFrame:
    """Add facts up to groups, which ``sum_groups`` takes, by ``keys`` and by what every report needs."""
    return add_up(facts, {**keys, **GROUPS}, measures)


def sum_groups(groups: pl.LazyFrame, by: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    """Add groups up to the rows of ``usage_report``, sorted by ``by`` and the currency.

    The columns of savings are null if the groups lack them.
    """
    has_savings = "saved" in groups.collect_schema()
    none = {"saved_rows": pl.lit(None, pl.Int64), "saved": pl.lit(None, _MONEY)}
    sums = (
        (groups if has_savings else groups.with_columns(**none))
        .group_by(*(expression.alias(name) for name, expression in by.items()), pl.col("currency"))
        .agg(
            _sum("requests"),
            *(_sum("requests", pl.col("outcome") == outcome).alias(outcome) for outcome in _OUTCOMES),
            _sum("retries"),
            _sum("characters_billed"),
            _sum("characters_upper_bound"),
            _money("cost"),
            _money("cost_upper_bound"),
            _sum("without_cost").alias("requests_without_cost"),
            *(_sum(name) for name in ("open_parts", "implausible")),
            _money("cost_in_question"),
            _money("list_cost"),
            _sum("mismatches"),
            *(_money(name) for name in ("saved_rows", "saved")),
            *(_wasted(outcome, "cost_upper_bound") for outcome in ("failed", "unknown")),
            _wasted("discarded", "cost"),
            _sum("retaken_cost").alias("wasted_retaken"),
            _sum("requests", pl.col("is_correction")).alias("corrections"),
            _money("cost", pl.col("is_correction")).alias("correction_cost"),
            _money("cost", pl.col("outcome") == "settled").alias("settled_cost"),
            *(_money(name) for name in ("cost_at_list", "characters_priced", "audio_ms")),
            _sum("without_audio_ms"),
        )
    )
    return (
        sums.with_columns(pl.col("wasted_discarded") - pl.col("wasted_retaken"))
        .with_columns(wasted_retaken=pl.when(pl.col("wasted_discarded").is_not_null()).then("wasted_retaken"))
        .with_columns(pl.when(_IS_KNOWN).then(pl.col(name)).alias(name) for name in _WASTED)
        .with_columns(
            wasted=pl.sum_horizontal(_WASTED, ignore_nulls=False),
            **(_SAVED if has_savings else {}),
            audio_hours=pl.when((pl.col("succeeded") == 0) | pl.col("audio_ms").is_not_null()).then(
                (pl.col("audio_ms").fill_null(0) / HOUR_MS).round(6)
            ),
            cost_per_hour=_ratio("cost", HOUR_MS, pl.when(pl.col("without_audio_ms") == 0).then(pl.col("audio_ms"))),
            cost_per_10k_characters=_ratio("cost", _UNIT_CHARACTERS, pl.col("characters_priced")),
            effective_rate=_ratio("cost_at_list", 1, pl.col("list_cost")).cast(pl.Float64).round(6),
        )
        .select(*by, *COLUMNS, "currency")
        .sort(*by, "currency", nulls_last=True)
    )


COLUMNS = (
    *("requests", *_OUTCOMES, "retries", "characters_billed", "characters_upper_bound", "cost", "cost_upper_bound"),
    *("requests_without_cost", "open_parts", "implausible", "cost_in_question", "mismatches"),
    *("list_cost", "effective_rate", "wasted", *_WASTED, "saved_rows", "saved", "audio_hours", "cost_per_hour"),
    *("cost_per_10k_characters", "corrections", "correction_cost", "settled_cost"),
)
"""The columns of ``usage_report`` between its keys and ``currency``."""


def _sum(name: str, among: pl.Expr | None = None) -> pl.Expr:
    """Add up a measure; null adds nothing, and without any value the sum is 0."""
    values = pl.col(name) if among is None else pl.when(among).then(pl.col(name))
    return values.sum().alias(name)


def _money(name: str, among: pl.Expr | None = None) -> pl.Expr:
    """Add up a measure; without any value the sum is null, because an unknown cost is not 0."""
    values = pl.col(name) if among is None else pl.when(among).then(pl.col(name))
    return pl.when(values.count() > 0).then(values.sum()).alias(name)


def _wasted(outcome: str, amount: str) -> pl.Expr:
    """Add up what requests of an outcome cost; 0 without such requests, null if no amount of theirs is known."""
    is_meant = (pl.col("outcome") == outcome) & ~pl.col("is_open")
    amounts, requests = (pl.when(is_meant).then(pl.col(name)) for name in (amount, "requests"))
    return pl.when((amounts.count() > 0) | (requests.sum() == 0)).then(amounts.sum()).alias(f"wasted_{outcome}")


def _ratio(amount: str, unit: int, quantity: pl.Expr) -> pl.Expr:
    """Return an amount for each unit of a quantity; null if either is not known, or the quantity is 0."""
    divisor = pl.when(quantity > 0).then(quantity).cast(_MONEY)
    return (pl.col(amount) * unit / divisor).cast(_MONEY)
