"""Parameters of rows: checked as for a run, and told apart as requests are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import pytest

from tests.builders import NARRATOR
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.estimates.input_rows import BATCH_ROWS, FrameRows
from tts_pipeline.estimates.row_parameters import RowParameters, check_row_parameters, from_json, to_json
from tts_pipeline.models import ParameterValue
from tts_pipeline.source.scan import MAX_DISTINCT


def _check(
    columns: Mapping[str, Sequence[Any]] | pl.DataFrame,
    fixed: Mapping[str, ParameterValue] | None = None,
    unchecked: Sequence[str] = (),
) -> tuple[RowParameters, pl.DataFrame]:
    frame = pl.DataFrame(columns, strict=False)
    mapped = {name: name for name in frame.columns}
    return check_row_parameters(FrameRows(frame.lazy()), NARRATOR, fixed or {}, mapped, unchecked), frame


def _wire_values(name: str, values: Sequence[Any], fixed: Mapping[str, ParameterValue] | None = None) -> list[Any]:
    parameters, frame = _check({name: values}, fixed)
    return [from_json(label) for label in frame.select(parameters.as_json(name).alias("sent"))["sent"].to_list()]


@pytest.mark.parametrize(
    ("name", "values", "sent"),
    [
        ("voice", ["anna", None, "bert"], ["anna", None, "bert"]),
        ("language", ["de-AT", "German", "Auto", "en"], ["German", "German", "Auto", "English"]),
        ("speed", [1, 1.5, None], [1, 1.5, None]),
        ("speed", ["1.0", "1.5"], [1, 1.5]),
        ("stream", [True, False, None], [True, False, None]),
        ("style", ["1", 'say "hi"', ""], ["1", 'say "hi"', ""]),
        ("voice", [None, None], [None, None]),
    ],
)
def test_a_rows_value_is_what_a_run_would_send(name: str, values: Sequence[Any], sent: Sequence[Any]) -> None:
    """Languages by the service's word, numbers as numbers, nulls unset."""
    assert _wire_values(name, values) == sent


def test_a_null_gets_the_value_for_all_rows() -> None:
    """And is then the same request as one that gives it."""
    assert _wire_values("voice", ["bert", None], {"voice": "anna"}) == ["bert", "anna"]
    assert _wire_values("voice", [None, None], {"voice": "anna"}) == ["anna", "anna"]


def test_categories_are_texts() -> None:
    """Arrow dictionaries and Polars' categories and enums alike."""
    for kind in (pl.Categorical, pl.Enum(["anna", "bert"])):
        sending, frame = _check(pl.DataFrame({"voice": pl.Series(["anna", None, "bert"], dtype=kind)}))
        assert frame.select(sending.as_json("voice"))["voice"].to_list() == ['"anna"', None, '"bert"']


def test_float32_is_what_was_meant() -> None:
    """1.2 is a step of 0.1 also where a column holds it as 1.2000000477."""
    sending, frame = _check(pl.DataFrame({"speed": pl.Series([1.2, 0.7], dtype=pl.Float32)}))
    assert frame.select(sending.as_json("speed"))["speed"].to_list() == ["1.2", "0.7"]


def test_bad_values_are_named_with_their_rows() -> None:
    """Over all batches, not only the first one that has any."""
    rows = ["anna"] * BATCH_ROWS + ["carl", "anna", "carl", "dora"]
    rows[0] = "carl"
    with pytest.raises(ConfigurationError, match=r"'carl' \(3 rows\), 'dora' \(1 row\)"):
        _check({"voice": rows})


def test_bad_values_for_all_rows_are_refused() -> None:
    """Also where there is no row at all."""
    with pytest.raises(ConfigurationError, match="no parameter 'pitch'"):
        _check({"voice": []}, {"pitch": 1.0})


def test_unchecked_values_pass() -> None:
    """As they do in a run."""
    sending, frame = _check({"voice": ["carl"]}, unchecked=["voice"])
    assert frame.select(sending.as_json("voice"))["voice"].to_list() == ['"carl"']


def test_more_values_than_can_be_held_tell_rows_apart_as_they_are() -> None:
    """And are not counted one by one in the breakdown."""
    styles = [f"style {number}" for number in range(MAX_DISTINCT + 1)]
    sending, frame = _check({"style": [*styles, None]}, {"style": "plain"})
    assert frame.select(pl.struct(sending.identity_columns()).n_unique()).item() == MAX_DISTINCT + 2
    assert frame.select(sending.label("style").alias("label"))["label"].to_list() == [None]


def test_too_many_bad_values_are_refused_before_they_fill_the_memory() -> None:
    """Ids in place of voices: the message comes with what was counted until then."""
    with pytest.raises(ConfigurationError, match=r"and [0-9]+ more"):
        _check({"voice": [f"id {number}" for number in range(MAX_DISTINCT + 1)]})


def test_what_is_not_in_the_body_makes_no_difference() -> None:
    """A streamed request is the same purchase; another take is not."""
    sending, frame = _check({"stream": [True, False], "take": [None, 0]})
    assert frame.select(pl.struct(sending.identity_columns()).n_unique()).item() == 1
    sending, frame = _check({"voice": ["anna", "anna"], "take": [1, 0]})
    assert frame.select(pl.struct(sending.identity_columns()).n_unique()).item() == 2


def test_one_column_may_carry_two_parameters() -> None:
    """It is read once."""
    frame = pl.DataFrame({"who": ["anna"]})
    columns = {"voice": "who", "style": "who"}
    sending = check_row_parameters(FrameRows(frame.lazy()), NARRATOR, {}, columns, ())
    assert frame.select(pl.struct(sending.identity_columns()).alias("sent"))["sent"].to_list() == [
        {"sent voice": '"anna"', "sent style": '"anna"'}
    ]


def test_values_are_written_so_that_kinds_differ() -> None:
    """1, "1" and true are three different requests."""
    values: list[ParameterValue] = [1, "1", True, 1.5, 'ä"', ""]
    assert len({to_json(value) for value in values}) == len(values)
    assert [from_json(to_json(value)) for value in values] == values
    assert (to_json(None), from_json(None)) == (None, None)
