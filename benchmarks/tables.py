"""Tables as text that is also Markdown: printed and written alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.contest import Spread

Cell = str | int | float | Spread | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title.

    Args:
        title: What is shown.
        columns: Their heads, with units.
        rows: As many cells as columns.
        notes: How it was measured, where a reader would ask.
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
    """Return a cell's text: a number with the digits that matter, a spread as ``median (least-most)``."""
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
