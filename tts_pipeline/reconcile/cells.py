"""Parse columns of text into amounts, quantities and times."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from tts_pipeline.reconcile.layout import Layout

AMOUNT = pl.Decimal(38, 18)
"""The type of an amount while it is read; further decimals are rounded."""

_FULL_WIDTH = {chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)} | {"\u2212": "-", "\u3000": " "}

_INSTANT_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y%m%d",
    "%Y%m%d%H%M%S",
    "%Y年%m月%d日 %H:%M:%S%.f",
    "%Y年%m月%d日",
)
_LONGEST_SKIP = pl.duration(hours=2)
_NO_TEXT = pl.Series([None], dtype=pl.String)
_OFFSET = r"\d([Zz]|[+-]\d{2}:?\d{2})$"
_MONTH = r"^(\d{4})[-/.年]?(\d{1,2})月?$"
_SIGNS = r"[\s¥￥$€£]|^[A-Za-z]{3}\b|[A-Za-z]{3}$"


def cleaned(texts: pl.Series) -> pl.Series:
    """Return texts without the signs that spreadsheets and exports put around a cell; empty is null."""
    text = texts.str.strip_chars(" \t\r\n\u00a0\u3000\ufeff")
    if text.str.contains("^[=']").any():
        text = text.str.replace(r'^="(.*)"$', "${1}").str.strip_prefix("'").str.strip_chars()
    return text.set(text == "", None) if (text == "").any() else text


def numbers(texts: pl.Series, layout: Layout) -> pl.Series:
    """Return the numbers of texts, to 18 decimals; null where a text is none, and where it is null.

    A sign may stand before or after the number, and a negative one in parentheses; a currency before or after it.
    """
    if layout.decimal == "." and texts.str.contains(r"^-?\d+(\.\d+)?$").all():
        return texts.cast(AMOUNT, strict=False)
    text = _ascii(texts).str.replace_all(_SIGNS, "")
    negative = text.str.contains(r"^\(.*\)$|-$")
    text = text.str.replace(r"^\((.*)\)$", "${1}").str.replace("-$", "")
    decimal, thousands = re.escape(layout.decimal), re.escape(layout.thousands)
    whole = rf"(?:\d+|\d{{1,3}}(?:{thousands}\d{{3}})+)" if layout.thousands else r"\d+"
    is_number = text.str.contains(rf"^[+-]?(?:{whole}(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?$")
    if layout.thousands:
        text = text.str.replace_all(layout.thousands, "", literal=True)
    text = text.str.replace(layout.decimal, ".", literal=True).str.replace(r"\.(\D|$)", "${1}")
    value = text.zip_with(is_number.fill_null(value=False), _NO_TEXT).cast(AMOUNT, strict=False)
    return pl.select(pl.when(negative).then(-value).otherwise(value)).to_series()


def instants(texts: pl.Series, layout: Layout) -> pl.Series:
    """Return the times of texts, in UTC; null where a text is none, and where it is null.

    A time without an offset is of the layout's zone. 10 digits are seconds since 1970, 13 are milliseconds.
    """
    text = _ascii(texts)
    frame = pl.DataFrame({"text": text})
    quick = _parse(frame, layout.time_formats or _INSTANT_FORMATS[:1], layout.timezone)
    if layout.time_formats or quick.null_count() == text.null_count():
        return quick
    numeric = text.str.contains(r"^(\d{10}|\d{13})$").fill_null(value=False)
    with_offset = text.str.contains(_OFFSET).fill_null(value=False) & text.str.contains(":")
    found = pl.Series([None], dtype=pl.Datetime("us", "UTC")).new_from_index(0, len(text))
    if numeric.any():
        number = text.zip_with(numeric, _NO_TEXT).cast(pl.Int64)
        us = pl.select(pl.when(number >= 10**12).then(number * 1_000).otherwise(number * 1_000_000)).to_series()
        found = us.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if with_offset.any():
        iso = text.str.replace(" ", "T", literal=True).str.replace(r"(?i)z$", "+00:00")
        iso = iso.str.replace(r" ?([+-]\d{2}):?(\d{2})$", "${1}:${2}")
        aware = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
        found = pl.select(pl.coalesce(found, pl.when(with_offset).then(aware))).to_series()
    rest = frame.with_columns(text=pl.when(~(numeric | with_offset)).then(pl.col("text")))
    if rest["text"].null_count() == rest.height:
        return found
    naive = rest.with_columns(pl.col("text").str.replace("(?i)T", " "))
    return pl.select(pl.coalesce(found, _parse(naive, _INSTANT_FORMATS, layout.timezone))).to_series()


def months(texts: pl.Series, layout: Layout) -> pl.Series:
    """Return the first instants of months, in UTC; a text may also be a day of the month."""
    text = _ascii(texts)
    days = instants(text.str.replace(_MONTH, "${1}-${2}-01"), layout).to_frame("at")
    return days.select(as_instants(local_times("at", layout.timezone).dt.truncate("1mo"), layout.timezone)).to_series()


def local_times(name: str, timezone: str) -> pl.Expr:
    """Return a column of instants as the clocks of a time zone show them."""
    return pl.col(name).dt.convert_time_zone(timezone).dt.replace_time_zone(None)


def as_instants(times: pl.Expr, timezone: str) -> pl.Expr:
    """Return what the clocks of a time zone show as instants, in UTC.

    Of a time that came twice, it is the first one; a time that the clocks skipped, such as midnight in some zones, is
    as long after the change as it would have been.
    """

    def existing(local: pl.Expr) -> pl.Expr:
        zoned = local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        return zoned.dt.convert_time_zone("UTC")

    return pl.coalesce(existing(times), existing(times - _LONGEST_SKIP) + _LONGEST_SKIP)


def _parse(frame: pl.DataFrame, formats: Sequence[str], timezone: str) -> pl.Series:
    """Return the instants of a column of texts by the first format that fits each."""
    naive = pl.Series([None], dtype=pl.Datetime("us")).new_from_index(0, frame.height)
    for pattern in formats:
        if naive.null_count() == frame["text"].null_count():
            break
        left = pl.when(naive.is_null()).then(pl.col("text"))
        # Without an hour and a minute, Polars reads a day only.
        parsed = (
            left.str.to_datetime(pattern, time_unit="us", strict=False)
            if "%H" in pattern
            else left.str.to_date(pattern, strict=False).cast(pl.Datetime("us"))
        )
        naive = frame.select(pl.coalesce(naive, parsed)).to_series()
    return naive.to_frame("at").select(as_instants(pl.col("at"), timezone)).to_series()


def _ascii(texts: pl.Series) -> pl.Series:
    """Return texts with full-width digits and signs as ASCII."""
    if not texts.str.contains(r"[^ -~]").any():
        return texts
    return texts.str.replace_many(list(_FULL_WIDTH), list(_FULL_WIDTH.values())).str.strip_chars()
