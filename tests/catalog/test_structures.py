"""Parameters that are objects or lists: JSON where the card allows it, refused where it does not, never a string."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.request_body import request_schema
from tests.builders import build_request
from tests.datasets import read_table
from tts_pipeline.card import Card, Parameter
from tts_pipeline.catalog import Service
from tts_pipeline.catalog.checks import check_column, check_parameters, parameter_from_text
from tts_pipeline.catalog.value import JsonText, coerce, coerce_untyped, to_json_text
from tts_pipeline.config import InputColumns
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.estimates import estimate
from tts_pipeline.job import run
from tts_pipeline.models import Utterance
from tts_pipeline.source.columns import ColumnRoles, UtteranceMapper
from tts_pipeline.source.duplicates import RequestHasher

SERVICE = Service(name="s", base_url="http://localhost:1", auth="none")
FREE = Card("s", "m", permissive=True)
TYPED = Card(
    "s",
    "m",
    parameters={
        "voice": Parameter("voice", "string", choices=("Cherry",)),
        "style": Parameter("style", "string"),
        "settings": Parameter("settings", "object"),
        "tones": Parameter("tones", "array"),
        "speed": Parameter("speed", "number"),
    },
)
VOICE = {"id": "x", "weights": [1, 0.5], "more": {"b": None, "a": True}}


def body_of(card: Card, parameters: dict[str, Any]) -> dict[str, Any]:
    sent: dict[str, Any] = orjson.loads(build_request(SERVICE, card, "Hello.", check_parameters(card, parameters)).body)
    return sent


@pytest.mark.parametrize("voice", [VOICE, orjson.dumps(VOICE).decode(), {**VOICE, "weights": (1.0, 0.5)}])
def test_a_model_without_a_card_gets_the_object(voice: Any) -> None:
    """From Python, or as the text of a shell, a template or a column: always JSON, and always the same request."""
    assert body_of(FREE, {"voice": voice})["voice"] == VOICE
    keys = {
        build_request(SERVICE, FREE, "a", check_parameters(FREE, {"voice": value})).request_key
        for value in (voice, VOICE)
    }
    assert len(keys) == 1
    assert check_column(FREE, "voice", {orjson.dumps(VOICE).decode(): 2}) == {orjson.dumps(VOICE).decode(): VOICE}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"id":"x"}', {"id": "x"}),
        ("[1, 2]", [1, 2]),
        ("{not json}", "{not json}"),
        ("[laughs] Hello", "[laughs] Hello"),
        ("[" * 100_000, "[" * 100_000),
        ("5", 5),
        ("warm", "warm"),
    ],
)
def test_a_shell_spells_objects_as_json(text: str, value: Any) -> None:
    """What is no JSON is the text that it is."""
    assert parameter_from_text(FREE, "voice", text) == value
    assert check_parameters(FREE, {"voice": parameter_from_text(FREE, "voice", text)}) == {"voice": value}


def test_a_card_decides() -> None:
    """It may take objects and lists; where it takes a string or a number, an object is refused and never spelled."""
    assert check_parameters(TYPED, {"settings": '{"b":1,"a":2}', "tones": [1]}) == {
        "settings": {"a": 2, "b": 1},
        "tones": [1],
    }
    for name in ("voice", "style", "speed", "tones"):
        with pytest.raises(ConfigurationError, match=name):
            check_parameters(TYPED, {name: {"id": "x"}})
        with pytest.raises(ConfigurationError, match=name):
            check_parameters(TYPED, {name: parameter_from_text(TYPED, name, '{"id":"x"}')})
        with pytest.raises(ConfigurationError, match=r"'\{\"id\": \"x\"\}' \(3 rows\)"):
            check_column(TYPED, name, {JsonText('{"id": "x"}'): 3})
    schema = request_schema(TYPED)["properties"]
    assert isinstance(schema, dict)
    assert (schema["settings"]["type"], schema["tones"]["type"]) == ("object", "array")


@pytest.mark.parametrize(
    "bad", [{1: "a"}, {"a": float("nan")}, {"a": object()}, {"a": b"x"}, [[[]] * 2, {"a": {1, 2}}]]
)
def test_what_json_cannot_carry_is_refused(bad: Any) -> None:
    """Names that are no text, numbers that are none, and things of Python."""
    assert coerce_untyped(bad) is None
    assert coerce("object", bad) is None
    with pytest.raises(ConfigurationError, match="an object or a list"):
        check_parameters(FREE, {"voice": bad})


def test_too_deep_is_refused() -> None:
    """Nobody's parameter is nested a hundred times."""
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert coerce_untyped(deep) is None


def test_columns_of_structs_and_lists_are_objects() -> None:
    """Row by row; a field that is null is not set, and equal rows are told from others by what they send."""
    table = pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "text": ["Hello."] * 4,
            "voice": [{"id": "x", "rate": None}, {"id": "x", "rate": 2}, None, {"id": "x", "rate": None}],
            "tones": [[1], [], None, [1]],
        }
    )
    columns = InputColumns(parameters={"voice": "voice", "tones": "tones"})
    mapper = UtteranceMapper(ColumnRoles(columns, table.schema), FREE, {})
    keys = [(name, 0) for name in "abcd"]
    utterances = mapper.utterances(table, keys)
    assert [dict(utterance.parameters) for utterance in utterances] == [
        {"voice": {"id": "x"}, "tones": [1]},
        {"voice": {"id": "x", "rate": 2}, "tones": []},
        {},
        {"voice": {"id": "x"}, "tones": [1]},
    ]
    assert utterances[0].voice == '{"id": "x"}'
    request_hash = RequestHasher(mapper)
    hashes = request_hash.hash_rows(table).tolist()
    assert hashes == [request_hash.hash_utterance(utterance) for utterance in utterances]
    assert (hashes[0] == hashes[3], len(set(hashes))) == (True, 3)
    assert to_json_text([("a", 1), ("b", None)]) == '{"a": 1}'
    assert Utterance("a", "b", {"voice": ["x"]}).voice == '["x"]'


def test_a_run_and_its_estimate_take_them(tmp_path: Path, tone_service: LocalService) -> None:
    """From a Parquet file with structs; a second run goes on, and buys nothing."""
    rows = {
        "id": [1, 2, 3],
        "text": ["One.", "One.", "One."],
        "style": [{"mood": "calm"}, {"mood": "calm"}, {"mood": "glad"}],
    }
    pq.write_table(pa.table(rows), tmp_path / "lines.parquet")
    service = Service(base_url=tone_service.url, auth="none")
    tone_service.set_faults([])
    tone_service.reset_bill()
    job = {"model": "qwen3-tts-flash", "columns": {"style": "style"}, "voice": "Cherry", "extra": {"b": [1]}}
    job["unchecked"] = ["style", "extra"]
    for source in (tmp_path / "lines.parquet", pl.DataFrame(rows)):
        result = estimate(source, service, **job)  # type: ignore[arg-type] # a mapping of keywords
        assert (result.segments, result.repeated_rows) == (2, 1)
    for _ in range(2):
        report = run(tmp_path / "lines.parquet", tmp_path / "out", service, **job)  # type: ignore[arg-type] # as above
        assert (report.stopped, report.dataset.speech, tone_service.bill()["received"]) == (None, 3, 2)
    assert len(set(read_table(tmp_path / "out", "speech")["request_key"].to_pylist())) == 2
