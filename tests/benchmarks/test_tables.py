"""Tables for people."""

from __future__ import annotations

import pytest

from benchmarks.contest import Spread
from benchmarks.tables import Cell, Table, format_cell


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        ("ours", "ours"),
        (12_345, "12,345"),
        (0.5512, "0.55"),
        (45.67, "45.7"),
        (852.4, "852"),
        (Spread(1.0, 0.98, 1.042), "1.00 (0.98-1.04)"),
    ],
)
def test_a_number_has_the_digits_that_matter(cell: Cell, text: str) -> None:
    """Three digits or so: more would be noise."""
    assert format_cell(cell) == text


def test_a_table_is_markdown() -> None:
    """Columns are aligned, and every row has the same number of cells."""
    lines = Table("Speed", ("client", "rows/s"), [["ours", 953], ["script", 852.1]]).to_markdown().splitlines()
    assert lines[0] == "### Speed"
    assert lines[2:] == ["| client | rows/s |", "|--------|--------|", "| ours   | 953    |", "| script | 852    |"]
