"""Bring the usage into the form in which it is compared: one row per request, earlier settlements included."""

from __future__ import annotations

import polars as pl

from tts_pipeline.periods import Period
from tts_pipeline.reconcile.invoice import INSTANT, MONEY
from tts_pipeline.reconcile.layout import Layout

SETTLED = "settled"
"""The outcome of a row that an invoice added."""

SETTLED_PREFIX = f"{SETTLED}-"
"""Begins the attempt id of such a row; the settled attempt's id follows."""

ADJUSTMENTS = ("credit", "rounding")
"""What an invoice charges beside usage."""

NANO = pl.Int128
"""Amounts are compared as whole numbers of 1e-9 of their currency."""


def is_within(name: str, period: Period) -> pl.Expr:
    """Return whether a column of times is in a period, which has an end."""
    return pl.col(name).is_between(pl.lit(period.start, INSTANT), pl.lit(period.end, INSTANT), closed="left")


def nano(name: str) -> pl.Expr:
    """Return a column of amounts as whole numbers of 1e-9; an unknown amount is 0."""
    return pl.col(name).cast(MONEY).to_physical().cast(NANO).fill_null(0)


def bucket_of(name: str, level: pl.Expr, layout: Layout) -> pl.Expr:
    """Return the start of the day or the month, in the layout's time zone, of a column of times."""
    day = pl.col(name).dt.convert_time_zone(layout.timezone).dt.date()
    return pl.when(level == "month").then(day.dt.truncate("1mo")).otherwise(day)


def compared_usage(usage: pl.LazyFrame, layout: Layout) -> pl.LazyFrame:
    """Return the usage that an invoice of this layout covers, with ``label``: what the layout calls its account.

    Earlier settlements of accounts that are not ours are included; their ``foreign`` is the account.
    """
    known = usage.collect_schema().names()
    absent = [name for name in ("key_id", "list_cost") if name not in known]  # usage of earlier versions
    kinds = {"key_id": pl.String(), "list_cost": MONEY}
    rows = usage.with_columns(pl.lit(None, dtype=kinds[name]).alias(name) for name in absent)
    if layout.services:
        rows = rows.filter(pl.col("service").is_in(layout.services))
    ours = sorted(set(layout.accounts.values()))
    settled = pl.col("outcome") == SETTLED
    if not ours:
        return rows.with_columns(
            label=pl.lit(None, dtype=pl.String),
            foreign=pl.when(settled & (pl.col("error_code") == "foreign_account")).then("account"),
        )
    label = pl.coalesce(*(pl.when(pl.col(name).is_in(ours)).then(name) for name in ("account", "key_id")))
    return (
        rows.with_columns(label=label)
        .filter(pl.col("label").is_not_null() | settled)
        .with_columns(foreign=pl.when(pl.col("label").is_null()).then("account"))
    )


def collect_attempts(usage: pl.LazyFrame, lines: pl.DataFrame, layout: Layout, period: Period) -> pl.DataFrame:
    """Return the requests that an invoice may name: those of the period, and those of other days whose id it has.

    If no line has an id, the requests of a day and a price whose cost is certain are one row.

    Returns:
        A row per request and currency, whose amounts (``cost``, ``bound``, ``listed``, in 1e-9) and counts include its
        earlier settlements, of rows of the period only: ``attempt_id`` (of the first row), ``request_id``, ``start``,
        ``finish``, ``model``, ``label``, ``foreign``, ``currency`` (the invoice's where the usage has no price),
        ``outcome``, ``charge`` (what was settled without a request, else usage), ``is_here`` (sent in the period),
        ``was_settled``, ``characters``, ``counted``, ``characters_bound``, ``tokens``, ``is_unbounded``, ``price_id``,
        ``original_bound`` and ``original_characters`` (the bounds before settlements), ``is_claim`` (it stands for all
        requests of a lost journal).
    """
    here = usage.filter(is_within("started_at", period)).with_columns(is_here=True)
    ids = lines.select("request_id").drop_nulls().unique()
    if ids.height:
        elsewhere = usage.filter(~is_within("started_at", period)).join(ids.lazy(), on="request_id", how="semi")
        rows = pl.concat([here, elsewhere.with_columns(is_here=False)]).select(_columns()).collect()
    else:
        requests = here.select(_columns())
        is_closed = (pl.col("cost") == pl.col("bound")) & ~(pl.col("is_unbounded") | pl.col("was_settled"))
        parts = [_added_up(requests.filter(is_closed), layout), requests.filter(~is_closed)]
        rows = pl.concat([part.collect(engine="streaming") for part in parts], how="diagonal")
    main = lines["currency"].mode().sort().first() if lines.height else None
    currencies = lines.group_by("request_id").agg(line_currency=pl.col("currency").first())
    if rows["currency"].null_count():
        rows = rows.join(currencies, on="request_id", how="left").with_columns(
            currency=pl.coalesce("currency", "line_currency", pl.lit(main, dtype=pl.String))
        )
    # Attempts with one id are one request only where a line has the id: in a coarse invoice each has its own day.
    is_named = pl.col("request_id").is_in(ids["request_id"].implode()).fill_null(value=False)
    is_repeated = is_named & pl.struct("request_id", "currency").is_duplicated()
    if rows["was_settled"].any():
        rows = _grouped(rows.with_columns(key=pl.col("attempt_id").str.strip_prefix(SETTLED_PREFIX)), "key")
    else:
        rows = rows.with_columns(_only_here())
    repeated = rows.filter(is_repeated)
    if repeated.height:
        rows = pl.concat([rows.filter(~is_repeated), _grouped(repeated, "request_id")], how="diagonal")
    return rows.with_columns(charge=pl.col("charge").fill_null("usage"))


def _columns() -> list[pl.Expr]:
    """Return the columns of a request, but for ``original_*`` of a settled one."""
    is_settled = pl.col("outcome") == SETTLED
    bound, characters = nano("cost_upper_bound"), pl.col("characters_upper_bound")
    return [
        *map(pl.col, ("attempt_id", "request_id", "label", "foreign", "outcome", "price_id", "is_here", "currency")),
        pl.col("started_at").alias("start"),
        pl.coalesce("finished_at", "started_at").alias("finish"),
        pl.when(pl.col("model") != "").then("model").alias("model"),
        pl.when(is_settled & pl.col("error_code").is_in(ADJUSTMENTS)).then("error_code").alias("charge"),
        is_settled.alias("was_settled"),
        nano("cost"),
        bound.alias("bound"),
        nano("list_cost").alias("listed"),
        (pl.col("cost_upper_bound").is_null() & ~is_settled).alias("is_unbounded"),
        pl.col("characters_billed").alias("characters"),
        pl.col("characters_counted").alias("counted"),
        ((pl.col("outcome") == "unknown") & pl.col("utterance_id").is_null()).alias("is_claim"),
        characters.alias("characters_bound"),
        (pl.col("input_tokens").fill_null(0) + pl.col("output_tokens").fill_null(0)).alias("tokens"),
        pl.when(~is_settled).then(bound).otherwise(0).alias("original_bound"),
        pl.when(~is_settled).then(characters).otherwise(0).alias("original_characters"),
        pl.lit(1, dtype=pl.Int64).alias("rows"),
    ]


def _added_up(rows: pl.LazyFrame, layout: Layout) -> pl.LazyFrame:
    """Add up the requests of each day and price, whose cost is certain: nobody compares them one by one."""
    keys = (
        "label",
        "foreign",
        "outcome",
        "price_id",
        "is_here",
        "currency",
        "model",
        "charge",
        "was_settled",
        "is_claim",
    )
    return (
        rows.group_by(*keys, "is_unbounded", bucket_of("start", pl.lit("day"), layout).alias("day"))
        .agg(
            pl.col("attempt_id").min(),
            pl.lit(None, dtype=pl.String).alias("request_id"),
            pl.col("start").min(),
            pl.col("finish").max(),
            pl.col(*_SUMS, "rows").sum(),
        )
        .drop("day")
    )


_SUMS = (
    "cost",
    "bound",
    "listed",
    "characters",
    "counted",
    "characters_bound",
    "tokens",
    "original_bound",
    "original_characters",
)


def _only_here() -> list[pl.Expr]:
    """Return the figures, which count in the period only."""
    return [pl.when("is_here").then(name).otherwise(0).alias(name) for name in _SUMS]


def _grouped(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Add up the rows of each key and currency; the attempt, or the first one of the period, describes them."""
    once = (
        "attempt_id",
        "label",
        "foreign",
        "outcome",
        "price_id",
        "start",
        "finish",
        "model",
        "charge",
        "is_here",
        "is_claim",
    )
    return (
        rows.with_columns(_only_here())
        .sort(*(["was_settled"] if key != "request_id" else [~pl.col("is_here"), "start"]), maintain_order=True)
        .group_by(key, "currency", maintain_order=True)
        .agg(
            *(pl.col(name).first() for name in once),
            *([] if key == "request_id" else [pl.col("request_id").drop_nulls().first()]),
            pl.col(*_SUMS, "rows").sum(),
            pl.col("was_settled", "is_unbounded").any(),
        )
        .with_columns(pl.col("attempt_id").str.strip_prefix(SETTLED_PREFIX))
        .drop([] if key == "request_id" else [key])
    )
