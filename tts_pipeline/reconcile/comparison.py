"""Compare what we counted with what an invoice charges, side by side, and name each difference."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tts_pipeline.reconcile.attempts import NANO
from tts_pipeline.reconcile.layout import Layout

OURS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "attempt_id": pl.String(),
    "label": pl.String(),
    "outcome": pl.String(),
    "start": pl.Datetime("us", "UTC"),
    "finish": pl.Datetime("us", "UTC"),
    "is_here": pl.Boolean(),
    "was_settled": pl.Boolean(),
    "rows": pl.Int64(),
    "cost": NANO,
    "listed": NANO,
    "characters": pl.Int64(),
    "characters_bound": pl.Int64(),
    "tokens": pl.Int64(),
    "open_unknown": NANO,
    "open_failed": NANO,
    "is_unpriced": pl.Boolean(),
    "unbounded_unknown": pl.Boolean(),
    "unbounded_failed": pl.Boolean(),
}
"""Our side: requests added up. ``open_*`` is what unknown and failed requests may cost beyond what is confirmed."""

THEIRS: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "line": pl.Int64(),
    "lines": pl.Int64(),
    "amount": NANO,
    "adjusted": NANO,
    "adjustments": pl.Int64(),
    "rounding_lines": pl.Int64(),
    "their_characters": pl.Int64(),
    "their_tokens": pl.Int64(),
    "line_start": pl.Datetime("us", "UTC"),
    "line_end": pl.Datetime("us", "UTC"),
    "their_model": pl.String(),
    "account": pl.String(),
    "is_foreign": pl.Boolean(),
    "repeated": NANO,
}
"""The invoice's side: lines added up. ``adjusted`` is their credits; ``repeated`` is the amount of equal lines beyond
the first of each."""


def blank(columns: Mapping[str, pl.DataType | type[pl.DataType]]) -> list[pl.Expr]:
    """Return columns of nulls."""
    return [pl.lit(None, dtype=kind).alias(name) for name, kind in columns.items()]


def sum_ours(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Add up the attempts of each group; without keys, each attempt is one."""
    beyond = pl.max_horizontal(pl.col("bound") - pl.col("cost"), 0).cast(NANO)
    is_open = {"unknown": pl.col("outcome") == "unknown", "failed": pl.col("outcome") == "failed"}
    rows = rows.with_columns(
        *(pl.when(match).then(beyond).otherwise(0).cast(NANO).alias(f"open_{name}") for name, match in is_open.items()),
        *((pl.col("is_unbounded") & match).alias(f"unbounded_{name}") for name, match in is_open.items()),
        is_unpriced=pl.col("is_unbounded") & ~pl.any_horizontal(*is_open.values()),
    )
    if not keys:
        return rows
    sums = ("cost", "listed", "characters", "characters_bound", "tokens", "open_unknown", "open_failed", "rows")
    first = [name for name in ("attempt_id", "label", "outcome", "start", "finish") if name not in keys]
    any_of = ("is_here", "was_settled", "is_unpriced", "unbounded_unknown", "unbounded_failed")
    return rows.group_by(keys, maintain_order=True).agg(pl.col(first).first(), pl.col(sums).sum(), pl.col(any_of).any())


def sum_theirs(lines: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Add up the lines of each group."""
    is_adjustment = pl.col("charge") != "usage"
    same = [*keys, "charge", "nano", "quantity_characters", "quantity_tokens"]
    is_repeat = pl.lit(value=False)
    if lines.select(keys).is_duplicated().any():
        is_repeat = (pl.int_range(pl.len()).over(same) > 0) & ~is_adjustment & (pl.col("nano") > 0)
    lines = lines.with_columns(repeated=pl.when(is_repeat).then("nano").otherwise(0).cast(NANO))
    return lines.group_by(keys, maintain_order=True).agg(
        pl.col("line").min(),
        pl.len().cast(pl.Int64).alias("lines"),
        pl.col("nano").sum().alias("amount"),
        pl.col("nano").filter(is_adjustment).sum().cast(NANO).alias("adjusted"),
        is_adjustment.sum().cast(pl.Int64).alias("adjustments"),
        (pl.col("charge") == "rounding").sum().cast(pl.Int64).alias("rounding_lines"),
        _known_sum("quantity_characters").alias("their_characters"),
        _known_sum("quantity_tokens").alias("their_tokens"),
        pl.col("start").min().alias("line_start"),
        pl.col("end").max().alias("line_end"),
        pl.col("model").drop_nulls().first().alias("their_model"),
        pl.col("account").drop_nulls().first(),
        pl.col("is_foreign").any(),
        pl.col("repeated").sum(),
    )


def _known_sum(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum())


def name_differences(pairs: pl.DataFrame, prices: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Name the difference of each pair.

    Args:
        pairs: The columns of ``OURS`` and ``THEIRS``; the side that is missing is null.
        prices: Of ``prices_used``.
        layout: Its tolerance says what rounding is.

    Returns:
        The pairs with ``settled`` (by outcome: ``settled_unknown``, ``settled_failed``, ``settled_unpriced``), ``rest``
        (the difference beyond it) and ``kind`` of the rest.
    """
    zero = pl.lit(0).cast(NANO)
    pairs = pairs.with_columns(
        has_ours=pl.col("cost").is_not_null(),
        has_theirs=pl.col("amount").is_not_null(),
    ).with_columns(
        pl.col("cost", "listed", "open_unknown", "open_failed", "amount", "adjusted", "repeated")
        .fill_null(0)
        .cast(NANO),
        pl.col("adjustments", "rounding_lines", "lines", "rows").fill_null(0),
        pl.col("is_unpriced", "unbounded_unknown", "unbounded_failed", "is_foreign", "was_settled").fill_null(
            value=False
        ),
    )
    by_characters = pl.col("their_characters").is_not_null()
    tolerance = layout.tolerance
    pairs = pairs.with_columns(
        measure=pl.when(by_characters)
        .then(pl.lit("characters"))
        .when(pl.col("their_tokens").is_not_null())
        .then(pl.lit("tokens")),
        theirs_q=pl.coalesce("their_characters", "their_tokens").cast(NANO),
        ours_q=pl.when(by_characters).then("characters").otherwise("tokens").cast(NANO),
        most_q=pl.when(by_characters).then("characters_bound").cast(NANO),
        difference=pl.col("amount") - pl.col("cost"),
        open=pl.col("open_unknown") + pl.col("open_failed"),
        is_unbounded=pl.col("is_unpriced") | pl.col("unbounded_unknown") | pl.col("unbounded_failed"),
        margin=pl.max_horizontal(
            pl.max_horizontal("lines", 1).cast(NANO) * int(tolerance.money * 10**9),
            pl.col("cost").abs() * int(tolerance.share * 10**9) // 10**9,
        ),
    )
    pairs = pairs.with_columns(settled=_settled(zero))
    pairs = pairs.with_columns(
        settled_unpriced=pl.when("is_unpriced").then("settled").otherwise(zero),
        settled_unknown=pl.when("is_unpriced")
        .then(zero)
        .when("unbounded_unknown")
        .then("settled")
        .otherwise(pl.min_horizontal("settled", "open_unknown")),
        rest=pl.col("difference") - pl.col("settled"),
    ).with_columns(settled_failed=pl.col("settled") - pl.col("settled_unpriced") - pl.col("settled_unknown"))
    return _with_step(pairs.with_columns(kind=_kind(layout)), prices)


def _settled(zero: pl.Expr) -> pl.Expr:
    """Return which part of a difference is the charge of requests whose outcome or price we did not know."""
    difference, is_open, ours, theirs, most = map(pl.col, ("difference", "open", "ours_q", "theirs_q", "most_q"))
    span = pl.when(most > ours).then(most - ours)
    expected = (is_open * (theirs - ours) * 2 + span) // (span * 2)
    is_near = (difference - expected).abs() <= pl.max_horizontal("margin", pl.col("rows").cast(NANO))
    nothing = (
        ~pl.col("has_ours") | ~pl.col("has_theirs") | pl.col("is_foreign") | ~pl.col("is_here").fill_null(value=True)
    )
    is_double = (pl.col("repeated") != 0) & (difference == pl.col("repeated"))
    return (
        pl.when(nothing | (difference <= 0) | is_double)
        .then(zero)
        .when("is_unbounded")
        .then(difference)
        .when(is_open <= 0)
        .then(zero)
        .when(theirs.is_not_null() & most.is_not_null())
        .then(
            pl.when(theirs <= ours)
            .then(zero)
            .when((theirs <= most) & is_near)
            .then(difference)
            .when(theirs <= most)
            .then(pl.min_horizontal(expected, difference))
            .otherwise(pl.min_horizontal(is_open, difference))
        )
        .when(difference.abs() <= pl.col("margin"))
        .then(zero)
        .otherwise(pl.min_horizontal(is_open, difference))
        .cast(NANO)
    )


def _kind(layout: Layout) -> pl.Expr:
    """Return the kind of the rest of a difference; null if all of it was settled."""
    rest, margin, adjusted = pl.col("rest"), pl.col("margin"), pl.col("adjusted")
    share = int(layout.tolerance.share * 10**9)
    gap = (pl.col("theirs_q") - pl.col("ours_q")).abs()
    other_quantity = (gap > pl.col("ours_q").abs() * share // 10**9).fill_null(value=False)
    was_open = (pl.col("settled") != 0) | pl.col("is_unbounded")
    within_bound = was_open & (pl.col("theirs_q") <= pl.col("most_q")).fill_null(value=True)
    patience = pl.duration(seconds=layout.tolerance.time_s)
    other_day = (
        (pl.col("line_start") - patience > pl.max_horizontal("finish", "start"))
        | (pl.col("line_end") + patience < pl.col("start"))
    ).fill_null(value=False) & pl.col("is_dated")
    at_list_price = (
        (pl.col("listed") != pl.col("cost"))
        & (pl.col("listed") != 0)
        & ((pl.col("amount") - pl.col("listed")).abs() <= margin)
        & (pl.col("adjustments") == 0)
    )
    only_adjusted = (pl.col("adjustments") > 0) & (pl.col("adjustments") == pl.col("lines"))
    one_sided = (
        pl.when("is_foreign")
        .then(pl.lit("foreign_account"))
        .when(only_adjusted & (pl.col("rounding_lines") == pl.col("lines")))
        .then(pl.lit("rounding"))
        .when(only_adjusted)
        .then(pl.lit("credit"))
        .otherwise(pl.lit("only_theirs"))
    )
    return (
        pl.when(~pl.col("has_ours"))
        .then(one_sided)
        .when(~pl.col("has_theirs"))
        .then(pl.when(pl.col("cost") != 0).then(pl.lit("only_ours")).otherwise(pl.lit("settled")))
        .when("is_foreign")
        .then(pl.lit("foreign_account"))
        .when(~pl.col("is_here").fill_null(value=True) & (pl.col("rest") != 0))
        .then(pl.lit("wrong_day"))
        .when((rest == 0) & (pl.col("settled") != 0))
        .then(pl.lit("settled"))
        .when((rest == 0) & other_quantity & ~within_bound)
        .then(pl.lit("wrong_quantity"))
        .when((rest == 0) & other_day)
        .then(pl.lit("wrong_day"))
        .when((rest == 0) & pl.col("was_settled"))
        .then(pl.lit("settled"))
        .when(rest == 0)
        .then(pl.lit("matched"))
        .when((pl.col("repeated") != 0) & (rest == pl.col("repeated")))
        .then(pl.lit("double"))
        .when((adjusted != 0) & (rest == adjusted) & (pl.col("rounding_lines") == pl.col("adjustments")))
        .then(pl.lit("rounding"))
        .when((pl.col("adjustments") > 0) & ((rest == adjusted) | ~other_quantity) & (adjusted <= 0))
        .then(pl.lit("credit"))
        .when(at_list_price & ~other_quantity)
        .then(pl.lit("credit"))
        .when(other_quantity & ~within_bound)
        .then(pl.lit("wrong_quantity"))
        .when(rest.abs() <= margin)
        .then(pl.lit("rounding"))
        .otherwise(pl.lit("wrong_price"))
    )


def prices_used(attempts: pl.DataFrame) -> pl.DataFrame:
    """Return for each model and price a request with many characters, and when the price was first and last used."""
    is_priced = (pl.col("characters") > 0) & (pl.col("cost") > 0) & (pl.col("outcome") != "settled")
    return (
        attempts.filter(is_priced, ~pl.col("was_settled"), pl.col("price_id").is_not_null())
        .group_by("model", "currency", "price_id")
        .agg(
            pl.col("characters").max().cast(NANO).alias("sample_characters"),
            pl.col("cost").sort_by("characters").last().alias("sample_cost"),
            pl.col("start").min().alias("first_used"),
            pl.col("start").max().alias("last_used"),
        )
        .sort("model", "currency", "price_id")
    )


def _with_step(pairs: pl.DataFrame, prices: pl.DataFrame) -> pl.DataFrame:
    """Add ``step``, the place of a difference in the bridge: its kind, or ``price_day`` where another day's price fits.

    A price fits if the amount is the quantity at this price; and for a group, if the amount is between the lowest and
    the highest of the prices that were used within a day of it.
    """
    pairs = pairs.with_row_index("pair").with_columns(step=pl.col("kind"))
    wrong = pairs.filter((pl.col("kind") == "wrong_price") & (pl.col("their_tokens").is_null()) & pl.col("has_ours"))
    if not wrong.height or not prices.height:
        return pairs.drop("pair")
    quantity = pl.coalesce(pl.col("their_characters").cast(NANO), pl.col("characters").cast(NANO))
    amount, sample = pl.col("amount"), pl.col("sample_characters")
    slack = (pl.col("margin") + pl.col("rows").cast(NANO) + 1) * sample
    at_price = pl.col("sample_cost") * quantity
    day = pl.duration(hours=36)
    near = (pl.col("first_used") <= pl.col("finish") + day) & (pl.col("last_used") >= pl.col("start") - day)
    fits = (
        wrong.join(prices, on=["model", "currency"])
        .with_columns(
            is_exact=(amount * sample - at_price).abs() <= slack,
            is_below=near & (at_price <= amount * sample + slack),
            is_above=near & (at_price >= amount * sample - slack),
        )
        .group_by("pair")
        .agg(
            pl.col("is_exact").any(),
            (pl.col("is_below").any() & pl.col("is_above").any()).alias("is_between"),
            pl.col("rows").first(),
        )
        .filter(pl.col("is_exact") | (pl.col("is_between") & (pl.col("rows") > 1)))
    )
    is_price_day = pl.col("pair").is_in(fits["pair"].implode())
    return pairs.with_columns(step=pl.when(is_price_day).then(pl.lit("price_day")).otherwise("step")).drop("pair")
