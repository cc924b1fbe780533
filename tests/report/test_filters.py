"""``where``."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.datasets import speech_row
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.report.filters import parse_filter
from tts_pipeline.schema import speech_schema

SCHEMA = speech_schema([pa.field("speaker", pa.string())])
ROWS = pa.Table.from_pylist(
    [
        speech_row("a", duration_ms=100, speaker="x", quality=["clipped"]),
        speech_row("b", duration_ms=20_000, speaker="y", language="de", cost=None),
        speech_row("c", duration_ms=30_000, speaker=None, voice=None),
    ],
    schema=SCHEMA,
)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("duration_ms < 20000", "a"),
        ("duration_ms <= 20000 AND language = 'de'", "b"),
        ("language IN ('de', 'fr')", "b"),
        ("language <> 'de'", "ac"),
        ("speaker = 'x' OR voice IS NULL", "ac"),
        ("speaker <> 'x'", "b"),
        ("array_length(quality) = 0", "bc"),
        ("array_contains(quality, 'clipped')", "a"),
        ("cost > 0.0005", "ac"),
        ("text LIKE 'Line %'", "abc"),
        ("duration_ms / 1000 > 20", "c"),
        ("duration_ms % 20000 = 0", "b"),
        ("CASE WHEN language = 'de' THEN 1 ELSE 0 END = 1", "b"),
        ("created_at > DATE '2027-01-01'", ""),
        ("created_at > '2020-01-01'", "abc"),
        ("'2027-01-01 10:30:00' < created_at OR created_at IN ('2020-01-01')", ""),
        ("created_at BETWEEN '2020-01-01T00:00:00Z' AND '2027-01-01' AND duration_ms > 100 -- long", "bc"),
    ],
)
def test_a_condition_chooses_rows(text: str, chosen: str) -> None:
    """As SQL does: what is null does not meet it. Strings, lists, money and times are compared as what they are."""
    row_filter = parse_filter(text)
    row_filter.check(SCHEMA)
    assert "audio" not in row_filter.columns
    ids = ROWS.column("utterance_id").to_pylist()
    assert "".join(name for name, is_in in zip(ids, row_filter.mask(ROWS), strict=True) if is_in) == chosen


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("duratio_ms < 1", "no column 'duratio_ms' to filter by (Did you mean 'duration_ms'?"),
        ("audio.bytes IS NULL", "no column 'audio' to filter by"),
        ("duration_ms < 'long'", "cannot compare string with numeric type (i64), for duration_ms (int64)"),
        ("duration_ms", "it is of type Int64, neither true nor false"),
        ("duration_ms <", "unable to parse"),
        ("nope(duration_ms)", "unsupported function 'nope'"),
        ("duration_ms < avg(duration_ms)", 'col("duration_ms").mean() reads more than one row'),
        ("duration_ms > max(duration_ms) - 5", "reads more than one row"),
        ("duration_ms > quantile_cont(duration_ms, 0.5)", "reads more than one row"),
        ("duration_ms < sum(duration_ms) OVER (PARTITION BY language)", "reads more than one row"),
        ("count(*) > 2 AND duration_ms > 1", "len() reads more than one row"),
        ("unnest(quality) = 'clipped'", "reads more than one row"),
        ("duration_ms IN (SELECT 1)", "cannot be used"),
        ("1 = 1", "it names no column"),
        ("created_at > 'soon'", "for created_at (timestamp[us, tz=UTC])"),
        ("created_at > '2020-13-01'", "for created_at"),
        ("avg(created_at > '2020-01-01') > 0.5", "reads more than one row"),
        ("created_at > '2020-01-01' AND max(created_at) > '2020-01-01'", "reads more than one row"),
    ],
)
def test_a_condition_that_cannot_be_used_is_told(text: str, message: str) -> None:
    """By its column where it is about one; nothing that depends on which rows come together is let through."""
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        parse_filter(text).check(SCHEMA)


TYPES: dict[str, tuple[pa.DataType, list[object]]] = {
    "x > '2020-01-01'": (pa.date32(), [date(2019, 1, 1), date(2021, 1, 1)]),
    "x >= '2021-01-01'": (pa.timestamp("ms", "Europe/Berlin"), [datetime(2019, 1, 1), datetime(2021, 1, 1)]),
    "x > '12:00'": (pa.time64("us"), [time(1), time(13)]),
    "x > INTERVAL '1 day'": (pa.duration("us"), [timedelta(hours=1), timedelta(days=2)]),
    "x > 1.5": (pa.decimal128(5, 2), [Decimal("1.5"), Decimal("1.51")]),
    "x = 'b'": (pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
}


@pytest.mark.parametrize("text", TYPES)
def test_a_condition_knows_the_types_of_columns_that_passed_through(text: str) -> None:
    """Text is a date, a time or an instant where it stands beside one."""
    kind, values = TYPES[text]
    row_filter = parse_filter(text)
    table = pa.table({"x": pa.array(values, kind)})
    row_filter.check(speech_schema(table.schema))
    assert row_filter.mask(table) == [False, True]


def test_a_column_that_polars_cannot_hold_is_told_before_anything_is_exported() -> None:
    """Where Polars panics, too."""
    for precision in (20, 70):
        with pytest.raises(ConfigurationError, match=r"Polars cannot hold x \(decimal256"):
            parse_filter("x > 1").check(speech_schema([pa.field("x", pa.decimal256(precision, 2))]))
