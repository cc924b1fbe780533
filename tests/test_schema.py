from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import asdict

from schemas.tables import INPUT_COLUMN, describe_table
from tests.builders import NOW_US, audio_of, make_speech
from tts_pipeline.models import Reject, Utterance
from tts_pipeline.schema import (
    HUGGING_FACE,
    MONEY,
    REJECTS,
    SPEECH,
    TABLES,
    TIMESTAMP,
    USAGE,
    arrow_fields,
    rejects_schema,
    speech_schema,
    to_array,
    to_table,
    usage_schema,
)
from tts_pipeline.wal.records import RejectValues, SpeechValues

PUBLISHED = Path(__file__).parent.parent / "schemas"

SPEECH_CONTRACT = """utterance_id string, take int32, text string, service string, model string, voice string,
language string, audio struct<bytes: binary, path: string>, audio_format string, sample_rate_hz int32, channels int32,
duration_ms int64, audio_sha256 string, timestamps list<struct<text: string, start_ms: int64, end_ms: int64,
text_start: int32, text_end: int32>>, timestamps_source string, segments int16, attempts int16, request_id string,
request_key string, deduplicated_from string, characters_counted int64, characters_reported int64,
characters_billed int64, input_tokens int64, output_tokens int64, total_tokens int64, cost decimal128(18, 9),
currency string, quality list<string>, created_at timestamp[us, tz=UTC], invocation_id string"""

USAGE_CONTRACT = """attempt_id string, invocation_id string, journal_id string, utterance_id string, take int32,
segment int16, attempt int16, account string, service string, model string, voice string,
started_at timestamp[us, tz=UTC], finished_at timestamp[us, tz=UTC], latency_ms int64, http_status int16,
outcome string, error_code string, request_id string, characters_counted int64, characters_reported int64,
characters_billed int64, characters_upper_bound int64, input_tokens int64, output_tokens int64, total_tokens int64,
price_id string, price_basis string, cost decimal128(18, 9), cost_upper_bound decimal128(18, 9), currency string,
tags map<string, string>, implausible bool, list_cost decimal128(18, 9), kind string, audio_ms int64, door string,
key_id string"""

REJECTS_CONTRACT = """utterance_id string, take int32, error_class string, error_code string, message string,
attempts int16, cost decimal128(18, 9), currency string, failed_at timestamp[us, tz=UTC], invocation_id string"""


@pytest.mark.parametrize(
    ("table", "contract"), [("speech", SPEECH_CONTRACT), ("usage", USAGE_CONTRACT), ("rejects", REJECTS_CONTRACT)]
)
def test_the_tables_have_the_columns_that_were_promised(table: str, contract: str) -> None:
    """Names, types and order; readers depend on them, so a change of this test is a change for every reader."""
    described = describe_table(table)["columns"]
    if table == "rejects":
        assert described.pop()["name"] == "input"
    assert ", ".join(f"{column['name']} {column['type']}" for column in described) == contract.replace("\n", " ")


@pytest.mark.parametrize("table", TABLES)
def test_the_published_description_is_that_of_the_code(table: str) -> None:
    """``schemas/<table>.json`` is made from the code; after a change it is written anew by ``make schemas``."""
    published = (PUBLISHED / f"{table}.json").read_text(encoding="utf-8")
    assert published == json.dumps(describe_table(table), indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("table", TABLES)
def test_every_column_says_what_it_means(table: str) -> None:
    """A sentence each; a column with a unit in its name, or with money, names its unit."""
    for column in describe_table(table)["columns"]:
        assert column["meaning"].endswith(".")
        if column["name"].endswith(("_ms", "_hz")) or "cost" in column["name"]:
            assert column["unit"], column["name"]
        if column["name"].startswith("characters_") or column["name"].endswith("_tokens"):
            assert column["unit"] in {"characters", "tokens"}


def test_the_description_and_the_files_agree_on_nullability() -> None:
    """What the description says may be null is what the files' schema says."""
    passed = [pa.field("own", pa.list_(pa.int8()), nullable=False)]
    speech = speech_schema(passed)
    assert [(f.name, f.nullable) for f in speech] == [*((c.name, c.nullable) for c in SPEECH), ("own", False)]
    assert speech.metadata == HUGGING_FACE
    assert [(f.name, f.nullable) for f in usage_schema()] == [(c.name, c.nullable) for c in USAGE]
    source = pa.schema([("id", pa.int64()), ("text", pa.string())])
    rejects = rejects_schema(source)
    assert [(f.name, f.nullable) for f in rejects] == [(c.name, c.nullable) for c in (*REJECTS, INPUT_COLUMN)]
    assert rejects.field("input").type == pa.struct(list(source))


def _one(values: dict[str, Any], schema: pa.Schema, **more: Any) -> dict[str, Any]:
    known = pa.schema([field for field in schema if field.name in {*values, *more}])
    assert set(values) | set(more) <= set(schema.names), "a value without a column would be lost"
    (row,) = to_table([{**values, **more}], known).to_pylist()
    return dict(row)


def test_a_speech_and_a_reject_become_their_columns() -> None:
    """Every value has its column; money and instants come out exact."""
    utterance = Utterance("u", "Hello.", {"voice": "Cherry"})
    values = asdict(SpeechValues.of(make_speech(utterance, audio_of("Hello."), 6)))
    speech = _one(values | {"timestamps": None}, speech_schema([]))
    assert (speech["cost"], speech["voice"], speech["language"]) == (Decimal("0.000480000"), "Cherry", "en")
    assert int(speech["created_at"].timestamp() * 1_000_000) == NOW_US
    reject = Reject(utterance, "permanent", "X", "why (hint)", 2, Decimal("0.000000001"), "CNY", NOW_US)
    row = _one(asdict(RejectValues.of(reject)), pa.schema(arrow_fields(REJECTS)))
    assert (row["error_class"], row["attempts"], row["cost"]) == ("permanent", 2, Decimal("0.000000001"))


def test_a_null_where_none_may_be_is_found_before_it_is_written() -> None:
    """A mistake of ours shows with the column's name."""
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    assert to_table([{"a": 1}], schema).num_rows == 1
    with pytest.raises(ValueError, match="'a' must not be null"):
        to_table([{"a": 1}, {}], schema)


def test_money_may_come_as_text() -> None:
    """As the journal holds it; an amount with more than nine decimals is a mistake and no rounding."""
    field = pa.field("cost", MONEY)
    values = [Decimal("0.1"), "0.000000001", None]
    assert to_array(values, field).to_pylist() == [Decimal("0.100000000"), Decimal("0.000000001"), None]
    with pytest.raises(pa.ArrowInvalid):
        to_array(["0.0000000001"], field)
    assert to_array([NOW_US], pa.field("at", TIMESTAMP)).type == TIMESTAMP


@pytest.mark.parametrize("amount", ["1000000000", "1e30", "123456789012345678901234567890.123456789"])
def test_money_that_no_column_can_hold_is_the_most_it_can(amount: str) -> None:
    """Only a report that cannot be true leads there: what was paid for is published all the same."""
    column = to_array([amount, None, "999999999.999999999", "0.5"], pa.field("cost", MONEY))
    assert column.to_pylist() == [Decimal("999999999.999999999"), None, Decimal("999999999.999999999"), Decimal("0.5")]
