"""Tests of the rows that are kept while their part is open."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.spooled_rows import SpooledRows

WIDE = pa.table({"n": range(300), "wide": [os.urandom(10_000) for _ in range(300)]})
CATEGORIES = pa.table({"n": range(300), "kind": pa.array(["a", "b", None] * 100).dictionary_encode()})


def _spool(table: pa.Table, folder: Path | None, memory_bytes: int = 0) -> SpooledRows:
    spool = SpooledRows(table.schema, memory_bytes, folder)
    for batch in table.to_batches(max_chunksize=40):
        spool.add(batch)
    return spool


@pytest.mark.parametrize("memory_bytes", [0, 1_000, 1_000_000])
@pytest.mark.parametrize("table", [WIDE, CATEGORIES], ids=["wide", "categories"])
def test_rows_are_what_they_were(tmp_path: Path, table: pa.Table, memory_bytes: int) -> None:
    """Rows return unchanged from memory, a file or both; all or some columns and rows, and more than once."""
    spool = _spool(table, tmp_path / "rows", memory_bytes)
    reader = RowReader(spool)
    for _ in range(2):
        assert reader.read(range(300)).equals(table)
    assert RowReader(spool, ["n"]).read([0, 39, 40, 299])["n"].to_pylist() == [0, 39, 40, 299]
    spool.close()


def test_wide_rows_are_in_no_memory_and_leave_no_file(tmp_path: Path) -> None:
    """Wide rows go to a file without a name; the bytes of each row are known."""
    before_bytes = pa.total_allocated_bytes()
    spool = _spool(WIDE, tmp_path / "rows", 10_000_000)
    assert pa.total_allocated_bytes() - before_bytes < 1_000_000
    assert list((tmp_path / "rows").iterdir()) == []
    assert all(10_000 <= row_bytes < 11_000 for row_bytes in spool.row_bytes)
    assert set(_spool(CATEGORIES, None).row_bytes) == {0}
    spool.close()


def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    """A folder that cannot be made is a StorageError that names the folder."""
    (tmp_path / "rows").write_text("a file")
    with pytest.raises(StorageError, match=r"keeping rows of the source in .*rows"):
        _spool(WIDE, tmp_path / "rows")
