"""Reconcile usage with an invoice: by request id where there is one, then by day or month."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.periods import Period, period_of
from tts_pipeline.reconcile.attempts import collect_attempts, compared_usage, is_within, nano
from tts_pipeline.reconcile.comparison import name_differences, prices_used
from tts_pipeline.reconcile.groups import match_groups, name_shifts
from tts_pipeline.reconcile.invoice import LINES
from tts_pipeline.reconcile.layout import Layout
from tts_pipeline.reconcile.requests import alone, match_requests
from tts_pipeline.reconcile.result import Basis, Reconciliation, bridge_of, differences_of


def reconcile(
    usage: pl.LazyFrame, invoice: pl.DataFrame, layout: Layout, period: Period | None = None
) -> Reconciliation:
    """Compare usage with an invoice, and name every difference.

    Args:
        usage: Rows of the usage schema. Rows outside the period are only looked up by their request ids.
        invoice: The normal form of ``read_invoice``.
        layout: What it says of levels, accounts, services, time zone and tolerance applies.
        period: What the invoice covers; None is the months of its lines, in the layout's time zone.

    Raises:
        ConfigurationError: The invoice has no lines, or none in the period.
    """
    invoice = invoice.select(LINES.names())
    if layout.level == "day" and invoice.height and (invoice["level"] == "month").all():
        layout = replace(layout, level="month")
    period = period or months_of(invoice, layout)
    rows = compared_usage(usage, layout)
    attempts = collect_attempts(rows, invoice, layout, period)
    lines, notes = _lines_of(invoice, attempts, layout, period)
    notes += _strange_names(usage, lines, attempts, layout, period)
    requests = match_requests(attempts, lines, layout)
    groups = match_groups(requests.left, lines, layout)
    prices = prices_used(attempts)
    single = name_differences(pl.concat([requests.pairs, alone(groups.left, lines)], how="diagonal"), prices, layout)
    single = single.with_columns(pl.coalesce("given_kind", name).alias(name) for name in ("kind", "step"))
    grouped = name_shifts(name_differences(groups.pairs, prices, layout), attempts)
    differences = differences_of(pl.concat([single, grouped], how="diagonal"), layout)
    bridge = bridge_of(attempts, lines, differences)
    numbered = attempts.join(groups.members, on=["attempt_id", "currency"], how="left", nulls_equal=True)
    basis = Basis(rows, layout, period, numbered, groups.buckets, groups.has_models, differences)
    return Reconciliation(bridge, differences.drop("bucket", "copies", "starts_at"), notes, basis)


def months_of(invoice: pl.DataFrame, layout: Layout) -> Period:
    """Return the months of an invoice's lines, in the layout's time zone, as one period.

    Raises:
        ConfigurationError: The invoice has no lines.
    """
    if not invoice.height:
        raise ConfigurationError("the invoice has no lines to compare", hint="check its layout's [rows.keep]")
    times = (invoice["start"].min(), invoice["start"].max())
    first, last = (period_of("month", layout.timezone, at, "") for at in times if isinstance(at, datetime))
    return Period(" to ".join(dict.fromkeys((first.key, last.key))), first.start, last.end)


def _lines_of(
    invoice: pl.DataFrame, attempts: pl.DataFrame, layout: Layout, period: Period
) -> tuple[pl.DataFrame, list[str]]:
    """Return the lines that count in the period, and what to say of the others."""
    ids = attempts.filter("is_here")["request_id"].drop_nulls()
    is_inside = (pl.col("end") > pl.lit(period.start)) & (pl.col("start") < pl.lit(period.end))
    is_ours = pl.col("request_id").is_in(ids.implode()).fill_null(value=False)
    lines = invoice.filter(is_inside | is_ours)
    notes = [
        f"lines of other months are left out: {count:,}, of {total.normalize():,f} {currency} together"
        for currency, count, total in invoice.filter(~(is_inside | is_ours))
        .group_by("currency", maintain_order=True)
        .agg(pl.len(), pl.col("amount").sum())
        .iter_rows()
    ]
    if not lines.height:
        raise ConfigurationError("the invoice has no lines in this period", hint="check --month and the layout")
    known = layout.accounts
    is_foreign = (
        ~pl.col("account").is_in(list(known)) & pl.col("account").is_not_null() if known else pl.lit(value=False)
    )
    label = (
        pl.col("account").replace_strict(known, default=None, return_dtype=pl.String)
        if known
        else pl.lit(None, dtype=pl.String)
    )
    if not known and lines["account"].n_unique() > 1:
        notes.append("the invoice has several accounts, which are not compared: name yours in [accounts] of the layout")
    last: datetime | None = attempts.filter("is_here", pl.col("cost") > 0).select(pl.col("start").max()).item()
    until: datetime = lines.select(pl.col("end").max()).item()
    if last is not None and last > until + timedelta(seconds=layout.tolerance.time_s):
        notes.append(
            f"the invoice ends on {until:%Y-%m-%d %H:%M} UTC, and there are later requests: it may not be final"
        )
    return lines.with_columns(nano=nano("amount"), is_foreign=is_foreign, label=label), notes


def _strange_names(
    usage: pl.LazyFrame, lines: pl.DataFrame, attempts: pl.DataFrame, layout: Layout, period: Period
) -> Iterator[str]:
    """Yield what to say of names that only one side has: a layout or a flag may name them otherwise."""
    here = attempts.filter("is_here")
    if not here.height:
        services = usage.filter(is_within("started_at", period)).select(pl.col("service").unique()).collect()["service"]
        theirs = f" of {', '.join(layout.services)}" if layout.services else ""
        ours = f"; there is usage of {', '.join(services.sort())}" if len(services) else ""
        yield f"there is no usage{theirs} in this period{ours}"
        return
    models = lines.filter(pl.col("charge") == "usage")["model"].drop_nulls().unique()
    unknown = models.filter(~models.is_in(here["model"].implode())).sort()
    if len(unknown):
        names = ", ".join(unknown.head(10))
        yield f"the usage has no model {names}: if it is one of ours, name it in [models] of the layout"
