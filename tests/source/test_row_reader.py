"""Tests of rows of a source at ascending positions: each row is decoded once, in slices."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import numbered_table, write_numbered
from tests.datasets import ids_of
from tts_pipeline.errors import StorageError
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.row_reader import RowReader


@settings(max_examples=60)
@given(data=st.data())
def test_row_reader_gives_the_rows_of_a_plain_table(data: st.DataObject) -> None:
    """For any files, row groups, ascending positions and runs, the reader returns the rows of a table in memory."""
    sizes = data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=4))
    group_sizes = data.draw(st.lists(st.integers(1, 50), min_size=len(sizes), max_size=len(sizes)))
    rows = sum(sizes)
    places = sorted(data.draw(st.sets(st.integers(0, rows - 1)))) if rows else []
    run = data.draw(st.integers(1, 30))
    with tempfile.TemporaryDirectory() as folder:
        first = 0
        for number, (size, group_size) in enumerate(zip(sizes, group_sizes, strict=True)):
            write_numbered(Path(folder) / f"{number}.parquet", size, first, row_group_size=group_size)
            first += size
        reader = RowReader(open_source(folder))
        tables = [reader.read(places[start : start + run]) for start in range(0, len(places), run)]
    assert pa.concat_tables([*tables, numbered_table(0)]) == numbered_table(rows).take(pa.array(places, pa.int64()))


class _CountingSource(Source):
    """A source that records which rows are decoded."""

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
    """Parts that fit no row group and no batch, with or without gaps, read the source once."""
    for number in range(3):
        write_numbered(tmp_path / f"{number}.parquet", 5_000, number * 5_000, row_group_size=row_group_size)
    source = _counting_source(tmp_path)
    reader = RowReader(source)
    places = range(0, 15_000, step)
    ids = [
        row for start in range(0, len(places), 99) for row in reader.read(places[start : start + 99])["id"].to_pylist()
    ]
    assert ids == list(places)
    assert len(source.decoded) == len(set(source.decoded))


def test_row_groups_between_the_places_are_not_decoded(tmp_path: Path) -> None:
    """A sparse sample reads only the row groups that it needs."""
    source = _counting_source(write_numbered(tmp_path / "a.parquet", 60_000, row_group_size=6_000))
    assert ids_of(source, [5, 30_000, 59_000]) == [5, 30_000, 59_000]
    assert {row // 6_000 for row in source.decoded} <= {0, 1, 5, 6, 9}


def test_one_large_row_group_is_decoded_in_pieces(tmp_path: Path) -> None:
    """Memory follows the batch, not the row group: no slice is larger than a batch, and no row is decoded twice."""
    source = open_source(write_numbered(tmp_path / "a.parquet", 20_000))
    assert max(batch.num_rows for _, batch in source.batches()) <= 4_096
    reader = RowReader(source)
    ids = [row for start in range(0, 20_000, 500) for row in reader.read(range(start, start + 500))["id"].to_pylist()]
    assert ids == list(range(20_000))


def test_a_reader_of_some_columns_gives_those_in_their_order(tmp_path: Path) -> None:
    """Only the named columns are read, even if a name equals the path of a nested column."""
    table = pa.table({"a": [{"b": 1, "c": 2}], "a.b": ["own"], "id": [7]})
    pq.write_table(table, tmp_path / "a.parquet")
    read = RowReader(open_source(tmp_path / "a.parquet"), ["id", "a.b"]).read([0])
    assert read.to_pylist() == [{"id": 7, "a.b": "own"}]


def test_a_reader_goes_back_when_asked_to(tmp_path: Path) -> None:
    """Positions before the last ones are read as well."""
    reader = RowReader(open_source(write_numbered(tmp_path / "a.parquet", 50, row_group_size=10)))
    assert reader.read([40, 41])["id"].to_pylist() == [40, 41]
    assert reader.read([3, 44])["id"].to_pylist() == [3, 44]


def test_a_source_that_shrank_meanwhile_is_a_storage_error(tmp_path: Path) -> None:
    """A file that was removed or cut after it was opened is a StorageError that names the file."""
    path = write_numbered(tmp_path / "a.parquet", 50)
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"a\.parquet"):
        RowReader(source).read([0])
    path.unlink()
    with pytest.raises(StorageError, match=r"a\.parquet"):
        RowReader(source).read([0])
