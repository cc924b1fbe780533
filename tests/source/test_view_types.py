from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.source.row_reader import RowReader

VIEWS: dict[str, tuple[list[object], pa.DataType, pa.DataType]] = {
    "text": (["a", "b", None], pa.string_view(), pa.string()),
    "bytes": ([b"a", b"b", None], pa.binary_view(), pa.binary()),
    "list": ([["a"], [], None], pa.list_(pa.string_view()), pa.list_(pa.string())),
    "large_list": ([["a"], [], None], pa.large_list(pa.string_view()), pa.large_list(pa.string())),
    "struct": ([{"a": "b"}, None, {"a": None}], pa.struct([("a", pa.string_view())]), pa.struct([("a", pa.string())])),
    "map": ([[("k", "v")], [], None], pa.map_(pa.string(), pa.string_view()), pa.map_(pa.string(), pa.string())),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_views_are_read_as_their_plain_kin(tmp_path: Path, kind: str) -> None:
    """A column of a view type, at any depth, is read with the same values in its plain type."""
    values, view, plain = VIEWS[kind]
    pq.write_table(pa.table({"id": [1, 2, 3], "x": pa.array(values, view)}), tmp_path / "a.parquet")
    read = RowReader(open_source(tmp_path / "a.parquet")).read([0, 2])
    assert read.schema.field("x").type == plain
    assert read.take(pa.array([1, 0]))["x"].to_pylist() == [values[2], values[0]]


def test_other_types_are_left_as_they_are(tmp_path: Path) -> None:
    """Names of list items, nullability and dictionaries stay unchanged."""
    schema = pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False),
            ("words", pa.list_(pa.field("element", pa.string(), nullable=False))),
            ("kind", pa.dictionary(pa.int32(), pa.string())),
        ]
    )
    pq.write_table(schema.empty_table(), tmp_path / "a.parquet")
    assert open_source(tmp_path / "a.parquet").schema == schema


def test_a_type_that_rows_cannot_be_taken_of_is_refused_before_anything_is_bought(tmp_path: Path) -> None:
    """The error names the column and its type."""
    table = pa.table({"id": [1], "pairs": pa.array([["a", "b"]], pa.list_(pa.string_view(), 2))})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ConfigurationError, match=r"'pairs' is of type fixed_size_list"):
        open_source(tmp_path / "a.parquet")
