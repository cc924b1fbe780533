"""Tests of folders such as ``speaker=Cherry`` as columns of a source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source.hive import NULL_FOLDER, partition_keys
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.source.row_reader import RowReader


def _write(path: Path, rows: int = 2, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": [f"{path.stem}{n}" for n in range(rows)], "text": ["Hi."] * rows, **more}), path)
    return path


def _read(location: Path, columns: list[str] | None = None) -> pa.Table:
    source = open_source(location)
    return RowReader(source, columns).read(range(source.rows))


@pytest.mark.parametrize(
    "values",
    [
        ["1", "2"],
        ["01", "-7"],
        ["1", "3000000000"],
        ["+1", "2"],
        ["1", NULL_FOLDER],
        ["a%20b", "%C3%A9%3D"],
        ["", "x"],
        ["a=b", " c"],
        ["2024-01-01", "2024-01-02"],
        ["true", "1.5"],
    ],
)
def test_types_and_values_are_those_of_pyarrow(tmp_path: Path, values: list[str]) -> None:
    """A column of 32-bit integers only is int32, else string; escapes are decoded, the default partition is null."""
    for number, value in enumerate(values):
        _write(tmp_path / f"part={value}" / f"{number}.parquet")
    expected = ds.dataset(tmp_path, partitioning="hive").to_table()
    actual = _read(tmp_path)
    assert actual.schema.equals(expected.schema)
    assert sorted(actual.to_pylist(), key=str) == sorted(expected.to_pylist(), key=str)


def test_columns_of_folders_are_read_like_all_others(tmp_path: Path) -> None:
    """Hive columns are read alone, in any order and by a glob; they follow the columns of the files."""
    for speaker in ("Cherry", "Stella"):
        _write(tmp_path / f"_lang=en/speaker={speaker}" / "a.parquet", 3)
    assert _read(tmp_path).schema.names == ["id", "text", "_lang", "speaker"]
    assert _read(tmp_path, ["speaker"]).to_pydict() == {"speaker": ["Cherry"] * 3 + ["Stella"] * 3}
    assert _read(tmp_path, ["speaker", "id"]).schema.names == ["speaker", "id"]
    assert _read(tmp_path / "_lang=*" / "*" / "*.parquet").schema.names == ["id", "text", "_lang", "speaker"]
    assert _read(tmp_path / "_lang=en").schema.names == ["id", "text", "speaker"]  # below the source, as Spark has it
    assert open_source(tmp_path, hive=False).schema.names == ["id", "text"]


def test_a_default_partition_alone_is_text(tmp_path: Path) -> None:
    """No type is inferred without a value."""
    _write(tmp_path / f"k={NULL_FOLDER}" / "a.parquet")
    assert _read(tmp_path).column("k").type == pa.string()


def test_what_a_folder_says_is_not_in_the_files_fingerprint_twice(tmp_path: Path) -> None:
    """Paths contain the folders' names: the fingerprint of the files is the same with and without Hive columns."""
    _write(tmp_path / "k=1" / "a.parquet")
    assert open_source(tmp_path).fingerprint() == open_source(tmp_path, hive=False).fingerprint()
    assert (open_source(tmp_path).hive, open_source(tmp_path, hive=False).hive) == ({"k": "int32"}, {})


def test_files_whose_folders_name_other_keys_are_refused(tmp_path: Path) -> None:
    """Files whose folders have different keys are refused: a missing value would buy the service's default voice."""
    _write(tmp_path / "a.parquet")
    _write(tmp_path / "speaker=Cherry" / "b.parquet")
    with pytest.raises(
        ConfigurationError, match=r"'speaker=Cherry/b.parquet' name 'speaker', those of .* none"
    ) as exc_info:
        open_source(tmp_path)
    assert "`hive=False`" in (exc_info.value.hint or "")
    assert open_source(tmp_path, hive=False).rows == 4


def test_a_key_twice_is_refused() -> None:
    """A key that occurs twice in a path is refused; a folder without a name before ``=`` is no key."""
    assert partition_keys("=1/k=/a=b.parquet") == {"k": ""}
    with pytest.raises(ConfigurationError, match="twice"):
        partition_keys("k=1/k=2/a.parquet")


@pytest.mark.parametrize(
    ("folder", "column", "is_same"),
    [
        ("k=Cherry", ["Cherry", "Cherry"], True),
        ("k=01", ["01", "01"], True),
        ("k=7", pa.array([7, 7], pa.int64()), True),
        (f"k={NULL_FOLDER}", pa.array([None, None], pa.string()), True),
        ("k=Cherry", ["Cherry", "Stella"], False),
        ("k=Cherry", ["Cherry", None], False),
        ("k=7", [7.5, 7.5], False),
        ("k=7", pa.array([[7], [7]]), False),
    ],
)
def test_a_column_of_the_files_own_is_taken_where_it_says_the_same(
    tmp_path: Path, folder: str, column: Any, is_same: bool
) -> None:
    """A file's own column is used if it holds the folder's value; otherwise it is refused as ambiguous."""
    _write(tmp_path / folder / "a.parquet", k=column)
    if is_same:
        source = open_source(tmp_path)
        assert source.hive == {}
        assert RowReader(source).read([0]).column("k").type == pa.array(column).type
        return
    with pytest.raises(
        ConfigurationError, match="own column 'k', which may differ from its folder's value"
    ) as exc_info:
        open_source(tmp_path)
    assert "`hive=False`" in (exc_info.value.hint or "")
    assert open_source(tmp_path, hive=False).schema.names == ["id", "text", "k"]
