"""Compare requests one by one: by their ids, and by what else tells of a line whose id is none of ours."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tts_pipeline.reconcile.comparison import OURS, THEIRS, blank, sum_ours, sum_theirs
from tts_pipeline.reconcile.layout import Layout
from tts_pipeline.reconcile.strangers import match_claims, match_doubles, match_unanswered

_ID = ["request_id", "currency"]
_GIVEN = {name: pl.String() for name in ("given_kind", "copies", "repeats")}
"""What another request tells of a line: the kind of its difference, the attempt that it belongs with, and the id of the
charge that it repeats."""


@dataclass(frozen=True, slots=True)
class RequestMatch:
    """``pairs`` as ``name_differences`` takes them, with ``given_kind``; ``left`` are the attempts without a line."""

    pairs: pl.DataFrame
    left: pl.DataFrame


def match_requests(attempts: pl.DataFrame, lines: pl.DataFrame, layout: Layout) -> RequestMatch:
    """Compare the lines that have a request id with the attempts."""
    theirs = sum_theirs(lines.filter(pl.col("request_id").is_not_null()), _ID)
    ours = sum_ours(attempts, [])
    pairs = theirs.join(ours, on=_ID).with_columns(*blank(_GIVEN), is_dated=pl.lit(value=True))
    left = attempts.join(theirs, on=_ID, how="anti")
    strangers = theirs.join(ours, on=_ID, how="anti")
    if not strangers.height:
        return RequestMatch(pairs, left)
    exact = match_unanswered(strangers, left, layout)
    doubles = match_doubles(strangers.join(exact, on=_ID, how="anti"), pairs, layout)
    unnamed = strangers.join(pl.concat([exact, doubles], how="diagonal"), on=_ID, how="anti")
    unanswered = left.join(exact, on="attempt_id", how="anti")
    matches = pl.concat([exact, match_unanswered(unnamed, unanswered, layout, by_bound=True)])
    answered = strangers.join(matches, on=_ID).join(
        sum_ours(left.drop("request_id"), []), on=["attempt_id", "currency"]
    )
    left = left.join(matches, on="attempt_id", how="anti")
    given = _given(strangers.join(matches, on=_ID, how="anti"), doubles, attempts, left)
    found = [pairs, answered.with_columns(*blank(_GIVEN), is_dated=pl.lit(value=False)), given]
    return RequestMatch(pl.concat(found, how="diagonal"), left)


def _given(strangers: pl.DataFrame, doubles: pl.DataFrame, attempts: pl.DataFrame, left: pl.DataFrame) -> pl.DataFrame:
    """Return pairs of the lines without an attempt, with what another request tells of them."""
    by_id = attempts.filter(pl.col("request_id").is_not_null()).unique("request_id", keep="first")
    in_other = strangers.join(by_id.select("request_id", copies="attempt_id"), on="request_id").select(
        *_ID, "copies", given_kind=pl.lit("other_currency")
    )
    repeated = doubles.join(by_id.select(repeats="request_id", copies="attempt_id"), on="repeats", how="left").select(
        *_ID, "copies", "repeats", given_kind=pl.lit("double")
    )
    unnamed = strangers.join(pl.concat([in_other, repeated], how="diagonal"), on=_ID, how="anti")
    claimed = match_claims(unnamed, left).select(*_ID, copies="attempt_id", given_kind=pl.lit("settled"))
    currencies = attempts["currency"].drop_nulls().unique()
    is_abroad = ~pl.col("currency").is_in(currencies.implode()) & pl.lit(bool(len(currencies)))
    abroad = unnamed.filter(is_abroad, ~pl.col("is_foreign")).select(*_ID, given_kind=pl.lit("other_currency"))
    given = pl.concat([in_other, repeated, claimed, abroad], how="diagonal")
    ours = {name: kind for name, kind in OURS.items() if name not in _ID}
    return strangers.join(given, on=_ID, how="left").with_columns(*blank(ours), is_dated=pl.lit(value=True))


def alone(left: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Return pairs of attempts without a line; an id that has lines has them in another currency."""
    is_abroad = pl.col("request_id").is_in(lines["request_id"].drop_nulls().implode())
    return (
        sum_ours(left.filter("is_here"), [])
        .with_columns(*blank(THEIRS), *blank(_GIVEN), is_dated=pl.lit(value=True))
        .with_columns(given_kind=pl.when(is_abroad).then(pl.lit("other_currency")))
    )
