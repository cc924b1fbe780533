"""A spreadsheet that opens a bill calculates nothing that data or a service wrote."""

from __future__ import annotations

import csv
import io
from datetime import date
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.report.spreadsheet import escape_formula, to_csv


@pytest.mark.parametrize(
    "text",
    [
        *(
            "=1+2",
            "+1+2",
            "-1+2",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            " =1",
            '"=1"',
            "'=1",
            "＝1+2",
            "＋1",
            "－1",
            "＠x",
            "|calc",
        ),
        *("\u200b=1", "\n=1", "%0A=1", "=HYPERLINK(1)", "-x", "--1", "+1e", "\ufeff=1"),
    ],
)
def test_what_begins_like_a_formula_is_text(text: str) -> None:
    """Even behind white space, quotes and invisible characters, and in full width."""
    assert escape_formula(text)[0] in "'\ufffd"
    assert escape_formula(text).isprintable()


@pytest.mark.parametrize("text", ["-1.5", "+1", "1e-3", "-1e5", "2026-11-29", "Cherry", "a=b", "", "你好", "a-b"])
def test_numbers_and_words_stay(text: str) -> None:
    """A negative number is a number."""
    assert escape_formula(text) == text


def test_columns_of_numbers_are_as_they_are() -> None:
    """Money, counts and days; a heading may be a formula, too, and nulls are empty."""
    frame = pl.DataFrame(
        {"tag:=1": ["=1", None], "=x": [-1, 2], "cost": [Decimal("-0.5"), None], "day": [date.min] * 2}
    )
    head, first, second = to_csv(frame).splitlines()
    assert head == "tag:=1,'=x,cost,day"
    assert (first, second) == ("'=1,-1,-0.5,0001-01-01", ",2,,0001-01-01")


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_any_text_is_one_cell(texts: list[str]) -> None:
    """Rows and columns stay intact."""
    rows = list(
        csv.reader(io.StringIO(to_csv(pl.DataFrame({"a": texts, "b": texts}, schema={"a": pl.String, "b": pl.String}))))
    )
    assert rows == [["a", "b"], *([escape_formula(text)] * 2 for text in texts)]
