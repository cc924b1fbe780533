"""Rows of every kind: the same ones, in the same order, in batches."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.config import Selection
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.estimates.input_rows import BATCH_ROWS, InputRows, open_rows
from tts_pipeline.job.prepare import select_rows

TEXTS = [f"line {number}" for number in range(2_000)]
TABLE = pa.table({"id": range(2_000), "text": TEXTS})


def _stored(folder: Path) -> Path:
    pq.write_table(TABLE.slice(0, 700), folder / "a.parquet", row_group_size=100)
    pq.write_table(TABLE.slice(700), folder / "b.parquet")
    return folder


def _remote(_: Path) -> str:
    url = f"memory://{uuid.uuid4().hex}/lines.parquet"
    with fsspec.open(url, "wb") as file:
        pq.write_table(TABLE, file)
    return url


KINDS: dict[str, Callable[[Path], Any]] = {
    "frame": lambda _: pl.DataFrame(TABLE),
    "lazy": lambda _: pl.DataFrame(TABLE).lazy(),
    "arrow": lambda _: TABLE,
    "stream": lambda _: pa.RecordBatchReader.from_batches(TABLE.schema, TABLE.to_batches()),
    "folder": _stored,
    "text": lambda folder: str(_stored(folder)),
    "glob": lambda folder: f"{_stored(folder)}/*.parquet",
    "remote": _remote,
}


def _texts(lines: InputRows) -> list[str]:
    return [text for batch in lines.batches(["text"]) for text in batch["text"].to_list()]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_can_be_gone_through(kind: str, tmp_path: Path) -> None:
    """Twice, in order, with the columns that were asked for."""
    lines = open_rows(KINDS[kind](tmp_path))
    assert _texts(lines) == TEXTS
    assert _texts(lines) == TEXTS
    assert lines.schema().names == ["id", "text"]
    assert {tuple(batch.columns) for batch in lines.batches(["text", "id"])} == {("text", "id")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "selection", [Selection(limit=5), Selection(limit=9_999), Selection(sample=50, seed=7)], ids=str
)
def test_a_selection_takes_the_rows_that_a_run_takes(kind: str, selection: Selection, tmp_path: Path) -> None:
    """A pilot's estimate is of that pilot."""
    lines = open_rows(KINDS[kind](tmp_path), selection)
    assert _texts(lines) == [TEXTS[place] for place in select_rows(selection, len(TEXTS))]


@pytest.mark.parametrize("kind", ["frame", "folder"])
@pytest.mark.parametrize("selection", [Selection(limit=0), Selection(sample=0)], ids=str)
def test_fewer_than_one_row_is_refused(kind: str, selection: Selection, tmp_path: Path) -> None:
    """As a run does."""
    with pytest.raises(ConfigurationError, match="give at least 1"):
        open_rows(KINDS[kind](tmp_path), selection)


def test_rows_come_in_batches(tmp_path: Path) -> None:
    """So that memory does not grow with their number."""
    frame = pl.DataFrame({"text": ["a"] * (2 * BATCH_ROWS + 1)})
    frame.write_parquet(tmp_path / "many.parquet")
    for rows in (frame, tmp_path / "many.parquet"):
        heights = [batch.height for batch in open_rows(rows).batches(["text"])]
        assert sum(heights) == frame.height
        assert max(heights) <= 2 * BATCH_ROWS


def test_only_the_columns_that_are_needed_are_run() -> None:
    """A lazy frame's other columns cost nothing, and may even fail."""
    failing = pl.DataFrame({"text": ["a"]}).lazy().with_columns(pl.col("text").cast(pl.Int64).alias("other"))
    assert _texts(open_rows(failing)) == ["a"]


def test_what_a_callers_query_raises_is_the_callers() -> None:
    """It is no storage of ours that failed."""
    failing = pl.DataFrame({"text": ["a"]}).lazy().select(pl.col("text").cast(pl.Int64))
    with pytest.raises(pl.exceptions.InvalidOperationError):
        _texts(open_rows(failing))


def test_a_source_that_goes_away_is_a_storage_error(tmp_path: Path) -> None:
    """The message names the file."""
    lines = open_rows(_stored(tmp_path))
    (tmp_path / "b.parquet").unlink()
    with pytest.raises(StorageError, match=r"b\.parquet"):
        _texts(lines)


def test_what_has_no_rows_is_refused() -> None:
    """The message says what would do."""
    with pytest.raises(ConfigurationError, match=r"from a list .*__arrow_c_stream__"):
        open_rows(["text"])  # type: ignore[arg-type]
