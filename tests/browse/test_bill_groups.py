"""Groups of usage files are remembered: only new files are read, and the sums are the same."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tests.ledger.usage import COST, usage_rows
from tts_pipeline.browse.bill_groups import Grouping, GroupMemory
from tts_pipeline.report.facts import MARKS, facts_of
from tts_pipeline.schema import to_table, usage_schema

AT = datetime(2026, 11, 1, 23, 59, tzinfo=UTC)


def _groups(journals: Collection[str], grouping: Grouping) -> pl.DataFrame:
    """Return the groups of two requests for each journal."""
    rows = [row for journal in journals for row in usage_rows(journal, AT, 2)]
    frame = pl.LazyFrame(pl.DataFrame(to_table(rows, usage_schema()))).with_columns(dataset=pl.lit("/data/one"))
    return grouping.group(facts_of(frame.with_columns(pl.lit(value=False).alias(mark) for mark in MARKS)))


def test_only_new_files_are_read() -> None:
    """A file that is gone, or has another size, is another bill: all is read again."""
    memory, read = GroupMemory(), list[set[str]]()

    def reader(files: Collection[tuple[str, int]]) -> pl.DataFrame:
        names = {name for name, _ in files}
        read.append(names)
        return _groups(names, Grouping())

    for files in ({("a", 1)}, {("a", 1)}, {("a", 1), ("b", 1)}, {("a", 2), ("b", 1)}, {("b", 1)}):
        groups = memory.groups("bill", files, reader)
        assert groups["requests"].sum() == 2 * len(files)
        assert groups["cost"].sum() == COST * 3 * len(files)
        assert groups.height == 2, "a day each"
    assert read == [{"a"}, {"b"}, {"a", "b"}, {"b"}]


def test_bills_are_kept_apart() -> None:
    """Of two months the files may be the same, the groups are not."""
    memory = GroupMemory()
    days = memory.groups("days", ["a"], lambda files: _groups(files, Grouping()))
    hours = memory.groups("hours", ["a"], lambda files: _groups(files, Grouping(step=timedelta(hours=6))))
    assert days["start"].to_list() != hours["start"].to_list()


@pytest.mark.parametrize(
    ("timezone", "starts"),
    [
        ("UTC", [datetime(2026, 11, 1), datetime(2026, 11, 2)]),
        ("Asia/Shanghai", [datetime(2026, 11, 2)]),
        ("Asia/Kathmandu", [datetime(2026, 11, 2)]),
        ("America/St_Johns", [datetime(2026, 11, 1)]),
    ],
)
def test_days_are_those_of_the_wall_clock(timezone: str, starts: list[datetime]) -> None:
    """Whatever the offset of the zone."""
    groups = _groups(["a"], Grouping(timezone))
    assert sorted(set(groups["start"].to_list())) == starts
