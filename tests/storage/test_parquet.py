"""Tests of Parquet files that are written, read, and read just before the process ends."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.schema import USAGE
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.page_headers import read_page_headers
from tts_pipeline.storage.parquet import (
    conform_columns,
    open_parquet,
    parquet_writer,
    read_columns,
    size_and_hash,
    write_tables,
)

PACKAGE = Path(__file__).parents[2] / "tts_pipeline"
TABLE = pa.table({"a": [1, 2, 3], "b": ["x", None, "y"]})


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """All columns or some, from a path or from bytes."""
    path = tmp_path / "table.parquet"
    pq.write_table(TABLE, path)
    assert read_columns(path).equals(TABLE)
    assert read_columns(path.read_bytes(), ["b"]).equals(TABLE.select(["b"]))


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_no_thread_is_left_behind() -> None:
    """No Arrow thread is started: it would abort a process that ends now."""
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


@pytest.mark.parametrize("size_bytes", [0, 1, 1_048_576, 1_048_577])
def test_a_files_facts_are_its_size_and_hash(size_bytes: int) -> None:
    """The file is read in pieces, from any open stream."""
    data = bytes(size_bytes)
    assert size_and_hash(io.BytesIO(data)) == {"bytes": size_bytes, "sha256": hashlib.sha256(data).hexdigest()}


def test_a_damaged_page_of_ours_is_a_storage_error_that_names_the_file(tmp_path: Path) -> None:
    """Each page has a checksum, which is verified on reading."""
    store = open_store(tmp_path)
    table = pa.table({"n": list(range(1_000))})
    write_tables(store, "usage/a.parquet", table.schema, [table])
    path = tmp_path / "usage/a.parquet"
    path.write_bytes(path.read_bytes().replace(path.read_bytes()[60:64], b"\0\1\2\3", 1))
    with pytest.raises(StorageError, match=r"reading .*a\.parquet"), open_parquet(store, "usage/a.parquet") as parquet:
        parquet.read(use_threads=False)


def test_parquet_is_opened_in_one_place() -> None:
    """Only ``storage.parquet`` opens Parquet: without Arrow's threads, and unbuffered."""
    opens = re.compile(r"\b(pq\.(ParquetFile\(|ParquetWriter\(|read_|write_)|parquet\.(read|write)_table\()")
    assert [
        path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py")) if opens.search(path.read_text())
    ] == ["cli/demo.py", "storage/parquet.py"]  # the demo writes a source, as anyone would


NAMES = ("outcome", "error_code", "characters_billed")


def test_a_column_that_an_earlier_version_did_not_write_is_null() -> None:
    """A missing column is null if the schema allows null; the others get the schema's types."""
    table = pa.table({"characters_billed": pa.array([7], pa.int16()), "outcome": ["succeeded"]})
    (row,) = conform_columns(table, NAMES, USAGE, "usage.parquet").to_pylist()
    assert row == {"outcome": "succeeded", "error_code": None, "characters_billed": 7}


@pytest.mark.parametrize("billed", [None, pa.array([None], pa.int64())])
def test_a_column_that_every_version_wrote_is_whole_or_the_file_is_damaged(billed: pa.Array | None) -> None:
    """A missing or null value in a required column is damage, and the error names the file."""
    table = pa.table({"outcome": ["succeeded"], **({} if billed is None else {"characters_billed": billed})})
    with pytest.raises(StorageError, match=r"usage\.parquet is damaged: it.* 'characters_billed'"):
        conform_columns(table, NAMES, USAGE, "usage.parquet")


def test_metadata_that_are_not_utf8_are_left_out() -> None:
    """Polars panics at such metadata, in the schema or in a field; a damaged footer may contain them."""
    field = pa.field("segment", pa.int16(), metadata={b"key": b"\xff\xfe"})
    table = pa.table([pa.array([1, 2], pa.int16())], schema=pa.schema([field], metadata={b"prices": b"\xff\xfe"}))
    assert pl.DataFrame(conform_columns(table, ["segment"], USAGE, "x"))["segment"].to_list() == [1, 2]


def test_a_column_of_audio_has_pages_of_about_a_megabyte(tmp_path: Path) -> None:
    """Not one page for a row group, which would be built in memory as a whole."""
    path = tmp_path / "audio.parquet"
    table = pa.table({"audio": [bytes(20_000)] * 400})
    with parquet_writer(path, table.schema, raw_leaves=("audio",)) as writer:
        writer.write_table(table)
    chunk = pq.read_metadata(path).row_group(0).column(0)
    data, start = path.read_bytes(), chunk.data_page_offset
    pages = list(read_page_headers(lambda at, size: data[at : at + size], start, start + chunk.total_compressed_size))
    assert len(pages) > 1
    assert max(page.unpacked_bytes for page in pages) < 2_000_000
