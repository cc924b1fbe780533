"""Columns of files of ours as the schema has them, or the file is damaged and named."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.schema import USAGE
from tts_pipeline.storage.parquet import conform_columns

NAMES = ("outcome", "error_code", "characters_billed")


def test_a_column_that_an_earlier_version_did_not_write_is_null() -> None:
    """Where it may be null; the others are of the schema's types, whatever the file says."""
    table = pa.table({"characters_billed": pa.array([7], pa.int16()), "outcome": ["succeeded"]})
    (row,) = conform_columns(table, NAMES, USAGE, "usage.parquet").to_pylist()
    assert row == {"outcome": "succeeded", "error_code": None, "characters_billed": 7}


@pytest.mark.parametrize("billed", [None, pa.array([None], pa.int64())])
def test_a_column_that_every_version_wrote_is_whole_or_the_file_is_damaged(billed: pa.Array | None) -> None:
    """A file that was swapped for another, or damaged, is named."""
    table = pa.table({"outcome": ["succeeded"], **({} if billed is None else {"characters_billed": billed})})
    with pytest.raises(StorageError, match=r"usage\.parquet is damaged: it.* 'characters_billed'"):
        conform_columns(table, NAMES, USAGE, "usage.parquet")


def test_metadata_that_are_not_utf8_are_left_out() -> None:
    """Polars panics at them, in the schema as in a field; a damaged footer may have them."""
    field = pa.field("segment", pa.int16(), metadata={b"key": b"\xff\xfe"})
    table = pa.table([pa.array([1, 2], pa.int16())], schema=pa.schema([field], metadata={b"prices": b"\xff\xfe"}))
    assert pl.DataFrame(conform_columns(table, ["segment"], USAGE, "x"))["segment"].to_list() == [1, 2]
