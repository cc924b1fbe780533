"""How much text an answer may be: bounded in bytes, in values and in memory, and roomy for speech."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping

import orjson
import pybase64
import pytest

from tts_pipeline.config import MAX_JSON_VALUES
from tts_pipeline.errors import PermanentError, ServiceError, TransientError
from tts_pipeline.wire.json_documents import MAX_TEXT_BYTES, ExcessiveTextError, check_text, parse_json
from tts_pipeline.wire.response import Response
from tts_pipeline.wire.shapes import parse_response

SIZE = 39_000_000
HOSTILE: Mapping[str, tuple[bytes, bytes, bytes]] = {
    "lists": (b'{"a":[', b"[],", b"0]}"),
    "lists at the top": (b"[", b"[],", b"0]"),
    "empty strings": (b'{"a":[', b'"",', b"0]}"),
    "objects": (b'{"\x7f":[', b'{"a":1},', b"0]}"),
    "nesting": (b"", b"[", b""),
    "one name again and again": (b"{", b'"audio":"",', b'"b":1}'),
    "events": (b"", b"data:{}\n\n", b""),
    "empty events": (b"", b"data:\r\r", b""),
    "one event": (b"data:[", b"[],", b"0]\n\n"),
    "one event of many lines": (b"", b"data:[[],[]]\n", b""),
}


@pytest.mark.parametrize(("head", "repeated", "tail"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("status", [200, 500])
def test_text_of_a_million_values_costs_no_memory(status: int, head: bytes, repeated: bytes, tail: bytes) -> None:
    """It is refused before it is parsed, as what may be billed; of a failing body only the first megabyte is read."""
    body = head + repeated * (SIZE // len(repeated)) + tail
    tracemalloc.start()
    try:
        with pytest.raises(ServiceError) as exc_info:
            parse_response(Response(status, {"content-type": "application/json"}, body))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 60_000_000
    assert exc_info.value.may_be_billed
    if status == 200:
        assert (type(exc_info.value), exc_info.value.code) == (PermanentError, "AnswerTooLarge")


@pytest.mark.parametrize(
    "body",
    [b'{"a":' * 2_000, b'{"a":' + b"[" * 1_100 + b"]" * 1_100 + b"}", b'{"audio":' + b"9" * 300_000, b'{"audio":NaN}'],
)
def test_depth_and_numbers_are_no_other_exception(body: bytes) -> None:
    """Nesting beyond what a stack takes, numbers of 300,000 digits, NaN: a malformed body like any other."""
    with pytest.raises(TransientError) as exc_info:
        parse_response(Response(200, {}, body))
    assert exc_info.value.code == "MalformedBody"


@pytest.mark.parametrize("depth", [10, 300, 1_000])
def test_a_failing_body_may_be_deep(depth: int) -> None:
    """What can be read need not be possible to write again."""
    with pytest.raises(ServiceError) as exc_info:
        parse_response(Response(500, {}, b'{"detail":' + b"[" * depth + b"1" + b"]" * depth + b"}"))
    assert len(str(exc_info.value)) < 1_500


def test_the_longest_speech_fits() -> None:
    """Base64 of five minutes at 48 kHz, and a text of many commas with the times of all its characters."""
    sound = bytes(96_000 * 300)
    times = {"characters": list("a,b{c[" * 900), "starts": [float(place) for place in range(5_400)]}
    body = orjson.dumps({"audio": pybase64.b64encode(sound).decode(), "alignment": times, "text": "yes, " * 40_000})
    assert parse_response(Response(200, {}, body)).data == sound


def test_the_bounds_themselves() -> None:
    """One byte or one value too many; a string inside JSON is held to them as well."""
    with pytest.raises(ExcessiveTextError, match="bytes"):
        check_text(b"a" * (MAX_TEXT_BYTES + 1))
    check_text(b"," * MAX_JSON_VALUES)
    with pytest.raises(ExcessiveTextError, match="values"):
        parse_json("," * (MAX_JSON_VALUES + 1))
