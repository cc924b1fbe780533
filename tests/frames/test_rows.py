"""Frames in and out: what is said of which row, and where the results stand."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import line_frame
from tts_pipeline.config import InputColumns
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.frames.rows import (
    RESULT_COLUMNS,
    ColumnArguments,
    column_arguments,
    empty_outcomes,
    outcomes_of,
    utterance_rows,
    with_outcomes,
)
from tts_pipeline.schema import REJECTS, SPEECH, arrow_fields, to_table

IDS = st.one_of(st.none(), st.integers(0, 3), st.sampled_from([10, 11]))
NOT_NULL: dict[str, Any] = {
    "take": 0,
    "text": "t",
    "service": "s",
    "model": "m",
    "audio": {"bytes": b"RIFF", "path": "x.wav"},
    "audio_format": "wav",
    "sample_rate_hz": 24_000,
    "channels": 1,
    "duration_ms": 5,
    "audio_sha256": "0",
    "segments": 1,
    "attempts": 1,
    "request_key": "k",
    "characters_counted": 1,
    "characters_billed": 1,
    "quality": [],
    "created_at": 0,
    "invocation_id": "i",
}
REJECTED: dict[str, Any] = {
    "take": 0,
    "error_class": "input",
    "error_code": "EmptyText",
    "message": "empty",
    "attempts": 0,
    "failed_at": 0,
    "invocation_id": "i",
}


@given(ids=st.lists(IDS))
def test_ids_are_unique(ids: list[int | None]) -> None:
    """Whatever is given: a missing one is the row's number, a repeated one gets it behind."""
    frame = pl.DataFrame({"id": pl.Series(ids, dtype=pl.Int64), "text": pl.Series([""] * len(ids), dtype=pl.String)})
    names = utterance_rows(frame.with_columns(id=pl.format("r{}", "id")), ColumnArguments())["utterance_id"].to_list()
    assert len(set(names)) == len(ids)
    firsts = [None if id_ is None else f"r{id_}" for id_ in ids]
    assert all(
        name == (f"{place}" if id_ is None else id_ if id_ not in firsts[:place] else f"{id_}:{place}")
        for place, (name, id_) in enumerate(zip(names, firsts, strict=True))
    )


@given(ids=st.lists(st.sampled_from([None, "0", "1", "1:1", "a", "a:2", "a:2:2"]), max_size=8))
def test_a_name_that_is_made_is_no_given_one(ids: list[str | None]) -> None:
    """Ids may look like ours: a row's number, or an id with one behind. The first row with an id keeps it."""
    frame = pl.DataFrame({"id": pl.Series(ids, dtype=pl.String), "text": pl.Series([""] * len(ids), dtype=pl.String)})
    names = utterance_rows(frame, ColumnArguments())["utterance_id"].to_list()
    assert len(set(names)) == len(ids)
    assert all(names[ids.index(id_)] == id_ for id_ in set(ids) - {None})


@given(has_speech=st.lists(st.booleans()), seed=st.integers(0, 99))
def test_results_stand_beside_their_rows(has_speech: list[bool], seed: int) -> None:
    """In whatever order they come, for Polars and for Arrow."""
    frame = pl.DataFrame({"id": [f"r{place}" for place in range(len(has_speech))], "text": ["t"] * len(has_speech)})
    frame = frame.cast(pl.String)
    places = random.Random(seed).sample(range(len(has_speech)), len(has_speech))
    spoken = [{**NOT_NULL, "utterance_id": f"r{place}", "duration_ms": place} for place in places if has_speech[place]]
    rejected = [{**REJECTED, "utterance_id": f"r{place}"} for place in places if not has_speech[place]]
    outcomes = outcomes_of(
        to_table(spoken, pa.schema(arrow_fields(SPEECH))), to_table(rejected, pa.schema(arrow_fields(REJECTS)))
    )
    for table in (frame, pa.table(frame)):
        result = pl.DataFrame(with_outcomes(table, utterance_rows(table, ColumnArguments()), outcomes))
        assert result.columns == ["id", "text", *RESULT_COLUMNS]
        assert result["utterance_id"].equals(frame["id"], check_names=False)
        assert result["duration_ms"].to_list() == [
            place if is_speech else None for place, is_speech in enumerate(has_speech)
        ]
        assert result["error_code"].to_list() == [None if is_speech else "EmptyText" for is_speech in has_speech]


def test_the_columns_of_no_rows() -> None:
    """Have the types of the tables."""
    assert empty_outcomes().columns == list(RESULT_COLUMNS)
    assert empty_outcomes().schema["cost"] == pl.Decimal(18, 9)
    assert empty_outcomes().schema["audio"] == pl.Struct({"bytes": pl.Binary, "path": pl.String})


def test_texts_and_parameters_may_be_of_categories() -> None:
    """Or all null: what is said is a string. One value is repeated for every row."""
    frame = pl.DataFrame({"line": pl.Series(["a", "b"], dtype=pl.Categorical), "style": [None, None]})
    arguments = ColumnArguments(
        text="line", columns={"instructions": "style"}, parameters={"voice": pl.lit("Cherry"), "speed": 1.0}
    )
    utterances = utterance_rows(frame, arguments)
    assert utterances.rows(named=True) == [
        {"text": "a", "instructions": None, "voice": "Cherry", "utterance_id": "0"},
        {"text": "b", "instructions": None, "voice": "Cherry", "utterance_id": "1"},
    ]
    assert arguments.fixed_parameters == {"speed": 1.0}


def test_columns_may_be_the_whole_value() -> None:
    """What names a column by itself goes before it; without files to make ids of, a row's number is its id."""
    frame = pl.DataFrame({"id": ["a", "b"], "key": [7, 8], "line": ["One.", "Two."], "speaker": ["Cherry", None]})
    columns = InputColumns(text="line", utterance_id="key", parameters={"voice": "speaker"})
    utterances = utterance_rows(frame, column_arguments(None, None, columns, {}))
    assert utterances.select("utterance_id", "text", "voice").rows() == [("7", "One.", "Cherry"), ("8", "Two.", None)]
    for columns, utterance_id, ids in (
        (InputColumns(text="line"), None, ["a", "b"]),
        (InputColumns(text="line", generate_ids=True), None, ["0", "1"]),
        (InputColumns(text="key", generate_ids=True), "key", ["7", "8"]),
    ):
        rows = utterance_rows(frame, column_arguments("line", utterance_id, columns, {}))
        assert (rows["utterance_id"].to_list(), rows["text"].to_list()) == (ids, ["One.", "Two."])


@pytest.mark.parametrize(
    "columns", [InputColumns(rename={"a": "b"}), InputColumns(drop=["a"]), InputColumns(hive=False)]
)
def test_what_is_for_files_is_refused(columns: InputColumns) -> None:
    """By its name."""
    with pytest.raises(ConfigurationError, match=r"^(rename|drop|hive) of columns is for files"):
        column_arguments(None, None, columns, {})


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_one_text_is_said_for_every_row(rows: int) -> None:
    """Also when no expression looks at the frame, and when there are no rows."""
    frame = pl.DataFrame({"x": [1] * rows}, schema={"x": pl.Int64})
    for table in (frame, pa.table(frame)):
        assert utterance_rows(table, ColumnArguments(text=pl.lit("Hello.")))["text"].to_list() == ["Hello."] * rows


@pytest.mark.parametrize(
    "text",
    [pl.col("text").head(2), pl.col("text").filter(pl.col("text") == "a"), pl.col("text").repeat_by(2).explode()],
)
@pytest.mark.parametrize("rows", [1, 3])
def test_other_rows_than_the_frames_are_refused(text: pl.Expr, rows: int) -> None:
    """Before anything is bought that could not stand beside a row."""
    frame = pl.DataFrame({"text": ["a", "b", "c"][:rows]})
    if frame.select(text).height == rows:
        return
    with pytest.raises(ConfigurationError, match=f"one value for each of the frame's {rows} rows"):
        utterance_rows(frame, ColumnArguments(text=text))


def test_ids_that_are_no_text_are_refused() -> None:
    """By us, with what to do; not by whatever Polars raises."""
    with pytest.raises(ConfigurationError, match=r"List\(Int64\), which cannot be converted to text"):
        utterance_rows(pl.DataFrame({"id": [[1]], "text": ["a"]}), ColumnArguments())


def test_a_column_that_is_not_needed_may_be_of_any_type() -> None:
    """Polars need not know it."""
    strange = pa.table({"text": ["a"], "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64()))})
    result: Any = with_outcomes(strange, utterance_rows(strange, ColumnArguments()), empty_outcomes())
    assert result.column("map").type == strange.column("map").type


def test_a_result_is_no_frame_to_say() -> None:
    """Its columns would stand there twice; the way out is named. But ids may be called as ours are."""
    frame = line_frame(1).with_columns(utterance_id=pl.lit("mine"))
    with pytest.raises(ConfigurationError, match="drop or rename 'utterance_id'"):
        utterance_rows(frame, ColumnArguments())
    utterances = utterance_rows(frame, ColumnArguments(utterance_id="utterance_id"))
    result = with_outcomes(frame, utterances, empty_outcomes())
    assert result.columns == ["text", "utterance_id", *RESULT_COLUMNS[1:]]
