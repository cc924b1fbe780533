"""Facts of usage rows: keys, measures and tags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.ledger.sums import as_sums
from tts_pipeline.report.facts import KEYS, MARKS, MEASURES, add_up, facts_of, facts_of_sums, tag, tag_keys
from tts_pipeline.report.usage import USAGE_COLUMNS
from tts_pipeline.schema import usage_schema

TAGS = pa.map_(pa.string(), pa.string())


ROWS: list[Mapping[str, str | None] | None] = [{"team": "news", "night": "7"}, {}, None, {"night": None}]


@pytest.fixture
def rows(tmp_path: Path) -> pl.LazyFrame:
    """Rows read from a file, as usage is."""
    entries = [None if row is None else list(row.items()) for row in ROWS]
    pq.write_table(pa.table({"tags": pa.array(entries, TAGS)}), tmp_path / "usage.parquet")
    return pl.scan_parquet(tmp_path / "usage.parquet")


def test_a_tag_is_null_where_a_row_does_not_have_it(rows: pl.LazyFrame) -> None:
    """Rows without tags, with other tags or with an empty tag all lack it."""
    tags = rows.select(team=tag("team"), night=tag("night"), other=tag("other")).collect()
    assert tags.to_dict(as_series=False) == {
        "team": ["news", None, None, None],
        "night": ["7", None, None, None],
        "other": [None] * 4,
    }


def test_keys_are_those_of_all_rows(rows: pl.LazyFrame) -> None:
    """Rows without tags add none, not even a null."""
    assert rows.select(tag_keys()).collect().to_series().to_list() == ["team", "night", "night"]


def test_a_table_without_rows_has_no_tags() -> None:
    """A dataset without requests has such a table."""
    none = pl.DataFrame(pa.table({"tags": pa.array([], TAGS)})).lazy()
    assert none.select(tag("team")).collect().height == 0
    assert none.select(tag_keys()).collect().height == 0


def test_rows_and_sums_give_the_same_columns() -> None:
    """So that every report is a sum of either."""
    usage = pl.DataFrame(usage_schema().empty_table()).lazy()
    usage = usage.with_columns(pl.lit("x").alias("dataset"), dataset_id=pl.lit("d"))
    usage = usage.with_columns(pl.lit(value=False).alias(name) for name in MARKS)
    facts, sums = facts_of(usage), facts_of_sums(as_sums(usage, ("dataset", *MARKS)))
    assert facts.collect_schema().names() == sums.collect_schema().names() == [*KEYS, *MEASURES]
    assert set(USAGE_COLUMNS).issuperset(set(KEYS) - {"is_open"})


def test_what_is_not_known_is_not_0() -> None:
    """The sum of nulls is null; a null beside a number adds nothing."""
    facts = pl.LazyFrame({"currency": ["CNY", "CNY", "USD"], "cost": [1, None, None]})
    sums = add_up(facts, {"currency": pl.col("currency")}, ["cost"]).sort("currency").collect()
    assert sums.rows() == [("CNY", 1), ("USD", None)]
    assert add_up(facts, {}, ["cost"]).collect().rows() == [(1,)]
