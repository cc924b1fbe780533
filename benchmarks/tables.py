"""Format tables as Markdown, for the terminal and for the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.contest import Spread

Cell = str | int | float | Spread | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a title.

    Args:
        title: The title.
        columns: The heads of the columns, with units.
        rows: The rows, each with one cell for each column.
        notes: The conditions of the measurement.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    notes: str = ""

    def to_markdown(self) -> str:
        """Return the table as Markdown, its columns aligned."""
        cells = [list(self.columns), *([format_cell(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(self.columns))]
        head, *body = [_line(row, widths) for row in cells]
        ruled = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        lines = [f"### {self.title}", "", *([self.notes, ""] if self.notes else []), head, ruled, *body]
        return "\n".join(lines) + "\n"


def format_cell(cell: Cell) -> str:
    """Return a cell's text: a number with its significant digits, a spread as ``median (least-most)``."""
    if cell is None:
        return "-"
    if isinstance(cell, Spread):
        return f"{_number(cell.median)} ({_number(cell.least)}-{_number(cell.most)})"
    return cell if isinstance(cell, str) else _number(cell)


def _number(value: float) -> str:
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
