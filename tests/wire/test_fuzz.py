"""Anything at all through the wire's door: a reading or one of our errors, never another exception."""

from __future__ import annotations

import orjson
import pybase64
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tts_pipeline.errors import ServiceError
from tts_pipeline.wire.response import Reading, Reply, read_reply
from tts_pipeline.wire.timestamps import place_words

EXAMPLES = 10 * (settings.default.max_examples if settings.default else 100)
"""1,000 by default: a hypothesis profile with more examples makes it more."""

_WORDS = st.sampled_from(
    [
        *("output", "audio", "data", "url", "error", "code", "message", "status_code", "usage", "characters", "type"),
        *("finish_reason", "request_id", "words", "sentence", "alignment", "timestamps", "text", "start", "end"),
        *("begin_time", "end_time", "detail", "expires_at", "stop", "null", "speech.audio.done", "Throttling"),
        *(
            "http://a.aliyuncs.com/x",
            "http://[",
            "data:audio/wav;base64,AAAA",
            "data:",
            "AAAA" * 20,
            "<title>x</title>",
        ),
    ]
)
_LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=12) | _WORDS
_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=6), max_leaves=10
)
_DUMPED = _JSON.map(lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS))
_EVENTS = st.lists(
    st.builds(lambda name, status, data: b"event:%b\n:HTTP_STATUS/%d\ndata:%b\n\n" % (name, status, data),
              st.sampled_from([b"result", b"error", b"speech.audio.done"]), st.integers(0, 999), _DUMPED),
    max_size=4,
).map(b"".join)  # fmt: skip
_BODIES = (
    st.binary(max_size=300)
    | _DUMPED
    | _EVENTS
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
_CUT = st.tuples(_BODIES, st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]])
_HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "location", "retry-after", "retry-after-ms", "date", "x-request-id"]),
    st.sampled_from(
        ["application/json", "text/event-stream", "audio/mpeg", "7", "http://a/b", "Wed, 21 Oct 2026 07:28:00 GMT"]
    )
    | st.text(max_size=30),
    max_size=4,
)


def read(reply: Reply) -> Reading | ServiceError:
    try:
        return read_reply(reply)
    except ServiceError as error:
        return error


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from([200, 200, 200, 302, 400, 403, 429, 500]) | st.integers(100, 999), _HEADERS, _BODIES | _CUT)
@example(200, {}, b'{"audio":' * 2000)
@example(200, {}, orjson.dumps({"audio": {"data": "%"}, "code": "x", "usage": {"characters": 1e308}}))
@example(200, {}, pybase64.b64encode(b"\0" * 99))
@example(429, {"retry-after": "9" * 50}, b"")
def test_any_answer_is_a_reading_or_one_of_our_errors(status: int, headers: dict[str, str], body: bytes) -> None:
    """Statuses, headers and bytes of any kind; what is read has audio or a URL, and its words can be placed."""
    reading = read(Reply(status, headers, body, complete=False))
    if isinstance(reading, ServiceError):
        assert len(str(reading)) < 1_500
        assert reading.retry_after_s is None or reading.retry_after_s >= 0
        return
    assert bool(reading.data) != bool(reading.url)
    place_words(reading.words, "any text", 1_000)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"<" * 200_000, b"<script" * 20_000, b":" * 200_000, b"a.b_" * 50_000]
)
@pytest.mark.parametrize("status", [200, 500])
def test_hostile_repetition_is_read_at_once(status: int, body: bytes) -> None:
    """Patterns that make careless parsers slow: they end, with an error."""
    with pytest.raises(ServiceError):
        read_reply(Reply(status, {}, body))
