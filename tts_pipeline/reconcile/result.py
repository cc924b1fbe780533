"""What a reconciliation finds: its differences, and the bridge from our sum to the invoice's."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from tts_pipeline.periods import Period
from tts_pipeline.reconcile.attempts import NANO
from tts_pipeline.reconcile.invoice import MONEY
from tts_pipeline.reconcile.layout import Layout

KINDS = (
    "matched",
    "settled",
    "only_ours",
    "only_theirs",
    "double",
    "wrong_day",
    "wrong_quantity",
    "wrong_price",
    "rounding",
    "credit",
    "other_currency",
    "foreign_account",
)
"""What a difference can be."""

EXPLAINED = (
    "failed",
    "unknown",
    "unpriced",
    "price_day",
    "wrong_day",
    "rounding",
    "credit",
    "foreign_account",
    "other_currency",
)
"""The steps of the bridge that have an explanation, in order."""

UNEXPLAINED = ("double", "only_ours", "only_theirs", "wrong_quantity", "wrong_price")
"""The steps to ask the vendor about, in order."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What was compared.

    Args:
        usage: The compared rows of the usage.
        attempts: As ``collect_attempts`` returns them, with ``bucket``: the number of the day or month in which an
            attempt was compared; null if it was compared alone.
        buckets: What each ``bucket`` is: ``level``, ``day`` (its first), ``model``, ``currency``, ``label`` and
            ``foreign``.
        has_models: Whether lines without a request id name models.
        differences: Those of ``Reconciliation``, with ``bucket``, ``copies`` (the attempt that a line belongs with) and
            ``starts_at``.
    """

    usage: pl.LazyFrame
    layout: Layout
    period: Period
    attempts: pl.DataFrame
    buckets: pl.DataFrame
    has_models: bool
    differences: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result of ``reconcile``.

    Args:
        bridge: A row per currency and step: ``currency``, ``step`` (``confirmed``, those of ``EXPLAINED`` and
            ``UNEXPLAINED`` that occur, ``invoice``), ``differences`` (their number; null for the sums) and ``amount``.
            In each currency the amounts before ``invoice`` add up to it exactly.
        differences: A row per difference: ``kind`` (of ``KINDS``), ``step``, ``line`` (the first) and ``lines`` of the
            invoice, ``request_id``, ``attempt_id``, ``day`` (of the layout's time zone), ``model``, ``account``,
            ``currency``, ``ours`` (what the report has), ``theirs``, ``difference`` (theirs - ours),
            ``ours_quantity``, ``theirs_quantity``, ``measure`` (characters or tokens) and ``note``.
        notes: What is not compared, for people.
        basis: What ``settlements`` needs.
    """

    bridge: pl.DataFrame
    differences: pl.DataFrame
    notes: list[str]
    basis: Basis

    @property
    def unexplained(self) -> dict[str, Decimal]:
        """What no step explains, by currency; zero where all is explained."""
        open_steps = self.bridge.filter(pl.col("step").is_in(UNEXPLAINED))
        totals = open_steps.group_by("currency").agg(pl.col("amount").sum())
        found: dict[str, Decimal] = dict(totals.iter_rows())
        return {
            currency: found.get(currency, Decimal(0))
            for currency in self.bridge["currency"].unique(maintain_order=True)
        }

    @property
    def disputed(self) -> int:
        """The number of differences that no step explains, whatever their sum."""
        return self.differences.filter(pl.col("step").is_in(UNEXPLAINED)).height


_PARTS = ("unpriced", "unknown", "failed")


def differences_of(pairs: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Return the rows of ``Reconciliation.differences``, and ``bucket`` and ``copies``, by which they are settled."""
    is_whole = (pl.col("rest") != 0) | (pl.col("settled") == 0)
    before = pl.lit(value=False)
    frames = []
    for part in _PARTS:
        amount = pl.col(f"settled_{part}")
        # The first part of a difference that is settled as a whole shows our cost.
        base = pl.when(~is_whole & ~before).then("cost").otherwise(0).cast(NANO)
        rows = pairs.filter(amount != 0)
        frames.append(rows.with_columns(kind=pl.lit("settled"), step=pl.lit(part), base=base, part=amount))
        before = before | (amount != 0)
    rest = pairs.filter(is_whole, pl.col("has_theirs") | (pl.col("cost") != 0) | _is_open())
    step = (
        pl.when((pl.col("kind") == "settled") & ~pl.col("has_theirs"))
        .then(pl.when(pl.col("outcome") == "failed").then(pl.lit("failed")).otherwise(pl.lit("unknown")))
        .when((pl.col("kind") == "settled") & ~pl.col("has_ours"))
        .then(pl.lit("unknown"))
        .otherwise("step")
    )
    frames.append(rest.with_columns(step=step, base=pl.col("cost"), part=pl.col("rest")))
    day = pl.coalesce("line_start", "start").dt.convert_time_zone(layout.timezone).dt.date()
    return (
        pl.concat(frames, how="diagonal")
        .select(
            "kind",
            "step",
            "line",
            lines=pl.col("lines").fill_null(0),
            request_id="request_id",
            attempt_id="attempt_id",
            day=pl.coalesce("day", day),
            model=pl.coalesce("model", "their_model"),
            account=pl.coalesce("account", "label"),
            currency="currency",
            ours=money("base"),
            theirs=money(pl.col("base") + pl.col("part")),
            difference=money("part"),
            ours_quantity=pl.when(pl.col("measure") == "tokens").then("tokens").otherwise("characters"),
            theirs_quantity=pl.col("theirs_q").cast(pl.Int64),
            measure=pl.when(pl.col("has_theirs")).then("measure").otherwise(pl.lit("characters")),
            note=_note(),
            bucket="bucket",
            copies=pl.coalesce("attempt_id", "copies"),
            starts_at=pl.when(pl.col("is_here").fill_null(value=False))
            .then(pl.coalesce("start", "line_start"))
            .otherwise(pl.coalesce("line_start", "start")),
        )
        .sort("day", "model", "currency", "line", "request_id", "attempt_id", "step", nulls_last=True)
    )


def _is_open() -> pl.Expr:
    return (pl.col("open") > 0) | pl.col("is_unbounded")


def money(nanos: str | pl.Expr) -> pl.Expr:
    """Return a column of whole numbers of 1e-9 as amounts."""
    amount = pl.col(nanos) if isinstance(nanos, str) else nanos
    return amount.cast(MONEY) * Decimal("1e-9")


def _note() -> pl.Expr:
    """Explain a difference where its kind does not say all."""
    sent = pl.col("start").dt.strftime("%Y-%m-%d %H:%M:%S")
    return (
        pl.when(pl.col("repeats").is_not_null() & (pl.col("kind") == "double"))
        .then(pl.format("under a new id: the same as {}", "repeats"))
        .when((pl.col("kind") == "wrong_day") & pl.col("attempt_id").is_not_null())
        .then(pl.format("sent {} UTC", sent))
        .when((pl.col("kind") == "credit") & (pl.col("adjustments") == 0))
        .then(pl.lit("charged at the list price: the credit is missing"))
        .when((pl.col("kind") == "settled") & ~pl.col("has_theirs"))
        .then(pl.lit("not charged"))
        .when(pl.col("step") == "price_day")
        .then(pl.lit("at the price of another day"))
        .when((pl.col("kind") == "wrong_price") & pl.col("theirs_q").is_null())
        .then(pl.lit("the invoice has no quantity: price or quantity"))
    )


def bridge_of(attempts: pl.DataFrame, lines: pl.DataFrame, differences: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of ``Reconciliation.bridge``."""
    nothing = pl.lit(None, dtype=pl.Int64)
    confirmed = (
        attempts.group_by("currency")
        .agg(amount=pl.col("cost").sum())
        .select("currency", step=pl.lit("confirmed"), differences=nothing, amount=money("amount"))
    )
    total = lines.group_by("currency").agg(
        pl.lit("invoice").alias("step"), nothing.alias("differences"), pl.col("amount").sum()
    )
    steps = (
        differences.filter(pl.col("step").is_in([*EXPLAINED, *UNEXPLAINED]))
        .group_by("currency", "step")
        .agg(pl.len().cast(pl.Int64).alias("differences"), pl.col("difference").sum().alias("amount"))
    )
    currencies = pl.concat([confirmed, total]).select("currency").unique()
    ends = pl.concat(
        [
            currencies.join(ends, on="currency", how="left", nulls_equal=True).select(
                "currency", pl.lit(step).alias("step"), "differences", pl.col("amount").fill_null(0)
            )
            for step, ends in (("confirmed", confirmed), ("invoice", total))
        ]
    )
    order = {step: place for place, step in enumerate(("confirmed", *EXPLAINED, *UNEXPLAINED, "invoice"))}
    place = pl.col("step").replace_strict(order, return_dtype=pl.Int64)
    return pl.concat([ends, steps]).sort("currency", place, nulls_last=True)
