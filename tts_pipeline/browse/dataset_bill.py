"""Compute a dataset's bill for the page: of its whole time, or of a month."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from tts_pipeline.browse.bill import bill_figures, chart_step
from tts_pipeline.browse.bill_groups import KEYS, Grouping, GroupMemory, add_groups
from tts_pipeline.browse.months import Selection, month_choices, timezone_choices
from tts_pipeline.browse.open_usage import part_facts
from tts_pipeline.report.bill import OpenPart, collect_usage
from tts_pipeline.report.dataset import claims_frame
from tts_pipeline.report.facts import MARKS, facts_of
from tts_pipeline.report.period import ReportPeriod
from tts_pipeline.report.usage_files import UsageFiles

_KEYS = tuple(name for name in KEYS if name != "dataset")


def dataset_bill(
    files: UsageFiles, open_parts: Sequence[OpenPart], selection: Selection, now: datetime, memory: GroupMemory
) -> dict[str, Any]:
    """Add up the bill of a dataset's usage files. Blocking; a second for two million requests, less if remembered.

    Returns:
        The figures of ``bill_figures``; ``month`` and ``timezone`` as selected, the ``months`` and ``timezones`` to
        choose from; ``open``, the parts that were opened in the period and are open: the sums have their upper bounds.

    Raises:
        ConfigurationError: The month does not exist, or the time zone is unknown.
        StorageError: The usage cannot be read, or is damaged.
    """
    period = selection.period
    since_us, until_us = period.since_us or 0, period.until_us
    parts = [
        part
        for part in open_parts
        if since_us <= part.claim.opened_at_us and (until_us is None or part.claim.opened_at_us < until_us)
    ]
    claims = _mark(claims_frame([part.claim for part in open_parts]).lazy(), is_open=True)
    first, step = _span(pl.concat([_scan(files, files.sizes_bytes), claims], how="diagonal_relaxed"), period)
    grouping = Grouping(selection.timezone, step)

    def read(sizes: Collection[tuple[str, int]]) -> pl.DataFrame:
        rows = _scan(files, [name for name, _ in sizes])
        return grouping.group(facts_of(period.select(rows)))

    published = memory.groups((selection, grouping), files.sizes_bytes.items(), read)
    groups = add_groups([published, grouping.group(facts_of(period.select(claims)))]) if open_parts else published
    return {
        **bill_figures(groups, step, _KEYS),
        "month": selection.month,
        "timezone": selection.timezone,
        "months": month_choices(first, now, selection.timezone),
        "timezones": timezone_choices([selection.timezone]),
        "open": [part_facts(part) for part in parts],
    }


def _scan(files: UsageFiles, names: Collection[str]) -> pl.LazyFrame:
    return _mark(files.scan(names), is_open=False)


def _mark(rows: pl.LazyFrame, *, is_open: bool) -> pl.LazyFrame:
    marks = {**dict.fromkeys(MARKS, pl.lit(value=False)), "is_open": pl.lit(is_open)}
    return rows.with_columns(dataset=pl.lit(""), **marks)


def _span(rows: pl.LazyFrame, period: ReportPeriod) -> tuple[datetime | None, timedelta]:
    """Return the instant of the first request, and the step of a chart of a period."""
    at = pl.col("started_at")
    first, chosen = collect_usage([rows.select(at.min()), period.select(rows).select(first=at.min(), last=at.max())])
    return first.item(), chart_step(*chosen.row(0))
