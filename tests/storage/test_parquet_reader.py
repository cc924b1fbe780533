"""Tests of Parquet in slices: memory is bounded in bytes, and disproportionate sizes are refused."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.storage import parquet_reader as sliced

_CELL = os.urandom(30_000)


def _read(path: Path, columns: Sequence[str] | None = None) -> tuple[list[int], int]:
    """Return the rows of each slice, and the peak of Arrow's memory."""
    before_bytes, peak_bytes, rows = pa.total_allocated_bytes(), 0, []
    for _, batch in open_source(path).batches(0, columns):
        rows.append(batch.num_rows)
        peak_bytes = max(peak_bytes, pa.total_allocated_bytes() - before_bytes)
        del batch
    return rows, peak_bytes


def _ids(rows: int) -> list[str]:
    return [f"row-{number}" for number in range(rows)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliced, "SLICE_BYTES", 1_000_000)
    monkeypatch.setattr(sliced, "UNEVEN_SLICE_BYTES", 2_000_000)
    monkeypatch.setattr(sliced, "EXPANSION_EXEMPT_BYTES", 50_000_000)
    monkeypatch.setattr(sliced, "MAX_PAGE_BYTES", 20_000_000)


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_a_row_group_is_never_in_memory_whole(tmp_path: Path, codec: str) -> None:
    """A row group of 30 MB takes a few MB: a buffer per column, a page and a slice."""
    table = pa.table({"id": _ids(1_000), "nested": [{"docs": [_CELL]}] * 1_000})
    pq.write_table(
        table,
        tmp_path / "a.parquet",
        compression=codec,
        use_dictionary=False,
        write_batch_size=8,
        data_page_size=100_000,
    )
    rows, peak_bytes = _read(tmp_path / "a.parquet")
    assert sum(rows) == 1_000
    assert peak_bytes < 5_000_000


def test_rows_of_uneven_sizes_are_read_by_the_largest(tmp_path: Path) -> None:
    """Thousands of short rows do not lead to a slice of as many long rows, in pages or in a dictionary."""
    texts = ["short"] * 6_000 + [_CELL[number:].hex()[:40_000] for number in range(100)]
    for use_dictionary in (False, True):
        table = pa.table({"id": _ids(6_100), "text": texts})
        pq.write_table(
            table,
            tmp_path / "a.parquet",
            use_dictionary=["text"] if use_dictionary else False,
            dictionary_pagesize_limit=10_000_000,
            write_batch_size=16,
            data_page_size=10_000,
        )
        rows, _ = _read(tmp_path / "a.parquet", ["text"])
        assert sum(rows) == 6_100
        assert max(rows) <= 50


def _bomb(kind: str, rows: int = 20_000) -> pa.Table:
    long = pa.array(["a b " * 5_000])
    same = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), long)
    ids = pa.array(_ids(rows))
    once = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), same)
    places = pa.array([None] * (rows * 3 // 4) + [0] * (rows // 4), pa.int32())
    columns: dict[str, dict[str, pa.Array]] = {
        "text": {"text": same},
        "passed through": {"same": same},
        "id": {"id": same},
        "struct": {"same": pa.StructArray.from_arrays([same], ["text"])},
        "list": {"same": once},
        "sparse": {"same": pa.DictionaryArray.from_arrays(places, long)},
    }
    if kind == "nulls":
        return pa.table({"text": pa.nulls(20_000_000, pa.string())})
    if kind == "elements":
        nulls = pa.ListArray.from_arrays(pa.array([0, 20_000_000], pa.int32()), pa.nulls(20_000_000, pa.int32()))
        return pa.table({"text": ["b"], "nulls": nulls})
    return pa.table({"id": ids, "text": ids, **columns[kind]})


@pytest.mark.parametrize("kind", ["text", "passed through", "id", "struct", "list", "sparse", "nulls", "elements"])
def test_what_comes_to_far_more_than_its_file_is_refused(tmp_path: Path, kind: str) -> None:
    """A dictionary or a run of levels that decodes to 50 MB or more is refused before it is decoded."""
    pq.write_table(_bomb(kind), tmp_path / "a.parquet", compression="zstd")
    before_bytes = pa.total_allocated_bytes()
    with pytest.raises(ConfigurationError, match="leave the column out") as exc_info:
        _read(tmp_path / "a.parquet", ["text"])
    assert re.search("up to '(text|id|nulls|same).*' decode to more than [0-9,]+; the maximum is", str(exc_info.value))
    assert pa.total_allocated_bytes() - before_bytes < 5_000_000


def test_values_that_many_rows_share_are_no_bomb(tmp_path: Path) -> None:
    """A long value in few rows, and a short value in all rows, are read."""
    places = pa.array([None] * 19_990 + [0] * 5 + [1] * 5, pa.int32())
    rare = pa.DictionaryArray.from_arrays(places, pa.array(["a b " * 5_000, "short"]))
    table = pa.table({"id": _ids(20_000), "text": rare, "speaker": ["Cherry"] * 20_000})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert sum(_read(tmp_path / "a.parquet")[0]) == 20_000


def test_a_page_is_refused_by_what_it_would_become(tmp_path: Path) -> None:
    """The header has the size of a page; a page above the maximum is not decompressed, even among small pages."""
    texts = ["short"] * 100 + ["\0" * 30_000_000] + ["short"] * 100
    pq.write_table(pa.table({"id": _ids(201), "text": texts}), tmp_path / "a.parquet", compression="zstd")
    before_bytes = pa.total_allocated_bytes()
    with pytest.raises(ConfigurationError, match=r"column 'text' .* has a page of 30,0\d\d,\d\d\d bytes"):
        _read(tmp_path / "a.parquet", ["id"])
    assert pa.total_allocated_bytes() - before_bytes < 5_000_000


def test_a_footer_is_refused_by_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A footer is read whole, so its size is bounded."""
    monkeypatch.setattr(sliced, "MAX_FOOTER_BYTES", 200)
    pq.write_table(pa.table({"id": _ids(3), "text": _ids(3)}), tmp_path / "a.parquet")
    with pytest.raises(ConfigurationError, match=r"footer of '.*' has"):
        open_source(tmp_path / "a.parquet")


@pytest.mark.parametrize("claimed", [10, 63])
def test_a_footer_that_counts_other_rows_is_damage(tmp_path: Path, claimed: int) -> None:
    """No row is lost or added if a row group states another number of rows than its columns have."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": _ids(37), "text": _ids(37)}), path, store_schema=False)
    good, start = path.read_bytes(), path.stat().st_size - 8
    start -= int.from_bytes(good[-8:-4], "little")
    for at in range(start, len(good) - 8):
        path.write_bytes(good[:at] + bytes([2 * claimed]) + good[at + 1 :])
        if good[at] == 2 * 37 and pq.ParquetFile(path).metadata.row_group(0).num_rows == claimed:
            break
    with pytest.raises(StorageError, match=f"37 values for {claimed} rows in 'id'"):
        _read(path)


def test_a_column_that_is_dropped_is_never_refused(tmp_path: Path) -> None:
    """The way out in the error's hint works."""
    pq.write_table(_bomb("passed through"), tmp_path / "a.parquet", compression="zstd")
    source = open_source(tmp_path / "a.parquet", drop=["same"])
    assert sum(batch.num_rows for _, batch in source.batches()) == 20_000
