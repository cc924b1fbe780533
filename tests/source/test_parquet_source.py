from __future__ import annotations

import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import numbered_table, write_numbered
from tests.datasets import ids_of
from tests.machine import patience
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.storage.location import FsspecPath


def test_one_file_is_a_source(tmp_path: Path) -> None:
    """The path of a single file is its own name, whatever its folder."""
    source = open_source(write_numbered(tmp_path / "deep" / "lines.parquet", 5))
    assert (source.rows, [file.path for file in source.files]) == (5, ["lines.parquet"])
    assert ids_of(source) == [0, 1, 2, 3, 4]


def test_a_folder_is_read_in_the_order_of_relative_paths(tmp_path: Path) -> None:
    """All Parquet files below a folder are read, sorted by relative path; other files are skipped."""
    write_numbered(tmp_path / "b.parquet", 2, 20)
    write_numbered(tmp_path / "a" / "z.parquet", 2, 10)
    write_numbered(tmp_path / "a" / "deep" / "y.parquet", 2, 0)
    (tmp_path / "notes.txt").write_text("not rows")
    source = open_source(tmp_path)
    assert [file.path for file in source.files] == ["a/deep/y.parquet", "a/z.parquet", "b.parquet"]
    assert ids_of(source) == [0, 1, 10, 11, 20, 21]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    """Names that begin with a dot or an underscore are skipped, in a folder and by a glob."""
    write_numbered(tmp_path / "a.parquet", 1)
    for hidden in (".b.parquet", "_c.parquet", ".work/d.parquet", "_tmp/e.parquet"):
        write_numbered(tmp_path / hidden, 1)
    assert [file.path for file in open_source(tmp_path).files] == ["a.parquet"]
    assert [file.path for file in open_source(tmp_path / "**" / "*.parquet").files] == ["a.parquet"]


def test_a_glob_is_named_from_its_fixed_part(tmp_path: Path) -> None:
    """Matches are sorted and named relative to the part of the pattern before wildcards; folders are no matches."""
    write_numbered(tmp_path / "year=1" / "a.parquet", 1, 1)
    write_numbered(tmp_path / "year=2" / "a.parquet", 1, 2)
    (tmp_path / "year=3" / "a.parquet").mkdir(parents=True)
    source = open_source(tmp_path / "year=*" / "*.parquet")
    assert [file.path for file in source.files] == ["year=1/a.parquet", "year=2/a.parquet"]
    assert ids_of(source) == [1, 2]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    """An existing path is used literally, brackets and all."""
    assert open_source(write_numbered(tmp_path / "lines[1].parquet", 3)).rows == 3


@pytest.fixture
def remote() -> Iterator[str]:
    """Return the root of a folder on an fsspec file system."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    filesystem, path = fsspec.core.url_to_fs(url)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def _put(url: str, path: Path) -> None:
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())


def test_an_fsspec_url_reads_the_same_rows_with_the_same_names(tmp_path: Path, remote: str) -> None:
    """A folder, a file and a glob on another file system give the same rows as on the disk."""
    write_numbered(tmp_path / "a" / "z.parquet", 3, 10, row_group_size=2)
    write_numbered(tmp_path / "b.parquet", 2, 20)
    for path in tmp_path.rglob("*.parquet"):
        _put(f"{remote}/src/{path.relative_to(tmp_path)}", path)
    _put(f"{remote}/src/_hidden.parquet", tmp_path / "b.parquet")
    for pattern, remote_pattern in (("", ""), ("b.parquet", "/b.parquet"), ("*/*.parquet", "/*/*.parquet")):
        local, other = open_source(tmp_path / pattern), open_source(f"{remote}/src{remote_pattern}")
        assert other.fingerprint() == local.fingerprint()
        assert ids_of(other) == ids_of(local)


class _Together(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system that returns files only when so many readers wait at the same time."""

    cachable = False

    def __init__(self, readers: int) -> None:
        super().__init__()
        self._meeting = threading.Barrier(readers, timeout=patience(10))

    def cat_file(self, path: str, **kwargs: Any) -> Any:
        self._meeting.wait()
        return super().cat_file(path, **kwargs)


def test_small_remote_files_are_fetched_while_those_before_them_are_read(tmp_path: Path, remote: str) -> None:
    """Fetches overlap, because ten thousand round trips one after another take minutes; the order stays the same."""
    for number in range(4):
        _put(f"{remote}/{number}.parquet", write_numbered(tmp_path / "x.parquet", 5, 5 * number))
    source = open_source(FsspecPath(remote, _Together(4)))
    assert ids_of(source) == list(range(20))


def test_a_large_remote_file_is_not_fetched_whole(tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file above the limit is read in place, so that fetching ahead takes bounded memory."""
    for number in range(3):
        _put(f"{remote}/{number}.parquet", write_numbered(tmp_path / "x.parquet", 5, 5 * number))
    source = open_source(FsspecPath(remote, _Together(99)))
    monkeypatch.setattr("tts_pipeline.source.parquet_source.SMALL_FILE_BYTES", 0)
    assert ids_of(source) == list(range(15))


def test_a_remote_file_that_vanished_is_a_storage_error(tmp_path: Path, remote: str) -> None:
    """The failure of a fetch ahead is raised at the file's turn, after the rows before it."""
    for number in range(3):
        _put(f"{remote}/{number}.parquet", write_numbered(tmp_path / "x.parquet", 5, 5 * number))
    source = open_source(remote)
    fsspec.filesystem("memory").rm(source.files[1].location)
    batches = source.batches()
    assert next(batches)[1].num_rows == 5
    with pytest.raises(StorageError, match=r"reading the source file '.*1\.parquet'"):
        next(batches)


@pytest.mark.parametrize("location", ["nowhere.parquet", "memory://nowhere/x.parquet", "nosuch://x", "no*.parquet"])
def test_a_source_that_is_not_there_is_refused_by_name(tmp_path: Path, location: str) -> None:
    """The error names the location and the next step."""
    place = location if "://" in location else str(tmp_path / location)
    with pytest.raises(ConfigurationError, match=r"'.*(nowhere|nosuch|no\*).*'") as exc_info:
        open_source(place)
    assert exc_info.value.hint


def test_a_folder_without_parquet_is_refused(tmp_path: Path) -> None:
    """An empty folder is refused as a source."""
    with pytest.raises(ConfigurationError, match="no Parquet file at"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"id,text\n1,Hello\n" * 1_000, b"PAR1" + b"\xff" * 64 + b"\xff\xff\xff\x7fPAR1"]
)
def test_what_is_not_parquet_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """Empty, short, textual and damaged files are refused by name."""
    path = tmp_path / "lines.parquet"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"lines\.parquet"):
        open_source(path)


def test_files_with_other_columns_are_refused_with_the_difference(tmp_path: Path) -> None:
    """The error names both files and the column that differs."""
    write_numbered(tmp_path / "a.parquet", 1)
    pq.write_table(pa.table({"id": ["1"], "text": ["x"], "more": [1]}), tmp_path / "b.parquet")
    with pytest.raises(ConfigurationError, match=r"b\.parquet") as exc_info:
        open_source(tmp_path)
    assert "id: int64 / string" in str(exc_info.value)
    assert "more: absent / int64" in str(exc_info.value)


def test_metadata_makes_no_difference(tmp_path: Path) -> None:
    """Files whose schemas differ only in metadata (such as pandas's) form one source."""
    write_numbered(tmp_path / "a.parquet", 1)
    pq.write_table(numbered_table(1, 1).replace_schema_metadata({"pandas": "{}"}), tmp_path / "b.parquet")
    source = open_source(tmp_path)
    assert ids_of(source) == [0, 1]
    assert source.schema.metadata is None


def test_empty_files_and_row_groups_are_no_rows(tmp_path: Path) -> None:
    """Files without rows, at either end or between others, change neither rows nor positions."""
    for name, rows, first in (("a", 0, 0), ("b", 3, 0), ("c", 0, 0), ("d", 2, 3), ("e", 0, 0)):
        write_numbered(tmp_path / f"{name}.parquet", rows, first)
    source = open_source(tmp_path)
    assert source.rows == 5
    assert ids_of(source) == [0, 1, 2, 3, 4]
    assert [source.locate(row) for row in range(5)] == [
        ("b.parquet", 0),
        ("b.parquet", 1),
        ("b.parquet", 2),
        ("d.parquet", 0),
        ("d.parquet", 1),
    ]


def test_a_source_of_no_rows_is_a_source(tmp_path: Path) -> None:
    """A source without rows reads as an empty table with its columns."""
    source = open_source(write_numbered(tmp_path / "a.parquet", 0))
    assert source.rows == 0
    assert RowReader(source).read([]).schema == source.schema
    assert list(source.batches()) == []


def test_the_fingerprint_knows_no_root_and_no_time(tmp_path: Path) -> None:
    """The same files in another folder, at another time, are the same source."""
    for name in ("a.parquet", "deep/b.parquet"):
        write_numbered(tmp_path / "one" / name, 5)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    os.utime(tmp_path / "two" / "a.parquet", (1, 1))
    assert open_source(tmp_path / "one").fingerprint() == open_source(tmp_path / "two").fingerprint()


def test_the_fingerprint_sees_a_change_that_leaves_the_size(tmp_path: Path) -> None:
    """The footer's hash distinguishes files of the same name, size and number of rows."""
    fingerprints = []
    for letter in "ab":
        table = pa.table({"id": [1, 2], "text": [letter * 9] * 2})
        pq.write_table(table, tmp_path / "a.parquet", compression="none")
        fingerprints.append(open_source(tmp_path).fingerprint())
    assert fingerprints[0][0]["bytes"] == fingerprints[1][0]["bytes"]
    assert fingerprints[0] != fingerprints[1]


@pytest.mark.parametrize("change", ["content", "name", "more"])
def test_the_fingerprint_changes_with_content_and_names(tmp_path: Path, change: str) -> None:
    """Other rows of the same sizes, another relative path or another file make another source."""
    write_numbered(tmp_path / "a.parquet", 5)
    before = open_source(tmp_path).fingerprint()
    if change == "content":
        write_numbered(tmp_path / "a.parquet", 5, first=1)
    elif change == "name":
        (tmp_path / "a.parquet").rename(tmp_path / "b.parquet")
    else:
        write_numbered(tmp_path / "b.parquet", 1)
    assert open_source(tmp_path).fingerprint() != before


def test_a_file_without_rows_is_not_in_the_fingerprint(tmp_path: Path) -> None:
    """A file that is empty at first, and filled later, is new and not changed."""
    write_numbered(tmp_path / "a.parquet", 5)
    before = open_source(tmp_path).fingerprint()
    write_numbered(tmp_path / "b.parquet", 0)
    assert open_source(tmp_path).fingerprint() == before


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_locate_is_the_file_and_the_place_in_it(sizes: list[int]) -> None:
    """``locate`` agrees with a count through the files in order."""
    with tempfile.TemporaryDirectory() as folder:
        for number, size in enumerate(sizes):
            write_numbered(Path(folder) / f"{number}.parquet", size)
        source = open_source(folder)
    expected = [(f"{number}.parquet", place) for number, size in enumerate(sizes) for place in range(size)]
    assert [source.locate(row) for row in range(source.rows)] == expected
