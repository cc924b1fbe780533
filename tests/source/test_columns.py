from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.builders import FLASH, write_rows
from tests.datasets import utterance_mapper_of
from tts_pipeline.config import InputColumns
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.models import Utterance
from tts_pipeline.source.columns import ColumnRoles, UtteranceMapper
from tts_pipeline.source.parquet_source import open_source

IDS: dict[str, tuple[Any, pa.DataType]] = {
    "string": (["a", "b"], pa.string()),
    "large_string": (["a", "b"], pa.large_string()),
    "dictionary": (["a", "b"], pa.dictionary(pa.int32(), pa.string())),
    "int8": ([-1, 2], pa.int8()),
    "uint64": ([0, 2**64 - 1], pa.uint64()),
    "dictionary of integers": ([5, 6], pa.dictionary(pa.int8(), pa.int64())),
}


def _table(**more: Any) -> pa.Table:
    return pa.table({"id": ["a", "b"], "text": ["One.", "Two."], **more})


def _roles(table: pa.Table, **columns: Any) -> ColumnRoles:
    return ColumnRoles(InputColumns(**columns), table.schema)


@pytest.mark.parametrize("kind", IDS)
def test_ids_are_taken_as_their_text(kind: str) -> None:
    """Strings of any Arrow type are used as ids unchanged; integers become their decimal text."""
    values, type_ = IDS[kind]
    table = pa.table({"id": pa.array(values, type_), "text": ["One.", "Two."]})
    assert _roles(table).keys(table, [("f", 0), ("f", 1)]) == [(str(value), 0) for value in values]


def test_generated_ids_are_file_and_row() -> None:
    """A generated id is the relative path without its ending and the row in it; a column ``id`` passes through."""
    roles = _roles(_table(), generate_ids=True)
    assert roles.keys(_table(), [("deep/a.parquet", 7), ("b.parquet", 0)]) == [("deep/a:7", 0), ("b:0", 0)]
    assert [field.name for _, field in roles.passthrough] == ["id"]
    assert roles.id_and_parameter_columns() == []


def test_a_take_comes_from_its_column() -> None:
    """A null take is 0; the column is no voice parameter, and does not pass through."""
    table = _table(reading=pa.array([None, 3], pa.int16()))
    roles = _roles(table, parameters={"take": "reading"})
    assert roles.keys(table, [("f", 0), ("f", 1)]) == [("a", 0), ("b", 3)]
    assert roles.parameter_columns() == {}
    assert roles.passthrough == ()
    assert roles.id_and_parameter_columns() == ["id", "reading"]


@pytest.mark.parametrize(
    ("columns", "message", "hint"),
    [
        ({"text": "txet"}, "no column 'txet' for the text; its columns are 'id', 'text'", "Did you mean 'text'?"),
        ({"utterance_id": "ID"}, "no column 'ID' for the id", "Did you mean 'id'? use `utterance_id='NAME'`"),
        (
            {"parameters": {"voice": "speaker"}},
            "no column 'speaker' for the parameter 'voice'",
            "`columns={'voice': 'COLUMN'}`",
        ),
        ({"parameters": {"take": "nothing"}}, "no column 'nothing' for the take", "`columns={'take': 'COLUMN'}`"),
        ({"text": "number"}, "'number' for the text is of type int64, not string", "convert it"),
        ({"utterance_id": "real"}, "'real' for the id is of type double, not string or integer", "convert it"),
        ({"parameters": {"voice": "bytes"}}, "'bytes' for the parameter 'voice' is of type binary", "convert it"),
        ({"parameters": {"take": "text"}}, "'text' for the take is of type string, not integer", "convert it"),
        ({"rename": {"nubmer": "n"}}, "`rename` names a column that the source does not have: 'nubmer'", "'number'"),
        ({"rename": {"number": "audio"}}, "'audio' has the name of a column of the speech table", "`rename={"),
        ({"rename": {"number": "real"}}, "two columns would be named 'real'", "correct `rename`"),
    ],
)
def test_a_wrong_column_is_refused_with_its_name_and_a_way_out(columns: Any, message: str, hint: str) -> None:
    """The error for a missing, mistyped or colliding column names the column and the way out."""
    table = _table(number=[1, 2], real=[1.5, 2.5], bytes=[b"1", b"2"])
    with pytest.raises(ConfigurationError) as exc_info:
        _roles(table, **columns)
    assert message in exc_info.value.message
    assert hint in (exc_info.value.hint or "")


def test_a_column_that_stands_twice_is_refused() -> None:
    """Two columns of one name are refused, whether they have a role or pass through."""
    table = pa.table([["a"], ["b"], ["c"], ["d"], ["e"]], names=["id", "text", "text", "more", "more"])
    with pytest.raises(ConfigurationError, match="2 columns named 'text'"):
        _roles(table)
    with pytest.raises(ConfigurationError, match="two columns would be named 'more'"):
        ColumnRoles(InputColumns(), table.select([0, 1, 3, 4]).schema)


def test_a_colliding_column_is_refused_with_the_rename_to_use() -> None:
    """A column with the name of a column of the speech table is refused; the hint shows the rename that helps."""
    table = _table(voice=["x", "y"])
    with pytest.raises(ConfigurationError) as exc_info:
        _roles(table)
    assert "`rename={'voice': 'source_voice'}`" in (exc_info.value.hint or "")
    ((column, field),) = _roles(table, rename={"voice": "source_voice"}).passthrough
    assert (column, field.name) == ("voice", "source_voice")


def test_columns_with_a_role_do_not_pass_through() -> None:
    """Id, text and parameters have their own places; all other columns pass through, in order, with their types."""
    table = _table(speaker=["Cherry", None], n=[1, 2], deep=[{"x": 1}, None])
    roles = _roles(table, parameters={"voice": "speaker"})
    assert [(name, field.type) for name, field in roles.passthrough] == [
        ("n", pa.int64()),
        ("deep", pa.struct([("x", pa.int64())])),
    ]
    assert roles.id_and_parameter_columns() == ["id", "speaker"]


def test_a_row_of_the_text_table_name_may_be_the_text_column_itself() -> None:
    """A column named ``text`` collides with nothing if it holds the text; beside another text column it collides."""
    table = _table(sentence=["One.", "Two."])
    with pytest.raises(ConfigurationError, match="'text' has the name"):
        _roles(table, text="sentence")
    assert [field.name for _, field in _roles(table).passthrough] == ["sentence"]


def test_utterances_have_the_rows_values_before_the_fixed_ones(tmp_path: Path) -> None:
    """A row's own value replaces the fixed value; null keeps the fixed value; a null text is an empty text."""
    table = pa.table(
        {
            "id": [1, 2, 3],
            "text": pa.array(["One.", None, "Three."], pa.string()),
            "speaker": pa.array(["Stella", None, "Cherry"]).dictionary_encode(),
            "lang": ["de", None, "English"],
            "pace": [1.2, None, 1.0],
        }
    )
    source = open_source(write_rows(tmp_path / "a.parquet", table))
    columns = InputColumns(parameters={"voice": "speaker", "language_type": "lang", "speed": "pace"})
    mapper = utterance_mapper_of(source, columns)
    rows = table
    keys = mapper.roles.keys(rows, [("a", n) for n in range(3)])
    assert mapper.utterances(rows, keys) == [
        Utterance("1", "One.", {"voice": "Stella", "language_type": "German", "speed": 1.2}),
        Utterance("2", "", {"voice": "Cherry"}),
        Utterance("3", "Three.", {"voice": "Cherry", "language_type": "English", "speed": 1.0}),
    ]


def test_bad_values_of_a_column_are_told_with_their_row_counts() -> None:
    """The error names the distinct bad values, the most frequent first."""
    table = pa.table({"id": ["a"], "text": ["b"], "speaker": ["Cherry"]})
    mapper = UtteranceMapper(ColumnRoles(InputColumns(parameters={"voice": "speaker"}), table.schema), FLASH, {})
    with pytest.raises(ConfigurationError, match=r"'Cherri' \(7 rows\), 'Bob' \(1 row\)"):
        mapper.check_values("voice", {"Cherry": 3, "Bob": 1, "Cherri": 7})


def test_naming_columns_stand_once_each() -> None:
    """A column with two roles is read once."""
    table = _table()
    roles = _roles(table, parameters={"voice": "id", "speed": "id"})
    assert roles.id_and_parameter_columns() == ["id"]
