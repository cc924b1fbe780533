"""Tests of streams of rows that are written as a source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source import frame_stream
from tts_pipeline.source.frame_stream import GROUP_ROWS, temporary_parquet, write_stream
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.parquet import read_columns

FRAME = pl.DataFrame({"id": range(20_000)}).select("id", text=pl.format("Line {}.", "id"))


def test_a_file_depends_on_the_rows_alone(tmp_path: Path) -> None:
    """The bytes do not depend on the batches or the library of the stream: the same rows are the same source."""
    streams: list[Any] = [
        FRAME,
        FRAME.lazy(),
        pl.concat([FRAME[:777], FRAME[777:]], rechunk=False),
        pa.table(FRAME),
        pa.table(FRAME).to_reader(max_chunksize=1_000),
    ]
    paths = [tmp_path / f"{place}.parquet" for place in range(len(streams))]
    hashes = {write_stream(stream, path) for stream, path in zip(streams, paths, strict=True)}
    assert len(hashes) == 1
    assert len({path.read_bytes() for path in paths}) == 1
    assert pl.DataFrame(read_columns(paths[0])).equals(FRAME)
    groups = pq.ParquetFile(paths[0]).metadata
    assert [groups.row_group(place).num_rows for place in range(groups.num_row_groups)] == [
        GROUP_ROWS,
        GROUP_ROWS,
        20_000 - 2 * GROUP_ROWS,
    ]


@pytest.mark.parametrize("kind", [pl.Categorical(), pl.Enum(["c", "a", "b"])])
def test_categories_are_written_as_their_texts(kind: pl.DataType, tmp_path: Path) -> None:
    """The numbers of categories are not part of the rows, and may differ in each batch."""
    letters = pl.when(pl.col("id") < 9_000).then(pl.lit("a")).when(pl.col("id") % 2 == 0).then(pl.lit("b"))
    texts = FRAME.with_columns(kind=letters.otherwise(pl.lit("c")))
    frame = texts.with_columns(pl.col("kind").cast(kind))
    streams: list[Any] = [texts, frame, frame.lazy(), pa.table(frame).to_reader(max_chunksize=1_000)]
    assert len({write_stream(stream, tmp_path / "frame.parquet") for stream in streams}) == 1
    assert pl.DataFrame(read_columns(tmp_path / "frame.parquet")).equals(texts)


def test_batches_have_categories_of_their_own(tmp_path: Path) -> None:
    """The batches together may have more categories than the numbers of one batch can express."""
    kind = pa.dictionary(pa.int8(), pa.string())
    batches = [
        pa.array([f"v{number}" for number in range(first, first + 100)]).dictionary_encode() for first in (0, 100)
    ]
    write_stream(pa.table({"x": pa.chunked_array([batch.cast(kind) for batch in batches])}), tmp_path / "frame.parquet")
    assert read_columns(tmp_path / "frame.parquet")["x"].to_pylist() == [f"v{number}" for number in range(200)]


@given(st.lists(st.sampled_from("bcdefg"), min_size=2, max_size=2, unique=True))
def test_other_rows_are_another_source(tmp_path_factory: pytest.TempPathFactory, letters: list[str]) -> None:
    """Rows with equal sizes, counts, minima and maxima, all that a plain footer holds, still are another source."""
    folder = tmp_path_factory.mktemp("other")
    prints = []
    for letter in letters:
        write_stream(pl.DataFrame({"id": [1, 2, 3], "text": ["a", letter, "z"]}), folder / "frame.parquet")
        prints.append(open_source(folder / "frame.parquet").fingerprint())
    first, other = prints
    assert first[0]["bytes"] == other[0]["bytes"]
    assert first != other


def test_rows_are_written_while_they_come(tmp_path: Path) -> None:
    """Rows are written as they come, not held until the stream ends, however small its batches."""
    path, sizes = tmp_path / "x.parquet", []

    def pieces() -> Iterator[pa.RecordBatch]:
        for batch in pa.table(FRAME).to_batches(max_chunksize=GROUP_ROWS // 4):
            sizes.append(path.stat().st_size)
            yield batch

    write_stream(pa.RecordBatchReader.from_batches(pa.table(FRAME).schema, pieces()), path)
    growing = [later > earlier for earlier, later in itertools.pairwise(sizes)]
    assert sum(growing) == FRAME.height // GROUP_ROWS


def test_no_rows_have_columns(tmp_path: Path) -> None:
    """An empty frame keeps its columns, and so does a lazy frame that computes no rows."""
    for frame in (FRAME.clear(), FRAME.lazy().filter(pl.col("id") < 0)):
        write_stream(frame, tmp_path / "none.parquet")
        assert open_source(tmp_path / "none.parquet").schema.names == ["id", "text"]
        assert open_source(tmp_path / "none.parquet").rows == 0


@pytest.mark.parametrize("value", [pl.Series([1]), pa.array([1]), object()])
def test_what_has_no_columns_is_refused(value: Any, tmp_path: Path) -> None:
    """The error names the type of the object."""
    with pytest.raises(ConfigurationError, match=type(value).__name__):
        write_stream(value, tmp_path / "x.parquet")


def test_what_a_lazy_frame_raises_is_its_owners(tmp_path: Path) -> None:
    """An exception while a lazy frame is computed passes through: it is no failure of our disk."""
    gone = pl.scan_parquet(tmp_path / "gone.parquet", schema={"id": pl.Int64})
    with pytest.raises(FileNotFoundError):
        write_stream(gone, tmp_path / "x.parquet")


def test_a_file_is_there_while_it_is_needed(tmp_path: Path) -> None:
    """The file exists while the block runs, apart from other processes' files; the next run removes a killed one's."""
    leftover, used = tmp_path / "rows" / "left", tmp_path / "rows" / "used"
    for folder in (leftover, used):
        folder.mkdir(parents=True)
    with (
        FileLock(used.with_suffix(".lock")),
        temporary_parquet(FRAME, tmp_path) as path,
        temporary_parquet(FRAME, tmp_path) as other,
    ):
        assert open_source(path).rows == FRAME.height
        assert path.name == other.name
        assert path != other
        assert not leftover.exists()
    assert list((tmp_path / "rows").iterdir()) == [used]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([86_400_001], pa.date64()),
        pa.array([[86_400_001]], pa.list_(pa.date64())),
        pa.array([2**62], pa.timestamp("s")),
        pa.array([{}], pa.struct([])),
        pa.nulls(1, pa.month_day_nano_interval()),
        pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])]),
    ],
)
def test_what_parquet_would_alter_or_cannot_hold_is_refused(tmp_path: Path, column: pa.Array) -> None:
    """Values of a frame never change on their way to the source, and no type ends in a traceback."""
    with pytest.raises(ConfigurationError, match=r"'odd'|union"):
        write_stream(pa.table({"id": [1], "odd": column}), tmp_path / "frame.parquet")
    write_stream(pa.table({"id": [1], "odd": column}), tmp_path / "frame.parquet", ["odd"])


def test_wide_rows_are_written_in_groups_that_depend_on_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row group is bounded in bytes; the file has the same contents for any batches of the stream."""
    monkeypatch.setattr(frame_stream, "GROUP_BYTES", 100_000)
    texts = [f"{number} " * (number * 7_919 % 9_000) for number in range(60)] + ["x" * 300_000, "short"]
    table = pa.table({"id": range(62), "text": texts, "kind": pa.array(texts).dictionary_encode()})
    hashes = set()
    for rows in (1, 7, 62):
        batches = table.combine_chunks().to_batches(max_chunksize=rows)
        hashes.add(write_stream(pa.RecordBatchReader.from_batches(table.schema, batches), tmp_path / "rows.parquet"))
    assert len(hashes) == 1
    metadata = pq.read_metadata(tmp_path / "rows.parquet")
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    assert all(group.total_byte_size < 150_000 or group.num_rows == 1 for group in groups)
    assert pq.read_table(tmp_path / "rows.parquet")["text"].to_pylist() == texts
