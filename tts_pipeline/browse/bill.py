"""Compute the figures of the bill tab: sums of usage by several keys, and histograms of the audio."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil, floor, isqrt, log10
from typing import Any

import numpy as np
import polars as pl

from tts_pipeline.dataset.reader import DatasetLike
from tts_pipeline.report.usage import (
    TAG_PREFIX,
    OpenPart,
    collect_usage,
    key_expressions,
    sum_usage,
    tag_keys,
    usage_with_open_parts,
)

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


def bill_figures(dataset: DatasetLike, rows: pl.DataFrame, open_parts: Sequence[OpenPart] = ()) -> dict[str, Any]:
    """Add up a dataset's bill; ``rows`` are those of ``RowTable``. Blocking; a second or two for a million requests.

    Returns:
        Rows of ``usage_report``, each for one currency: ``totals``; ``over_time``, each with the ``start`` of a step of
        ``step_s`` seconds; ``failures``, by ``error_code`` and ``outcome``; ``by``, for model, voice and each tag the
        rows of each ``value``, the most expensive first. ``duration`` and ``pace`` are histograms, in seconds and in
        seconds per character.
    """
    usage = usage_with_open_parts([dataset], open_parts)
    step, tags = _step_and_tags(usage)
    by = ["model", "voice", *(f"{TAG_PREFIX}{name}" for name in tags)]
    start = pl.col("started_at").dt.truncate(f"{int(step.total_seconds())}s")
    queries = [
        sum_usage(usage, {}),
        sum_usage(usage, {"start": start}),
        sum_usage(
            usage.filter(pl.col("outcome") != "succeeded", ~pl.col("is_open")),
            key_expressions(["error_code", "outcome"]),
        ),
        *(
            sum_usage(usage, {"value": key}).sort(_RANK, descending=True, nulls_last=True)
            for key in key_expressions(by).values()
        ),
    ]
    totals, over_time, failures, *parts = (frame.to_dicts() for frame in collect_usage(queries))
    return {
        "totals": totals,
        "over_time": {"step_s": step.total_seconds(), "rows": over_time},
        "failures": failures,
        "by": {
            name: {"rows": part[:MAX_VALUES], "more": len(part[MAX_VALUES:])}
            for name, part in zip(by, parts, strict=True)
        },
        "duration": histogram(rows["duration_ms"] / 1_000),
        "pace": histogram(rows["duration_ms"] / 1_000 / rows["text"].str.len_chars()),
    }


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


def _step_and_tags(usage: pl.LazyFrame) -> tuple[timedelta, Sequence[str]]:
    span, tag_names = collect_usage(
        [
            usage.select(first=pl.col("started_at").min(), last=pl.col("started_at").max()),
            usage.select(tag_keys().unique()),
        ]
    )
    return chart_step(*span.row(0)), sorted(tag_names.to_series())[:MAX_TAGS]
