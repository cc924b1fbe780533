"""Tests of INT96 timestamps in a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.source.row_reader import RowReader

LAST_NS, FIRST_NS = 2**63 - 1, -(2**63) + 1
DOOMSDAY_US, YEAR_ONE_US = 253_402_214_400_000_000, -62_135_596_800_000_000


def _write(path: Path, unit: str, *columns: list[int | None]) -> Path:
    """Write INT96 columns ``x``, ``y`` ...; the first column also within a list, a struct and a map."""
    kind = pa.timestamp(unit)
    arrays: dict[str, Any] = {name: pa.array(values, kind) for name, values in zip("xyz", columns, strict=False)}
    if len(columns) == 1:
        values = columns[0]
        arrays["list"] = pa.array([[value] for value in values], pa.list_(kind))
        arrays["struct"] = pa.array([{"a": value} for value in values], pa.struct([("a", kind)]))
        arrays["map"] = pa.array([[("k", value)] for value in values], pa.map_(pa.string(), kind))
    numbers = list(range(len(columns[0])))
    table = pa.table({"id": numbers, "text": ["One."] * len(numbers), **arrays})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    return path


@pytest.mark.parametrize(
    ("unit", "values", "read_as"),
    [
        ("us", [DOOMSDAY_US, YEAR_ONE_US, None, 0, -1], "us"),
        ("ns", [FIRST_NS, LAST_NS, None, 1, -1], "ns"),
        ("us", [1_577_836_800_000_005, None], "ns"),
        ("us", [None], "ns"),
        ("us", [], "ns"),
    ],
)
def test_no_timestamp_is_altered(tmp_path: Path, unit: str, values: list[int | None], read_as: str) -> None:
    """Timestamps are read as nanoseconds if all fit, else as microseconds, at any depth."""
    source = open_source(_write(tmp_path / "a.parquet", unit, values))
    read = RowReader(source).read(range(source.rows))
    assert read["x"].type == pa.timestamp(read_as)
    factor = 1_000 if (unit, read_as) == ("us", "ns") else 1
    expected = [None if value is None else value * factor for value in values]
    assert read["x"].cast(pa.int64()).to_pylist() == expected
    for name in ("list", "struct", "map"):
        inner = read[name].combine_chunks()
        while inner.type != read["x"].type:
            inner = inner.items if pa.types.is_map(inner.type) else inner.flatten()
            inner = inner[0] if isinstance(inner, list) else inner
        assert inner.cast(pa.int64()).to_pylist() == expected
    assert source.identity() == ({"int96_unit": "us"} if read_as == "us" else {})


def test_one_unit_holds_for_all_files(tmp_path: Path) -> None:
    """A file whose timestamps fit both units is read in the unit that the other files need, in any order of files."""
    _write(tmp_path / "a.parquet", "us", [0])
    _write(tmp_path / "b.parquet", "us", [DOOMSDAY_US])
    source = open_source(tmp_path)
    assert RowReader(source).read([0, 1])["x"].cast(pa.int64()).to_pylist() == [0, DOOMSDAY_US]


def test_what_no_unit_holds_is_refused_by_file_and_column(tmp_path: Path) -> None:
    """Values both too far and too fine for one unit are refused, within a column or across files; ``drop`` helps."""
    path = _write(tmp_path / "a.parquet", "us", [DOOMSDAY_US], [0])
    _write(tmp_path / "b.parquet", "ns", [0], [1])
    with pytest.raises(ConfigurationError, match=r"INT96 timestamps of column '[xy]' in '[ab]\.parquet'") as exc_info:
        open_source(tmp_path)
    assert "`drop=" in (exc_info.value.hint or "")
    assert open_source(tmp_path, drop=["y"]).schema.names == ["id", "text", "x"]
    assert open_source(tmp_path, drop=["x"]).schema.field("y").type == pa.timestamp("ns")
    assert open_source(path).schema.field("x").type == pa.timestamp("us")


def test_other_columns_of_nanoseconds_are_left_as_they_are(tmp_path: Path) -> None:
    """Other nanosecond columns are unaltered beside an INT96 column in any unit."""
    schema = pa.schema([("id", pa.int64()), ("far", pa.timestamp("us")), ("own", pa.int64())])
    far = pa.table([[1], pa.array([DOOMSDAY_US], pa.timestamp("us")), [5]], schema=schema)
    pq.write_table(far, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    pq.write_table(pa.table({"id": [1], "own": pa.array([1], pa.timestamp("ns"))}), tmp_path / "b.parquet")
    assert open_source(tmp_path / "b.parquet").schema.field("own").type == pa.timestamp("ns")
    assert open_source(tmp_path / "a.parquet").schema.field("far").type == pa.timestamp("us")
