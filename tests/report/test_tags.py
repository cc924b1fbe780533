"""Expressions over the tags of usage rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.report.usage import tag, tag_keys

TAGS = pa.map_(pa.string(), pa.string())
ROWS: list[Mapping[str, str | None] | None] = [{"team": "news", "night": "7"}, {}, None, {"night": None}]


@pytest.fixture
def rows(tmp_path: Path) -> pl.LazyFrame:
    """Read from a file, as usage is."""
    entries = [None if row is None else list(row.items()) for row in ROWS]
    pq.write_table(pa.table({"tags": pa.array(entries, TAGS)}), tmp_path / "usage.parquet")
    return pl.scan_parquet(tmp_path / "usage.parquet")


def test_a_tag_is_null_where_a_row_does_not_have_it(rows: pl.LazyFrame) -> None:
    """Rows without tags, with other ones and with an empty one are all without it."""
    asked = rows.select(team=tag("team"), night=tag("night"), other=tag("other")).collect()
    assert asked.to_dict(as_series=False) == {
        "team": ["news", None, None, None],
        "night": ["7", None, None, None],
        "other": [None] * 4,
    }


def test_keys_are_those_of_all_rows(rows: pl.LazyFrame) -> None:
    """Rows without tags add none, not even a null."""
    assert rows.select(tag_keys()).collect().to_series().to_list() == ["team", "night", "night"]


def test_a_table_without_rows_has_no_tags() -> None:
    """As a dataset has that nothing was sent for."""
    none = pl.DataFrame(pa.table({"tags": pa.array([], TAGS)})).lazy()
    assert none.select(tag("team")).collect().height == 0
    assert none.select(tag_keys()).collect().height == 0
