"""Amounts and times as people and programs write them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from tests.reconcile.charges import layout_of
from tts_pipeline.reconcile.cells import cleaned, instants, months, numbers

PLAIN = layout_of()
GERMAN = replace(PLAIN, decimal=",", thousands=".")
SHANGHAI = replace(PLAIN, timezone="Asia/Shanghai")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", "12"),
        ("-0.5", "-0.5"),
        ("+1.25", "1.25"),
        ("1.", "1"),
        (".5", "0.5"),
        ("1,234,567.891", "1234567.891"),
        ("1e-05", "0.00001"),
        ("2.5E3", "2500"),
        ("(12.30)", "-12.30"),
        ("12.30-", "-12.30"),
        ("−3", "-3"),
        ("¥ 1,200.50", "1200.50"),
        ("0.0156 CNY", "0.0156"),
        ("USD 3", "3"),
        ("１２３．４５", "123.45"),
        ("－１", "-1"),
        ("0.123456789012345678", "0.123456789012345678"),
    ],
)
def test_numbers_are_read_exactly(text: str, number: str) -> None:
    """Also beside a number that needs no care."""
    assert numbers(pl.Series([text, "7"]), PLAIN).to_list() == [Decimal(number), 7]


@pytest.mark.parametrize("text", ["", "abc", "1,23", "12,34.5", "1.2.3", "--1", "1 CNY 2", "0x10", "1e", "NaN", "∞"])
def test_what_is_no_number_is_null(text: str) -> None:
    """A comma that does not separate thousands is a mistake of the layout, not a number."""
    assert numbers(pl.Series([text]), PLAIN).to_list() == [None]


def test_marks_are_the_layouts() -> None:
    """A point separates thousands elsewhere."""
    texts = pl.Series(["1.234,56", "0,5", "1.234", "-1.234.567,1"])
    assert numbers(texts, GERMAN).to_list() == list(map(Decimal, ["1234.56", "0.5", "1234", "-1234567.1"]))
    assert numbers(pl.Series(["1.5"]), GERMAN).to_list() == [None]
    assert numbers(pl.Series(["1 234,5"]), replace(GERMAN, thousands="")).to_list() == [Decimal("1234.5")]


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-05 08:09:10", datetime(2026, 11, 5, 8, 9, 10)),
        ("2026-11-05 08:09:10.250", datetime(2026, 11, 5, 8, 9, 10, 250_000)),
        ("2026-11-05 08:09", datetime(2026, 11, 5, 8, 9)),
        ("2026-11-05T08:09:10", datetime(2026, 11, 5, 8, 9, 10)),
        ("2026-11-05T08:09:10Z", datetime(2026, 11, 5, 8, 9, 10)),
        ("2026-11-05T16:09:10+08:00", datetime(2026, 11, 5, 8, 9, 10)),
        ("2026-11-05 03:09:10-0500", datetime(2026, 11, 5, 8, 9, 10)),
        ("2026-11-05", datetime(2026, 11, 5)),
        ("2026/11/5", datetime(2026, 11, 5)),
        ("2026.11.05", datetime(2026, 11, 5)),
        ("20261105", datetime(2026, 11, 5)),
        ("２０２６－１１－０５", datetime(2026, 11, 5)),
        ("2026年11月5日", datetime(2026, 11, 5)),
        ("1793866150", datetime(2026, 11, 5, 8, 9, 10)),
        ("1793866150250", datetime(2026, 11, 5, 8, 9, 10, 250_000)),
    ],
)
def test_times_are_read_in_the_usual_forms(text: str, at: datetime) -> None:
    """Also when the cells of a column differ in form."""
    found = instants(pl.Series([text, None, "2026-11-06 00:00:00"]), PLAIN).to_list()
    assert found == [at.replace(tzinfo=UTC), None, datetime(2026, 11, 6, tzinfo=UTC)]


def test_midnight_is_that_of_the_layout() -> None:
    """Only a time without an offset depends on the zone."""
    texts = pl.Series(["2026-11-05", "2026-11-05T00:00:00+00:00", "1793836800"])
    found = [at.isoformat() for at in instants(texts, SHANGHAI)]
    assert found == ["2026-11-04T16:00:00+00:00", "2026-11-05T00:00:00+00:00", "2026-11-05T00:00:00+00:00"]


@pytest.mark.parametrize("text", ["2026-11", "202611", "2026年11月", "2026/11", "2026-11-17", "20261101"])
def test_a_month_is_its_first_instant(text: str) -> None:
    """A day stands for its month."""
    assert months(pl.Series([text]), SHANGHAI).to_list() == [datetime(2026, 10, 31, 16, tzinfo=UTC)]


@pytest.mark.parametrize("text", ["2026-13-01", "5.11.2026", "yesterday", "", "12:30"])
def test_what_is_no_time_is_null(text: str) -> None:
    """Day and month in another order are only read where the layout gives their format."""
    assert instants(pl.Series([text]), PLAIN).to_list() == [None]


def test_a_format_of_the_layout_is_the_only_one() -> None:
    """Then 5.11. is a day of November."""
    layout = replace(PLAIN, time_formats=("%d.%m.%Y",))
    assert instants(pl.Series(["5.11.2026", "2026-11-05"]), layout).to_list() == [
        datetime(2026, 11, 5, tzinfo=UTC),
        None,
    ]


def test_cells_lose_what_exports_put_around_them() -> None:
    """Tabs and apostrophes keep spreadsheets from rounding long numbers."""
    texts = pl.Series(["\t123\t", '="007"', "'9", "  ", "", None, "a b", "\u00a0x\u3000", "\ufeffy"])
    assert cleaned(texts).to_list() == ["123", "007", "9", None, None, None, "a b", "x", "y"]
