"""Columns of many files as one frame."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.browse.tables import Run, read_file, read_frames
from tts_pipeline.dataset.store import open_store
from tts_pipeline.errors import StorageError


def test_rows_know_their_file(tmp_path: Path) -> None:
    """In the order that the files are named in, also where a file has no rows, or a folder's name is a pattern."""
    store = open_store(tmp_path / "a[1]*", tmp_path)
    for name, rows in (("b", 2), ("a", 3), ("none", 0), ("c", 1)):
        (tmp_path / "a[1]*").mkdir(exist_ok=True)
        pl.DataFrame({"x": [name] * rows}, schema={"x": pl.String}).write_parquet(tmp_path / f"a[1]*/{name}")
    frame, runs = read_frames(store, ["b", "none", "a", "c"], ["x"], [pl.col("x")])
    assert frame["x"].to_list() == ["b", "b", "a", "a", "a", "c"]
    assert runs == [Run("b", 0), Run("a", 2), Run("c", 5)]


def test_a_damaged_file_is_a_storage_error(tmp_path: Path) -> None:
    """Whichever way it is read."""
    (tmp_path / "x").write_bytes(b"PAR1")
    store = open_store(tmp_path, tmp_path)
    with pytest.raises(StorageError):
        read_file(store, "x")
    with pytest.raises(StorageError):
        read_frames(store, ["x"], ["x"], [pl.col("x")])


def test_metadata_that_are_not_utf8_are_left_out(tmp_path: Path) -> None:
    """Polars panics at them, in the schema as in a field; a damaged footer may have them, and the page goes on."""
    field = pa.field("segment", pa.int16(), metadata={b"key": b"\xff\xfe"})
    table = pa.table([pa.array([1, 2], pa.int16())], schema=pa.schema([field], metadata={b"prices": b"\xff\xfe"}))
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_file(open_store(tmp_path, tmp_path), "a.parquet", ("segment",))["segment"].to_list() == [1, 2]
