"""Streams: chunks decoded one by one, whole only with their last frame, errors by their code."""

from __future__ import annotations

from typing import Any

import orjson
import pybase64
import pytest

from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    ThrottledError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.models import Usage
from tts_pipeline.wire.response import ParsedResponse, Response
from tts_pipeline.wire.shapes import parse_response
from tts_pipeline.wire.timestamps import TimedText

CHUNKS = (b"RIFF\x00\x01\x02", b"\x03\x04", b"\x05\x06\x07\x08")
URL = "https://b.oss.aliyuncs.com/a.wav?Expires=1766113409"


def frame(payload: object, *, name: str = "result", status: int = 200) -> bytes:
    return b"id:1\nevent:%b\n:HTTP_STATUS/%d\ndata:%b\n\n" % (name.encode(), status, orjson.dumps(payload))


def ali_chunk(data: bytes, **output: Any) -> bytes:
    audio = {"data": pybase64.b64encode(data).decode(), "id": "audio_1"}
    return frame({"output": {"audio": audio, "finish_reason": "null", **output}, "request_id": "req-1"})


LAST = frame(
    {
        "output": {"audio": {"data": "", "url": URL, "expires_at": 9}, "finish_reason": "stop"},
        "usage": {"characters": 12},
        "request_id": "req-1",
    }
)
OPENAI = [b'data: {"type":"speech.audio.delta","audio":"%b"}\n\n' % pybase64.b64encode(chunk) for chunk in CHUNKS]
OPENAI_LAST = b'data: {"type":"speech.audio.done","usage":{"input_tokens":6,"output_tokens":72,"total_tokens":78}}\n\n'


def parse_body(body: bytes, label: str = "text/event-stream", status: int = 200) -> ParsedResponse:
    return parse_response(Response(status, {"content-type": label, "x-request-id": "head"}, body))


def test_ali_frames() -> None:
    """Each chunk is base64 on its own; the last frame has the usage and its URL is not needed."""
    reading = parse_body(b"".join(map(ali_chunk, CHUNKS)) + LAST)
    assert (reading.data, reading.url, reading.request_id) == (b"".join(CHUNKS), None, "req-1")
    assert reading.usage == Usage(characters_reported=12)


def test_the_last_usage_that_is_told_counts() -> None:
    """Usage grows from frame to frame, and a frame without any does not undo it."""
    frames = [frame({"usage": {"characters": count}}) for count in (3, 12)]
    last = frame({"output": {"finish_reason": "stop"}})
    assert parse_body(ali_chunk(b"ab") + b"".join(frames) + last).usage == Usage(characters_reported=12)


def test_openai_frames() -> None:
    """``speech.audio.delta`` carries chunks, ``speech.audio.done`` the usage; the sentinel after it is nothing."""
    for tail in (b"", b"data: [DONE]\n\n"):
        reading = parse_body(b"".join(OPENAI) + OPENAI_LAST + tail)
        assert (reading.data, reading.usage, reading.request_id) == (b"".join(CHUNKS), Usage(None, 6, 72, 78), "head")


def test_openai_types_may_stand_in_the_event_line() -> None:
    """Some servers name the type only as the event's name."""
    body = b'event: speech.audio.delta\ndata: {"audio":"AAAA"}\n\nevent: speech.audio.done\ndata: {}\n\n'
    assert parse_body(body).data == b"\x00\x00\x00"


@pytest.mark.parametrize("label", ["text/event-stream;charset=utf-8", "application/json", "audio/mpeg", ""])
def test_a_stream_is_read_whether_asked_for_or_not(label: str) -> None:
    """The label does not matter, the first bytes do."""
    assert parse_body(b"".join(map(ali_chunk, CHUNKS)) + LAST, label).data == b"".join(CHUNKS)


def test_a_stream_that_has_only_a_url() -> None:
    """Where no chunk came, the last frame's URL is the audio."""
    reading = parse_body(frame({"output": {"finish_reason": "null"}}) + LAST)
    assert (reading.data, reading.url, reading.url_expires_at) == (None, URL, 9)


def test_a_damaged_chunk_beside_a_url() -> None:
    """What was paid for is fetched by the URL; without one it cannot be read, and is not bought again."""
    damaged = frame({"output": {"audio": {"data": "%%%"}, "finish_reason": "null"}})
    assert parse_body(ali_chunk(b"ab") + damaged + LAST).url == URL
    last = frame({"output": {"finish_reason": "stop"}})
    with pytest.raises(UnreadableError) as exc_info:
        parse_body(ali_chunk(b"ab") + damaged + last)
    assert exc_info.value.code == "UnreadableAudio"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"".join(map(ali_chunk, CHUNKS)), "CutStream"),
        (b"".join(OPENAI), "CutStream"),
        (b":keep-alive\n\n", "CutStream"),
        (b"".join(map(ali_chunk, CHUNKS)) + LAST[:-30], "MalformedBody"),
        (frame({"output": {"finish_reason": "stop"}, "usage": {"characters": 12}}), "NoAudio"),
        (b"data: [DONE]\n\n", "NoAudio"),
    ],
)
def test_half_a_stream_is_never_half_a_row(body: bytes, code: str) -> None:
    """Without its last frame, or with a damaged one, nothing is kept; it may have been billed."""
    with pytest.raises(TransientError) as exc_info:
        parse_body(body)
    assert (exc_info.value.code, exc_info.value.may_be_billed) == (code, True)


def test_every_cut_of_a_stream_is_noticed() -> None:
    """At whatever byte the connection ends, it is the whole audio or an error, never less."""
    body = b"".join(map(ali_chunk, CHUNKS)) + LAST.rstrip(b"\n")
    for length in range(len(body)):
        with pytest.raises(TransientError):
            parse_body(body[:length])
    assert parse_body(body).data == b"".join(CHUNKS)


@pytest.mark.parametrize(
    ("event", "error", "code"),
    [
        (
            frame({"code": "InvalidParameter", "message": "m"}, name="error", status=400),
            PermanentError,
            "InvalidParameter",
        ),
        (frame({"code": "Throttling", "message": "m"}, name="error", status=429), ThrottledError, "Throttling"),
        (frame({"code": "InvalidApiKey", "message": "m"}, status=401), FatalError, "InvalidApiKey"),
        (frame({"message": "m"}, name="error", status=500), TransientError, "HTTP500"),
        (frame({"message": "m"}, status=500), TransientError, "HTTP500"),
        (b'data: {"error": {"code": "server_error", "message": "m"}}\n\n', TransientError, "server_error"),
        (b'event: error\ndata: {"message": "m"}\n\n', TransientError, "UnnamedError"),
    ],
)
def test_errors_inside_a_stream(event: bytes, error: type[ServiceError], code: str) -> None:
    """An error after half of the audio is the answer's end; the 200 before it may have been billed."""
    with pytest.raises(error) as exc_info:
        parse_body(ali_chunk(b"ab") + event)
    assert (exc_info.value.code, exc_info.value.may_be_billed, exc_info.value.http_status) == (code, True, 200)


def test_words_are_cumulative_in_streams() -> None:
    """Each frame repeats and extends the list, and corrects ends: every word is kept once, as last told."""
    hi, hi_later = ({"text": "Hi", "begin_time": 0, "end_time": end, "begin_index": 0} for end in (50, 90))
    you = {"text": "you", "begin_time": 100, "end_time": 300, "begin_index": 3}
    body = ali_chunk(b"a", sentence={"words": [hi]}) + ali_chunk(b"b", sentence={"words": [hi_later, you]}) + LAST
    assert parse_body(body).words == (TimedText("Hi", 0, 90), TimedText("you", 100, 300))


def test_one_ragged_list_drops_the_words_of_a_stream() -> None:
    """Words that cannot be believed in one frame are believed in none; the audio stays."""
    body = ali_chunk(b"ab", sentence={"words": [{"text": "Hi", "begin_time": -5, "end_time": 3}]}) + LAST
    reading = parse_body(body)
    assert (reading.data, reading.words, reading.quality) == (b"ab", None, ("timestamps_dropped",))


def hex_event(data: bytes, status: int) -> bytes:
    return b"data: " + orjson.dumps({"data": {"audio": data.hex(), "status": status}, "trace_id": "t"}) + b"\n\n"


SOUND = bytes(range(256)) * 3


@pytest.mark.parametrize("tail", [b"", b"data: [DONE]\n\n"])
@pytest.mark.parametrize("cut", [100, 400, 700])
def test_a_stream_of_hex_that_repeats_all_of_it(cut: int, tail: bytes) -> None:
    """MiniMax: the last event has all of the audio once more, or the last chunk of it, or nothing."""
    first = hex_event(SOUND[:cut], 1) + hex_event(SOUND[cut:], 1)
    for body in (
        first + hex_event(SOUND, 2),
        first + hex_event(b"", 2),
        hex_event(SOUND[:cut], 1) + hex_event(SOUND, 2),
    ):
        reading = parse_body(body + tail)
        assert (reading.data, reading.request_id) == (SOUND, "t")
    assert parse_body(hex_event(SOUND[:600], 1) + hex_event(SOUND[600:], 2)).data == SOUND
    with pytest.raises(TransientError) as exc_info:
        parse_body(first)
    assert exc_info.value.code == "CutStream"


@pytest.mark.parametrize(
    "last",
    [
        {"type": "done", "done": True},
        {"is_final": True},
        {"result": {"finished": True}},
        {"candidates": [{"finishReason": "STOP"}]},
        {"choices": [{"finish_reason": "stop"}]},
    ],
)
def test_ends_of_other_makers(last: object) -> None:
    """Whoever says it in whatever word; a stream without any is cut."""
    chunk = b"data: " + orjson.dumps({"data": pybase64.b64encode(SOUND).decode(), "done": False}) + b"\n\n"
    assert parse_body(chunk + b"data: " + orjson.dumps(last) + b"\n\n").data == SOUND
    with pytest.raises(TransientError):
        parse_body(chunk)


def test_a_stream_tells_the_rate_of_its_samples() -> None:
    """In its first event, or in its last."""
    chunk = {"data": {"audio": bytes(range(1, 201)).hex(), "status": 1}}
    last = {"data": {"audio": bytes(range(2, 202)).hex(), "status": 1}, "extra_info": {"audio_sample_rate": 16_000}}
    for events in ((chunk, last), (last, chunk)):
        body = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
        assert "16000" in (parse_body(body).content_type or "")


def test_chunks_under_a_name_that_nobody_told() -> None:
    """The first one is known by its bytes, the others by its name."""
    wav = b"RIFF\x00\x01\x00\x00WAVE" + SOUND
    events = [b"data: " + orjson.dumps({"x": {"y": pybase64.b64encode(part).decode()}}) for part in (wav, b"ab")]
    assert parse_body(b"\n\n".join(events) + b"\n\ndata: [DONE]\n\n").data == wav + b"ab"
