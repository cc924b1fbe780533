"""Reading tables back, and ending right after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.dataset.tables import own_columns, read_columns
from tts_pipeline.errors import StorageError
from tts_pipeline.schema import USAGE

TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "y"]})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """All of it or some columns, from a file or from what is in it."""
    path = tmp_path / "table.parquet"
    pq.write_table(TABLE, path)
    assert read_columns(path).equals(TABLE)
    assert read_columns(path.read_bytes(), ["b"]).equals(TABLE.select(["b"]))


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_no_thread_is_left_behind() -> None:
    """Arrow's threads would abort a process that ends now: none is started."""
    script = (
        "import os, io, pyarrow as pa, pyarrow.parquet as pq\n"
        "from tts_pipeline.dataset.tables import read_columns\n"
        "sink = io.BytesIO()\n"
        "pq.write_table(pa.table({'a': [1], 'b': [2]}), sink)\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "read_columns(sink.getvalue(), ['a'])\n"
        "assert len(os.listdir('/proc/self/task')) == before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def _own(table: pa.Table) -> pa.Table:
    return own_columns(table, ("outcome", "error_code", "characters_billed"), USAGE, "usage.parquet")


def test_a_column_that_an_earlier_version_did_not_write_is_null() -> None:
    """Where it may be null; the others are of their own types, whatever the file says."""
    table = pa.table({"characters_billed": pa.array([7], pa.int16()), "outcome": ["succeeded"]})
    assert _own(table).to_pylist() == [{"outcome": "succeeded", "error_code": None, "characters_billed": 7}]


@pytest.mark.parametrize("billed", [None, pa.array([None], pa.int64())])
def test_a_column_that_every_version_wrote_is_whole_or_the_file_is_damaged(billed: pa.Array | None) -> None:
    """A file that was swapped for another, or damaged, is named."""
    table = pa.table(
        {"outcome": ["succeeded"]} if billed is None else {"outcome": ["succeeded"], "characters_billed": billed}
    )
    with pytest.raises(StorageError, match=r"usage\.parquet is damaged: its column 'characters_billed'"):
        _own(table)
