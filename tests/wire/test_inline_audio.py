"""Base64 is decoded from a body's bytes, with the results of a whole parse."""

from __future__ import annotations

from typing import Any

import orjson
import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sounds import sample
from tts_pipeline.errors import ServiceError
from tts_pipeline.wire.inline_audio import MIN_INLINE_BYTES, split_inline_audio
from tts_pipeline.wire.response import ParsedResponse, Response
from tts_pipeline.wire.shapes import parse_response

WAV = sample("wav", seconds=0.2)
TEXT = pybase64.b64encode(WAV).decode()


def outcome_of(body: bytes) -> ParsedResponse | tuple[str | None, str, str | None]:
    try:
        return parse_response(Response(200, {"x-request-id": "h"}, body))
    except ServiceError as error:
        return error.code, error.message, error.request_id


def test_the_audio_is_split_from_the_object() -> None:
    """The object keeps its other fields, and the placeholder leads to the audio."""
    body = orjson.dumps({"output": {"audio": {"data": TEXT, "id": "a"}}, "usage": {"characters": 7}})
    split = split_inline_audio(body)
    assert split is not None
    assert split.data == WAV
    assert split.payload["usage"] == {"characters": 7}
    assert split.decode(split.payload["output"]["audio"]["data"]) is split.data
    assert split.decode(TEXT) == b""


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps({"data": TEXT[: MIN_INLINE_BYTES // 2]}),
        orjson.dumps({"data": WAV.hex()}),
        orjson.dumps({"data": TEXT[:4_096] + "\n" + TEXT[4_096:]}),
        orjson.dumps({"data": TEXT.replace("A", "-")}),
        orjson.dumps({"data": TEXT})[:-1],
        orjson.dumps({"data": TEXT})[:-2],
        orjson.dumps({"data": TEXT}).replace(b'"UklG', b'\\"UklG'),
        orjson.dumps([TEXT]),
        b"{" + TEXT.encode(),
    ],
)
def test_anything_unusual_is_left_to_the_parser(body: bytes) -> None:
    """Hex, other base64, a cut or broken object."""
    assert split_inline_audio(body) is None


_NAMES = st.sampled_from(
    [
        *(
            "output",
            "audio",
            "data",
            "url",
            "audio_base64",
            "result",
            "error",
            "code",
            "status_code",
            "message",
            "base_resp",
        ),
        *(
            "request_id",
            "trace_id",
            "usage",
            "characters",
            "words",
            "sentence",
            "response",
            "Response",
            "input",
            "format",
        ),
    ]
)
_LONG_TEXTS = st.sampled_from(
    [TEXT, TEXT[:-1], WAV.hex(), "A" * 6_000, pybase64.b64encode(bytes(range(256)) * 20).decode(), TEXT + "\n"]
)
_VALUES = st.recursive(
    st.sampled_from([None, "", 0, 200, 400, 7, "429", "Throttling", "http://a.aliyuncs.com/x", TEXT]) | _LONG_TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=6,
)


def _with_escape(value: Any) -> bytes:
    """Return the JSON of a value with an escape in each long string: the same value, but never split."""
    return orjson.dumps(value).replace(b'"UklG', b'"\\u0055klG').replace(b'"AAEC', b'"\\u0041AEC')


@given(st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=5), st.booleans())
def test_a_split_object_has_the_outcome_of_a_whole_one(payload: dict[str, Any], has_audio: bool) -> None:
    """Whatever else the object has: failures, usage, words, other audio, links, the same audio twice."""
    if has_audio:
        payload["output"] = {"audio": {"data": TEXT}, "finish_reason": "stop"}
    assert outcome_of(orjson.dumps(payload)) == outcome_of(_with_escape(payload))
