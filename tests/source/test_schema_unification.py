"""Tests of files of one source whose columns differ in ways that only Arrow knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.schema_unification import unify_schemas

TEXT = pa.string()
UUID = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, None], pa.binary(16)))


def _category(value: pa.DataType, *, is_ordered: bool = False) -> pa.DataType:
    return pa.dictionary(pa.int8(), value, is_ordered)


ALIKE: dict[str, tuple[pa.DataType, list[pa.Array]]] = {
    "text": (
        pa.large_string(),
        [
            *(
                pa.array(["a", None], kind)
                for kind in (TEXT, _category(TEXT), pa.string_view(), pa.large_string(), _category(pa.large_string()))
            ),
            pa.array(["a", None]).cast(_category(TEXT, is_ordered=True)),
            pa.nulls(2),
        ],
    ),
    "bytes": (pa.binary(), [pa.array([b"a", None], kind) for kind in (pa.binary_view(), _category(pa.binary()))]),
    "list": (
        pa.large_list(pa.field("element", pa.large_string())),
        [
            *(pa.array([["a", None], None], pa.list_(kind)) for kind in (TEXT, pa.large_string(), _category(TEXT))),
            pa.array([["a"], []], pa.large_list(pa.field("x", TEXT, nullable=False))),
            pa.array([["a", "b"], None], pa.list_(TEXT, 2)),
            pa.array([[None], None], pa.list_(pa.null())),
        ],
    ),
    "struct": (
        pa.struct([("a", pa.int64()), ("b", TEXT)]),
        [
            pa.array([{"a": 1, "b": "x"}, None], pa.struct([("a", pa.int64()), ("b", TEXT)])),
            pa.array([{"a": 1, "b": "x"}, None], pa.struct([("b", _category(TEXT)), ("a", pa.int64())])),
            pa.array([{"b": "x"}, None], pa.struct([("a", pa.null()), ("b", TEXT)])),
        ],
    ),
    "map": (
        pa.map_(TEXT, pa.large_string()),
        [pa.array([[("k", "v")], None], pa.map_(TEXT, kind)) for kind in (_category(TEXT), pa.large_string())],
    ),
    "instant": (
        pa.timestamp("us", "UTC"),
        [pa.array([1, None], pa.timestamp("us", zone)) for zone in ("Europe/Berlin", "UTC", "+02:00")],
    ),
    "number": (pa.decimal64(5, 2), [pa.array([1, None], kind(5, 2)) for kind in (pa.decimal32, pa.decimal64)]),
    "uuid": (pa.binary(16), [UUID, UUID.storage]),
    "nothing": (pa.null(), [pa.nulls(2), pa.nulls(2)]),
    "integers": (pa.int64(), [pa.nulls(2), pa.array([1, None])]),
}


def _write(folder: Path, columns: Sequence[pa.Array]) -> Source:
    for number, column in enumerate(columns):
        ids, texts = pa.array([f"{number}-{row}" for row in range(2)]), pa.array(["One.", "Two."])
        order = {"id": ids, "text": texts, "x": column}
        names = list(order) if number % 2 else list(reversed(order))
        pq.write_table(pa.table({name: order[name] for name in names}), folder / f"{number}.parquet")
    return open_source(folder)


@pytest.mark.parametrize("kind", ALIKE)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_what_only_arrow_tells_apart_is_unified(tmp_path: Path, kind: str, is_reversed: bool) -> None:
    """Widths, categories, views, kinds of lists, zones, order, nullability, all-null columns: no value changes."""
    unified, columns = ALIKE[kind]
    columns = columns[::-1] if is_reversed else columns
    source = _write(tmp_path, columns)
    assert _names_aside(source.schema.field("x").type) == _names_aside(unified)
    read = RowReader(source).read(range(source.rows))
    values = [value for column in columns for value in _plain(column).to_pylist()]
    assert read["x"].to_pylist() == values
    assert read["id"].to_pylist()[:3] == ["0-0", "0-1", "1-0"]


def _plain(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _names_aside(kind: pa.DataType) -> str:
    """Return a type without the properties of the first file: names of list items, order of fields."""
    text = str(kind).replace("<x: ", "<element: ").replace(" not null", "")
    return ", ".join(sorted(text.removeprefix("struct<").split(", "))).replace(">", "")


DIFFERENT: dict[str, tuple[Any, Any]] = {
    "id: int64 / string": (pa.array([1, 2]), pa.array(["1", "2"])),
    "int32 / int64": (pa.array([1, 2], pa.int32()), pa.array([1, 2], pa.int64())),
    "timestamp[us] / timestamp[us, tz=UTC]": (pa.timestamp("us"), pa.timestamp("us", "UTC")),
    "timestamp[ms] / timestamp[us]": (pa.timestamp("ms"), pa.timestamp("us")),
    "decimal128(5, 2) / decimal128(6, 2)": (pa.decimal128(5, 2), pa.decimal128(6, 2)),
    "string / binary": (TEXT, pa.binary()),
    "struct<a: int64> / struct<b: int64>": (pa.struct([("a", pa.int64())]), pa.struct([("b", pa.int64())])),
    "list<element: int64> / list<element: string>": (pa.list_(pa.int64()), pa.list_(TEXT)),
    "null / list_view<element: string>": (pa.null(), pa.list_view(TEXT)),
}


@pytest.mark.parametrize("difference", DIFFERENT)
def test_what_parquet_tells_apart_is_refused(tmp_path: Path, difference: str) -> None:
    """The error names both files, the column and both types, even if a file between them has no value."""
    first, second = (kind if isinstance(kind, pa.Array) else pa.nulls(2, kind) for kind in DIFFERENT[difference])
    between = pa.nulls(2, TEXT) if "null /" in difference else pa.nulls(2)
    columns = [first, second] if "null /" in difference else [between, first, second]
    with pytest.raises(ConfigurationError) as exc_info:
        _write(tmp_path, columns)
    last = len(columns) - 1
    assert f"the columns of '{last}.parquet' differ from those of '{last - 1}.parquet'" in exc_info.value.message
    assert f"x: {difference.removeprefix('id: ')}" in exc_info.value.message
    assert "`drop=" in (exc_info.value.hint or "")


def test_ten_thousand_files_of_a_few_kinds_are_unified() -> None:
    """A schema that occurred before costs one comparison."""
    kinds = [pa.schema([("id", TEXT), ("x", kind)]) for kind in (TEXT, pa.null(), pa.large_string())]
    schemas = [(f"{number}.parquet", kinds[number % 3]) for number in range(10_000)]
    assert unify_schemas(schemas).field("x").type == pa.large_string()
