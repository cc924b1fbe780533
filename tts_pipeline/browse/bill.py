"""Compute the figures of a bill from its groups: sums by several keys and over time; and histograms of the audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil, floor, isqrt, log10
from typing import Any

import numpy as np
import polars as pl

from tts_pipeline.attempt import Outcome
from tts_pipeline.browse.bill_groups import KEYS, SHOWN
from tts_pipeline.report.bill import collect_usage
from tts_pipeline.report.facts import MEASURES, tag_keys
from tts_pipeline.report.figures import sum_groups
from tts_pipeline.report.keys import TAG_PREFIX, read_keys

COLUMNS = (
    *("requests", "succeeded", "discarded", "failed", "unknown", "retries"),
    *("characters_billed", "characters_upper_bound", "cost", "cost_upper_bound", "requests_without_cost", "open_parts"),
    *("implausible", "cost_in_question", "corrections", "correction_cost", "settled_cost", "currency"),
)
"""The columns of each row of figures, beside its keys."""

MAX_TAGS = 12
MAX_VALUES = 40
"""The most rows of a breakdown, the most expensive ones: a tag may have another value for each row."""

_BINS = 40
_LEAST_BINS = 8
_POINTS = 120
_STEPS = (
    *(timedelta(seconds=seconds) for seconds in (1, 5, 15, 60, 300, 900)),
    *(timedelta(hours=hours) for hours in (1, 6, 24, 7 * 24)),
)
_OUTLIER_QUANTILE = 0.995
_RELATIVE_TOLERANCE = 1e-9
_RANK = ("cost_upper_bound", "characters_upper_bound", "requests")


def bill_figures(groups: pl.DataFrame, step: timedelta, keys: Sequence[str] = KEYS) -> dict[str, Any]:
    """Compute a bill from its groups, see ``Grouping.group``; ``step`` is that of the chart over time. Blocking.

    Returns:
        Rows of ``usage_report`` with ``COLUMNS``, each for one currency: ``totals``; ``over_time``, each with the
        ``start`` of a step of ``step_s`` seconds, by the wall clock; ``failures``, by ``error_code`` and ``outcome``;
        ``unknown``, sums of requests whose outcome is unknown; ``by``, for each of ``keys`` and each tag the rows of
        each ``value``, the most expensive first.
    """
    tags = sorted(groups.select(tag_keys().unique()).to_series())[:MAX_TAGS]
    breakdowns = read_keys([*keys, *(f"{TAG_PREFIX}{name}" for name in tags)])
    start = pl.col("start").dt.truncate(f"{int(step.total_seconds())}s")
    frame = groups.lazy().with_columns(pl.lit(None, pl.Int64).alias(name) for name in MEASURES if name not in SHOWN)
    failures = frame.filter(~pl.col("outcome").is_in([Outcome.SUCCEEDED.value, "settled"]), ~pl.col("is_open"))
    queries = [
        _sums(frame, {}),
        _sums(frame, {"start": start}),
        _sums(failures, {name: pl.col(name) for name in ("error_code", "outcome")}),
        _sums(failures.filter(pl.col("outcome") == Outcome.UNKNOWN.value), {}),
        *(sum_groups(frame, {"value": key.value}).sort(_RANK, descending=True, nulls_last=True) for key in breakdowns),
    ]
    totals, over_time, failed, unknown, *parts = (sums.to_dicts() for sums in collect_usage(queries))
    return {
        "totals": totals,
        "over_time": {"step_s": step.total_seconds(), "rows": over_time},
        "failures": failed,
        "unknown": unknown,
        "by": {
            key.name: {"rows": part[:MAX_VALUES], "more": len(part[MAX_VALUES:])}
            for key, part in zip(breakdowns, parts, strict=True)
        },
    }


def _sums(groups: pl.LazyFrame, by: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    return sum_groups(groups, by).select(*by, *COLUMNS)


def audio_figures(rows: pl.DataFrame) -> dict[str, Any]:
    """Return histograms of ``RowTable`` rows: ``duration`` in seconds, ``pace`` in seconds per character."""
    seconds = rows["duration_ms"] / 1_000
    return {"duration": histogram(seconds), "pace": histogram(seconds / rows["text"].str.len_chars())}


def histogram(values: pl.Series) -> dict[str, Any]:
    """Count values in bins of the same round width.

    Returns:
        ``start`` of the first bin, ``width``, ``counts``, ``median``, and ``beyond``: the number of values past the end
        of the last bin, which counts them too, so that a few outliers do not hide the rest. Empty without values.
    """
    numbers = values.drop_nulls().to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return {}
    low, high = float(numbers.min()), float(np.quantile(numbers, _OUTLIER_QUANTILE, method="higher"))
    bins = min(_BINS, max(_LEAST_BINS, isqrt(4 * numbers.size)))
    size = max(abs(low), abs(high), 1e-3)
    spread = (
        high - low if high - low > _RELATIVE_TOLERANCE * size else size
    )  # equal, but for the last digits of a division
    width = round_width_up(spread / bins)
    start = floor(low / width) * width
    bins = floor((high - start) / width) + 1
    indices = np.clip((numbers - start) / width, 0, bins - 1).astype(np.int64)
    return {
        "start": start,
        "width": width,
        "counts": np.bincount(indices, minlength=bins).tolist(),
        "median": float(np.median(numbers)),
        "beyond": int((numbers >= start + bins * width).sum()),
    }


def round_width_up(width: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(width))
    return next(float(step * power) for step in (1, 2, 5, 10) if step * power >= width * (1 - 1e-9))


def chart_step(first: datetime | None, last: datetime | None) -> timedelta:
    """Return the length of a step in a chart from ``first`` to ``last``; both are None if nothing was sent."""
    span = last - first if first is not None and last is not None else timedelta()
    candidates = (step for step in _STEPS if span <= step * _POINTS)
    return next(candidates, timedelta(days=28 * ceil(span / timedelta(days=28) / _POINTS)))
