"""Find out what lines are whose request id is none of ours: attempts without an answer, or repeated charges."""

from __future__ import annotations

import polars as pl

from tts_pipeline.reconcile.layout import Layout

_LINE = ["request_id", "currency"]
"""Identifies a charged request."""


def match_unanswered(
    strangers: pl.DataFrame, attempts: pl.DataFrame, layout: Layout, *, by_bound: bool = False
) -> pl.DataFrame:
    """Match charged requests with attempts that never got an answer, and so have no id.

    An attempt of the same model is taken if its characters are the charged ones, else if its bound is the charged
    amount; on the same day before any other. Each attempt is charged once.

    Args:
        strangers: Charged requests that are not ours.
        attempts: Those without a line.
        layout: Its time zone says what a day is.
        by_bound: Match by the bound instead: a charge within it fits, if the invoice has no characters, or the service
            counts them in another way than we.

    Returns:
        ``request_id``, ``currency`` and ``attempt_id`` of the matches.
    """
    day = pl.col("start").dt.convert_time_zone(layout.timezone).dt.date().alias("day")
    candidates = attempts.filter(
        pl.col("request_id").is_null(),
        ~pl.col("is_claim"),
        pl.col("outcome").is_in(["unknown", "failed"]),
        (pl.col("original_bound") > 0) | pl.col("is_unbounded"),
    ).select(
        "attempt_id",
        "model",
        "currency",
        "counted",
        "is_unbounded",
        "start",
        day,
        amount="original_bound",
        most_characters="original_characters",
    )
    charged = (
        strangers.filter(~pl.col("is_foreign"), pl.col("amount") > 0)
        .select(*_LINE, "amount", model="their_model", counted="their_characters", start="line_start")
        .with_columns(day)
    )
    found = []
    for same in ([],) if by_bound else (["counted"], ["amount"]):
        for keys in (["model", "currency", *same, "day"], ["model", "currency", *same]):
            if not candidates.height or not charged.height:
                break
            # The k-th largest amount fits the k-th largest bound, if any order of them fits.
            order = "amount" if by_bound else "start"
            numbered = [
                rows.sort(order, descending=by_bound, maintain_order=True).with_columns(
                    rank=pl.int_range(pl.len()).over(keys)
                )
                for rows in (charged, candidates)
            ]
            pairs = numbered[0].join(numbered[1], on=[*keys, "rank"], suffix="_ours")
            if by_bound:
                pairs = pairs.filter(_fits())
            found.append(pairs.select(*_LINE, "attempt_id"))
            charged = charged.join(pairs, on=_LINE, how="anti")
            candidates = candidates.join(pairs, on="attempt_id", how="anti")
    return pl.concat(found) if found else strangers.head(0).select(*_LINE, attempt_id=pl.lit(None, dtype=pl.String))


def _fits() -> pl.Expr:
    """Return whether a charge is within an attempt's bound, and its characters are none that we would have counted."""
    counts_otherwise = pl.col("most_characters") != pl.col("counted_ours")
    is_within = (pl.col("counted") <= pl.col("most_characters")) & counts_otherwise
    is_possible = pl.col("counted").is_null() | is_within
    return ((pl.col("amount") <= pl.col("amount_ours")) | pl.col("is_unbounded")) & is_possible


def match_claims(strangers: pl.DataFrame, attempts: pl.DataFrame) -> pl.DataFrame:
    """Match charged requests with the bounds of lost journals, each of which stands for many requests.

    Returns:
        ``request_id``, ``currency`` and ``attempt_id`` of the matches: of each model, the first charges that its bounds
        cover together.
    """
    claims = attempts.filter("is_claim", pl.col("original_bound") > 0).sort("start", maintain_order=True)
    by = ["model", "currency"]
    claims = claims.with_columns(covered=pl.col("original_bound").cum_sum().over(by)).select(
        *by, "covered", claim_id="attempt_id"
    )
    charged = (
        strangers.filter(~pl.col("is_foreign"), pl.col("amount") > 0)
        .sort("line_start", maintain_order=True)
        .with_columns(model="their_model")
        .with_columns(covered=pl.col("amount").cum_sum().over(by))
    )
    matched = [
        _cover(charged.filter(model=model, currency=currency), group)
        for (model, currency), group in claims.partition_by(by, as_dict=True).items()
    ]
    empty = strangers.head(0).select(*_LINE, attempt_id=pl.lit(None, dtype=pl.String))
    return pl.concat([empty, *matched])


def _cover(charged: pl.DataFrame, claims: pl.DataFrame) -> pl.DataFrame:
    place = claims["covered"].search_sorted(charged["covered"], side="left")
    covered = charged.with_columns(place=place.cast(pl.Int64)).filter(pl.col("place") < claims.height)
    return covered.select(*_LINE, attempt_id=claims["claim_id"].gather(covered["place"]))


def match_doubles(strangers: pl.DataFrame, pairs: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Match charges under a new id with the one they repeat: of the same model, quantity and amount, at one time.

    Args:
        strangers: Charged requests that are not ours.
        pairs: Charged requests that are ours.
        layout: Its tolerance of time says what one time is.

    Returns:
        ``request_id`` and ``currency`` of the repetitions, and ``repeats``: the id of what they repeat.
    """
    keys = ["their_model", "currency", "amount", "their_characters", "their_tokens"]

    def keyed(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(
            pl.col("their_model").fill_null(""), pl.col("their_characters", "their_tokens").fill_null(-1)
        ).sort("line_start")

    repeated = keyed(pairs.filter(pl.col("request_id").is_not_null(), pl.col("amount") > 0))
    found = keyed(strangers.filter(~pl.col("is_foreign"))).join_asof(
        repeated.select(*keys, "line_start", repeats="request_id"),
        on="line_start",
        by=keys,
        strategy="nearest",
        tolerance=f"{layout.tolerance.time_s}s",
        check_sortedness=False,
    )
    return found.filter(pl.col("repeats").is_not_null()).select(*_LINE, "repeats")
