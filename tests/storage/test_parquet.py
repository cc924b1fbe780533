"""Reading tables back, and ending right after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.storage.parquet import read_columns

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
        "from tts_pipeline.storage.parquet import read_columns\n"
        "sink = io.BytesIO()\n"
        "pq.write_table(pa.table({'a': [1], 'b': [2]}), sink)\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "read_columns(sink.getvalue(), ['a'])\n"
        "assert len(os.listdir('/proc/self/task')) == before\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
