"""Price the usage of the past anew, from the characters and tokens in its rows, without asking anyone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import polars as pl

from tts_pipeline.catalog import load_catalog
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Price
from tts_pipeline.report.bill import Bill, collect_usage
from tts_pipeline.report.facts import add_up, facts_of
from tts_pipeline.report.keys import check_key_tags, read_keys
from tts_pipeline.report.pricing import Prices, all_prices, by_price, cost_expression
from tts_pipeline.report.where import read_where

_MONEY = pl.Decimal(18, 9)
_OLD = ("cost", "cost_upper_bound", "list_cost")
_NEW = tuple(f"repriced_{name}" for name in _OLD)
_COUNTS = ("requests", "characters_billed", "characters_upper_bound", "without_cost")
_WITHOUT = "repriced_without_cost"
_CURRENCY = "repriced_currency"
_IS_ANSWERED = pl.col("outcome").is_in(["succeeded", "discarded"])
_IS_PLAUSIBLE = ~pl.col("implausible").fill_null(value=False)


@dataclass(frozen=True, slots=True)
class NewPrices:
    """The prices of a file, and the list prices of the catalog for the same services and models."""

    prices: Prices
    list_prices: Prices


def read_new_prices(file: str | os.PathLike[str]) -> NewPrices:
    """Read the prices of a file as ``--prices`` of a run takes it.

    Raises:
        ConfigurationError: The file has a mistake, or no price.
    """
    catalog = load_catalog(prices=file)
    if not catalog.prices:
        raise ConfigurationError(f"{os.fspath(file)} has no price", hint="a price is a table [prices.ID]")
    services = {reference: catalog.service(reference[0]) for reference in catalog.prices}
    lists = {(name, model): catalog.card(service, model).list_prices for (name, model), service in services.items()}
    return NewPrices(catalog.prices, lists)


def repriced_report(
    bill: Bill, new: NewPrices, by: Sequence[str] = (), timezone: str = "UTC", where: str | None = None
) -> pl.DataFrame:
    """Add up a bill as it is, and as it would be if its jobs had had these prices. Blocking.

    A request costs the price of the file that applied when it was sent, by the days of the price's time zone; a model
    of the file without a price at that time has no cost. Requests of services and models that are not in the file, and
    settlements, keep their cost. With a price by token, a request whose tokens are not known, or are implausible, has
    no cost.

    Returns:
        A row per group, currency and new currency, sorted by these. Columns: those of ``by``, then ``requests``,
        ``characters_billed``, ``characters_upper_bound``; ``cost``, ``cost_upper_bound``, ``list_cost`` and
        ``requests_without_cost`` as they are; the same with ``repriced_`` before the name; ``difference``: the new cost
        minus the old one, null if one is not known or the currencies differ; ``currency``, ``repriced_currency``.

    Raises:
        ConfigurationError: As for ``usage_report``.
        StorageError: As for ``usage_report``.
    """
    keys, rows = read_keys(by, timezone), bill.rows
    if where is not None:
        condition = read_where(where)
        condition.check_tags(rows)
        rows = condition.select(rows)
    facts = facts_of(rows.with_columns(_repriced(new)).with_columns(_without_cost()), (*_NEW, _WITHOUT, _CURRENCY))
    currencies = {name: pl.col(name) for name in ("currency", _CURRENCY)}
    measures = (*_COUNTS, *_OLD, *_NEW, _WITHOUT)
    (groups,) = collect_usage([add_up(facts, {**{key.column: key.expression for key in keys}, **currencies}, measures)])
    check_key_tags(groups, keys)
    sums = add_up(groups.lazy(), {**{key.name: key.value for key in keys}, **currencies}, measures)
    is_comparable = pl.col("currency") == pl.col(_CURRENCY)
    (report,) = collect_usage(
        [
            sums.with_columns(
                difference=pl.when(is_comparable).then(pl.col("repriced_cost") - pl.col("cost")),
                requests_without_cost="without_cost",
                repriced_requests_without_cost=_WITHOUT,
            )
            .select(
                *(key.name for key in keys),
                *("requests", "characters_billed", "characters_upper_bound"),
                *(*_OLD, "requests_without_cost", *_NEW, "repriced_requests_without_cost", "difference", *currencies),
            )
            .sort(*(key.name for key in keys), *currencies, nulls_last=True)
        ]
    )
    return report


def _repriced(new: NewPrices) -> list[pl.Expr]:
    is_known = reduce(
        or_, ((pl.col("service") == service) & (pl.col("model") == model) for service, model in new.prices)
    )
    is_kept = pl.col("is_settlement") | ~is_known
    values = {price: _costs(price) for price in all_prices(new.prices)}
    lists = {price: cost_expression(price, _billed(price)) for price in all_prices(new.list_prices)}
    currency = by_price(new.prices, {price: pl.lit(price.currency) for price in values}, pl.lit(None, pl.String))
    list_currency = by_price(
        new.list_prices, {price: pl.lit(price.currency) for price in lists}, pl.lit(None, pl.String)
    )
    unknown = pl.lit(None, _MONEY)
    costs = [by_price(new.prices, {price: each[n] for price, each in values.items()}, unknown) for n in (0, 1)]
    list_cost = pl.when(list_currency == currency).then(by_price(new.list_prices, lists, unknown))
    return [
        *(
            pl.when(is_kept).then(pl.col(old)).otherwise(value).alias(name)
            for old, name, value in zip(_OLD, _NEW, (*costs, list_cost), strict=True)
        ),
        pl.when(is_kept).then(pl.col("currency")).otherwise(currency).alias(_CURRENCY),
    ]


def _costs(price: Price) -> tuple[pl.Expr, pl.Expr]:
    """Return the confirmed and the highest cost of a row at a price."""
    confirmed = cost_expression(price, _billed(price))
    if price.per_10k_characters is not None:
        return confirmed, cost_expression(price, {"characters": pl.col("characters_upper_bound")})
    is_free = pl.col("characters_upper_bound") == 0
    return confirmed, pl.when(_IS_ANSWERED | is_free).then(confirmed)


def _billed(price: Price) -> Mapping[str, pl.Expr]:
    """Return the confirmed counts of a row; a request without an answer has none, and costs 0."""
    if price.per_10k_characters is not None:
        return {"characters": pl.col("characters_billed")}
    return {
        name: pl.when(~_IS_ANSWERED).then(0).when(_IS_PLAUSIBLE).then(pl.col(name).clip(0))
        for name in ("input_tokens", "output_tokens")
    }


def _without_cost() -> pl.Expr:
    is_request = ~pl.col("is_open") & ~pl.col("is_settlement")
    return (pl.col("repriced_cost_upper_bound").is_null() & is_request).cast(pl.Int64).alias(_WITHOUT)
