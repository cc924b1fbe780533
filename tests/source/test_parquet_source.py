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

from tests.patience import patience
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.storage.location import FsspecPath


def _table(rows: int, first: int = 0) -> pa.Table:
    numbers = range(first, first + rows)
    return pa.table(
        {"id": pa.array(numbers, pa.int64()), "text": pa.array([f"Line {n}" for n in numbers], pa.string())}
    )


def _write(path: Path, rows: int, first: int = 0, *, row_group_size: int = 1_000_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(_table(rows, first), path, row_group_size=row_group_size)
    return path


def _ids(source: Source, row_indices: range | list[int] | None = None) -> list[int]:
    table = RowReader(source).read(range(source.rows) if row_indices is None else row_indices)
    ids: list[int] = table.column("id").to_pylist()
    return ids


def test_one_file_is_a_source(tmp_path: Path) -> None:
    """A file is named by its own name, whatever folder it is in."""
    source = open_source(_write(tmp_path / "deep" / "lines.parquet", 5))
    assert (source.rows, [file.path for file in source.files]) == (5, ["lines.parquet"])
    assert _ids(source) == [0, 1, 2, 3, 4]


def test_a_folder_is_read_in_the_order_of_relative_paths(tmp_path: Path) -> None:
    """All Parquet files below a folder, sorted by relative path; other files are passed over."""
    _write(tmp_path / "b.parquet", 2, 20)
    _write(tmp_path / "a" / "z.parquet", 2, 10)
    _write(tmp_path / "a" / "deep" / "y.parquet", 2, 0)
    (tmp_path / "notes.txt").write_text("not rows")
    source = open_source(tmp_path)
    assert [file.path for file in source.files] == ["a/deep/y.parquet", "a/z.parquet", "b.parquet"]
    assert _ids(source) == [0, 1, 10, 11, 20, 21]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    """Names that begin with a dot or an underscore belong to tools, not to the source; also in a glob."""
    _write(tmp_path / "a.parquet", 1)
    for hidden in (".b.parquet", "_c.parquet", ".work/d.parquet", "_tmp/e.parquet"):
        _write(tmp_path / hidden, 1)
    assert [file.path for file in open_source(tmp_path).files] == ["a.parquet"]
    assert [file.path for file in open_source(tmp_path / "**" / "*.parquet").files] == ["a.parquet"]


def test_a_glob_is_named_from_its_fixed_part(tmp_path: Path) -> None:
    """Matches are sorted and named relative to the part of the pattern without wildcards; folders are no match."""
    _write(tmp_path / "year=1" / "a.parquet", 1, 1)
    _write(tmp_path / "year=2" / "a.parquet", 1, 2)
    (tmp_path / "year=3" / "a.parquet").mkdir(parents=True)
    source = open_source(tmp_path / "year=*" / "*.parquet")
    assert [file.path for file in source.files] == ["year=1/a.parquet", "year=2/a.parquet"]
    assert _ids(source) == [1, 2]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    """A path that is there is taken as it is, brackets and all."""
    assert open_source(_write(tmp_path / "lines[1].parquet", 3)).rows == 3


@pytest.fixture
def remote() -> Iterator[str]:
    """The root of a folder on an fsspec file system."""
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    filesystem, path = fsspec.core.url_to_fs(url)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def _put(url: str, path: Path) -> None:
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())


def test_an_fsspec_url_reads_the_same_rows_with_the_same_names(tmp_path: Path, remote: str) -> None:
    """A folder, a file and a glob on another file system give what the same ones on the disk give."""
    _write(tmp_path / "a" / "z.parquet", 3, 10, row_group_size=2)
    _write(tmp_path / "b.parquet", 2, 20)
    for path in tmp_path.rglob("*.parquet"):
        _put(f"{remote}/src/{path.relative_to(tmp_path)}", path)
    _put(f"{remote}/src/_hidden.parquet", tmp_path / "b.parquet")
    for here, there in (("", ""), ("b.parquet", "/b.parquet"), ("*/*.parquet", "/*/*.parquet")):
        local, other = open_source(tmp_path / here), open_source(f"{remote}/src{there}")
        assert other.fingerprint() == local.fingerprint()
        assert _ids(other) == _ids(local)


class _Together(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system that gives files only to so many readers at a time."""

    cachable = False

    def __init__(self, readers: int) -> None:
        super().__init__()
        self._meeting = threading.Barrier(readers, timeout=patience(10))

    def cat_file(self, path: str, **kwargs: Any) -> Any:
        self._meeting.wait()
        return super().cat_file(path, **kwargs)


def test_small_remote_files_are_fetched_while_those_before_them_are_read(tmp_path: Path, remote: str) -> None:
    """Each is a round trip: one after the other, ten thousand of them would be minutes; their order is the same."""
    for number in range(4):
        _put(f"{remote}/{number}.parquet", _write(tmp_path / "x.parquet", 5, 5 * number))
    source = open_source(FsspecPath(remote, _Together(4)))
    assert _ids(source) == list(range(20))


def test_a_large_remote_file_is_not_fetched_whole(tmp_path: Path, remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by what is fetched ahead: a file beyond the limit is read where it is."""
    for number in range(3):
        _put(f"{remote}/{number}.parquet", _write(tmp_path / "x.parquet", 5, 5 * number))
    source = open_source(FsspecPath(remote, _Together(99)))
    monkeypatch.setattr("tts_pipeline.source.parquet_source.SMALL_FILE_BYTES", 0)
    assert _ids(source) == list(range(15))


def test_a_remote_file_that_vanished_is_a_storage_error(tmp_path: Path, remote: str) -> None:
    """Though it was to be fetched ahead, it is told of when it is its turn, after the rows before it."""
    for number in range(3):
        _put(f"{remote}/{number}.parquet", _write(tmp_path / "x.parquet", 5, 5 * number))
    source = open_source(remote)
    fsspec.filesystem("memory").rm(source.files[1].location)
    batches = source.batches()
    assert next(batches)[1].num_rows == 5
    with pytest.raises(StorageError, match=r"reading the source file '.*1\.parquet'"):
        next(batches)


@pytest.mark.parametrize("location", ["nowhere.parquet", "memory://nowhere/x.parquet", "nosuch://x", "no*.parquet"])
def test_a_source_that_is_not_there_is_refused_by_name(tmp_path: Path, location: str) -> None:
    """The error names what was asked for and says what to do."""
    place = location if "://" in location else str(tmp_path / location)
    with pytest.raises(ConfigurationError, match=r"'.*(nowhere|nosuch|no\*).*'") as exc_info:
        open_source(place)
    assert exc_info.value.hint


def test_a_folder_without_parquet_is_refused(tmp_path: Path) -> None:
    """An empty folder is no source."""
    with pytest.raises(ConfigurationError, match="no Parquet file at"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"id,text\n1,Hello\n" * 1_000, b"PAR1" + b"\xff" * 64 + b"\xff\xff\xff\x7fPAR1"]
)
def test_what_is_not_parquet_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    """Empty, short, textual and damaged files are refused, with the file's name."""
    path = tmp_path / "lines.parquet"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"lines\.parquet"):
        open_source(path)


def test_files_with_other_columns_are_refused_with_the_difference(tmp_path: Path) -> None:
    """The error names both files, and which column differs and how."""
    _write(tmp_path / "a.parquet", 1)
    pq.write_table(pa.table({"id": ["1"], "text": ["x"], "more": [1]}), tmp_path / "b.parquet")
    with pytest.raises(ConfigurationError, match=r"b\.parquet") as exc_info:
        open_source(tmp_path)
    assert "id: int64 / string" in str(exc_info.value)
    assert "more: absent / int64" in str(exc_info.value)


def test_metadata_makes_no_difference(tmp_path: Path) -> None:
    """Files whose schemas differ only in metadata (that of pandas, say) belong together."""
    _write(tmp_path / "a.parquet", 1)
    pq.write_table(_table(1, 1).replace_schema_metadata({"pandas": "{}"}), tmp_path / "b.parquet")
    source = open_source(tmp_path)
    assert _ids(source) == [0, 1]
    assert source.schema.metadata is None


def test_empty_files_and_row_groups_are_no_rows(tmp_path: Path) -> None:
    """Files without rows, at either end and between, change neither rows nor places."""
    for name, rows, first in (("a", 0, 0), ("b", 3, 0), ("c", 0, 0), ("d", 2, 3), ("e", 0, 0)):
        _write(tmp_path / f"{name}.parquet", rows, first)
    source = open_source(tmp_path)
    assert source.rows == 5
    assert _ids(source) == [0, 1, 2, 3, 4]
    assert [source.locate(row) for row in range(5)] == [
        ("b.parquet", 0),
        ("b.parquet", 1),
        ("b.parquet", 2),
        ("d.parquet", 0),
        ("d.parquet", 1),
    ]


def test_a_source_of_no_rows_is_a_source(tmp_path: Path) -> None:
    """Nothing is read from it, and reading nothing gives an empty table with its columns."""
    source = open_source(_write(tmp_path / "a.parquet", 0))
    assert source.rows == 0
    assert RowReader(source).read([]).schema == source.schema
    assert list(source.batches()) == []


@settings(max_examples=60)
@given(data=st.data())
def test_row_reader_gives_the_rows_of_a_plain_table(data: st.DataObject) -> None:
    """For any files, row groups and ascending places, in any division into runs: the same rows as a table in memory."""
    sizes = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
    group_sizes = data.draw(st.lists(st.integers(1, 50), min_size=len(sizes), max_size=len(sizes)))
    rows = sum(sizes)
    places = sorted(data.draw(st.sets(st.integers(0, rows - 1)))) if rows else []
    run = data.draw(st.integers(1, 30))
    with tempfile.TemporaryDirectory() as folder:
        first = 0
        for number, (size, group_size) in enumerate(zip(sizes, group_sizes, strict=True)):
            _write(Path(folder) / f"{number}.parquet", size, first, row_group_size=group_size)
            first += size
        reader = RowReader(open_source(folder))
        got = [reader.read(places[start : start + run]) for start in range(0, len(places), run)]
    assert pa.concat_tables([*got, _table(0)]) == _table(rows).take(pa.array(places, pa.int64()))


class _CountingSource(Source):
    """A source that takes down which rows are decoded."""

    decoded: list[int]

    def batches(self, start: int = 0, columns: Any = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        for place, batch in super().batches(start, columns):
            self.decoded += range(place, place + batch.num_rows)
            yield place, batch


def _counting_source(location: Path) -> _CountingSource:
    opened = open_source(location)
    source = _CountingSource(opened.files, opened.schema)
    source.decoded = []
    return source


@pytest.mark.parametrize("step", [1, 7, 1_301])
@pytest.mark.parametrize("row_group_size", [16, 1_500, 10_000])
def test_ascending_parts_decode_each_row_at_most_once(tmp_path: Path, step: int, row_group_size: int) -> None:
    """Parts of a size that fits no row group and no batch, with or without gaps, go through the source once."""
    for number in range(3):
        _write(tmp_path / f"{number}.parquet", 5_000, number * 5_000, row_group_size=row_group_size)
    source = _counting_source(tmp_path)
    reader = RowReader(source)
    places = range(0, 15_000, step)
    got = [
        row for start in range(0, len(places), 99) for row in reader.read(places[start : start + 99])["id"].to_pylist()
    ]
    assert got == list(places)
    assert len(source.decoded) == len(set(source.decoded))


def test_row_groups_between_the_places_are_not_decoded(tmp_path: Path) -> None:
    """A sample far apart reads only the row groups it needs."""
    source = _counting_source(_write(tmp_path / "a.parquet", 60_000, row_group_size=6_000))
    assert _ids(source, [5, 30_000, 59_000]) == [5, 30_000, 59_000]
    assert {row // 6_000 for row in source.decoded} <= {0, 1, 5, 6, 9}


def test_one_large_row_group_is_decoded_in_pieces(tmp_path: Path) -> None:
    """Memory follows the batch, not the row group: no piece is larger than a batch, and none is decoded twice."""
    source = open_source(_write(tmp_path / "a.parquet", 20_000))
    assert max(batch.num_rows for _, batch in source.batches()) <= 4_096
    reader = RowReader(source)
    got = [row for start in range(0, 20_000, 500) for row in reader.read(range(start, start + 500))["id"].to_pylist()]
    assert got == list(range(20_000))


def test_a_reader_of_some_columns_gives_those_in_their_order(tmp_path: Path) -> None:
    """Only the named columns are read, also when one is named like the path of a nested one."""
    table = pa.table({"a": [{"b": 1, "c": 2}], "a.b": ["own"], "id": [7]})
    pq.write_table(table, tmp_path / "a.parquet")
    read = RowReader(open_source(tmp_path / "a.parquet"), ["id", "a.b"]).read([0])
    assert read.to_pylist() == [{"id": 7, "a.b": "own"}]


def test_a_reader_goes_back_when_asked_to(tmp_path: Path) -> None:
    """Places before the last ones are found all the same."""
    reader = RowReader(open_source(_write(tmp_path / "a.parquet", 50, row_group_size=10)))
    assert reader.read([40, 41])["id"].to_pylist() == [40, 41]
    assert reader.read([3, 44])["id"].to_pylist() == [3, 44]


def test_a_source_that_shrank_meanwhile_is_a_storage_error(tmp_path: Path) -> None:
    """A file that is gone or cut after it was opened stops in good order, with its name."""
    path = _write(tmp_path / "a.parquet", 50)
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"a\.parquet"):
        RowReader(source).read([0])
    path.unlink()
    with pytest.raises(StorageError, match=r"a\.parquet"):
        RowReader(source).read([0])


def test_the_fingerprint_knows_no_root_and_no_time(tmp_path: Path) -> None:
    """The same files elsewhere, at another time, are the same source."""
    for name in ("a.parquet", "deep/b.parquet"):
        _write(tmp_path / "one" / name, 5)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    os.utime(tmp_path / "two" / "a.parquet", (1, 1))
    assert open_source(tmp_path / "one").fingerprint() == open_source(tmp_path / "two").fingerprint()


def test_the_fingerprint_sees_a_change_that_leaves_the_size(tmp_path: Path) -> None:
    """The footer's hash tells files of one name, size and number of rows apart."""
    fingerprints = []
    for letter in "ab":
        table = pa.table({"id": [1, 2], "text": [letter * 9] * 2})
        pq.write_table(table, tmp_path / "a.parquet", compression="none")
        fingerprints.append(open_source(tmp_path).fingerprint())
    assert fingerprints[0][0]["bytes"] == fingerprints[1][0]["bytes"]
    assert fingerprints[0] != fingerprints[1]


@pytest.mark.parametrize("change", ["content", "name", "more"])
def test_the_fingerprint_changes_with_content_and_names(tmp_path: Path, change: str) -> None:
    """Other rows (of the same sizes), another relative path or another file is another source."""
    _write(tmp_path / "a.parquet", 5)
    before = open_source(tmp_path).fingerprint()
    if change == "content":
        _write(tmp_path / "a.parquet", 5, first=1)
    elif change == "name":
        (tmp_path / "a.parquet").rename(tmp_path / "b.parquet")
    else:
        _write(tmp_path / "b.parquet", 1)
    assert open_source(tmp_path).fingerprint() != before


def test_a_file_without_rows_is_not_in_the_fingerprint(tmp_path: Path) -> None:
    """So that a file that is written empty, and filled later, is new then and not changed."""
    _write(tmp_path / "a.parquet", 5)
    before = open_source(tmp_path).fingerprint()
    _write(tmp_path / "b.parquet", 0)
    assert open_source(tmp_path).fingerprint() == before


@settings(max_examples=50)
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_locate_is_the_file_and_the_place_in_it(sizes: list[int]) -> None:
    """Counting through the files in order finds the same."""
    with tempfile.TemporaryDirectory() as folder:
        for number, size in enumerate(sizes):
            _write(Path(folder) / f"{number}.parquet", size)
        source = open_source(folder)
    expected = [(f"{number}.parquet", place) for number, size in enumerate(sizes) for place in range(size)]
    assert [source.locate(row) for row in range(source.rows)] == expected
