"""Every success shape, and every way a success can be unusable, by status, label and first bytes."""

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
from tts_pipeline.wire.response import Response
from tts_pipeline.wire.shapes import parse_response, reported_usage
from tts_pipeline.wire.timestamps import TimedText

SOUND = b"RIFF" + bytes(range(256)) * 4
WAV = b"RIFF\x00\x04\x00\x00WAVE" + bytes(range(256)) * 4
DATA = pybase64.b64encode(SOUND).decode()
URL = "https://bucket.oss-cn-beijing.aliyuncs.com/a.wav?Expires=1766113409&Signature=x%2By"
JSON = {"content-type": "application/json"}


def ali(**audio: Any) -> dict[str, Any]:
    return {
        "status_code": 200,
        "request_id": "req-1",
        "code": "",
        "message": "",
        "output": {"text": None, "finish_reason": "stop", "choices": None, "audio": audio},
        "usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "characters": 195},
    }


def make_response(
    body: object, status: int = 200, headers: dict[str, str] | None = None, *, complete: bool = True
) -> Response:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return Response(status, JSON if headers is None else headers, raw, complete)


def test_ali_json_with_data() -> None:
    """The usual answer: the bytes, the usage and the request id; the URL is not needed."""
    reading = parse_response(make_response(ali(data=DATA, url=URL, id="audio_1", expires_at=1766113409)))
    assert (reading.data, reading.url, reading.request_id) == (SOUND, None, "req-1")
    assert reading.usage == Usage(195, 0, 0, 0)
    assert (reading.words, reading.quality, reading.complete) == (None, (), True)


def test_ali_json_with_a_url() -> None:
    """Without data the URL is the audio, with the moment it stops working; an Alibaba link is taken by https."""
    plain = URL.replace("https:", "http:")
    reading = parse_response(make_response(ali(data="", url=plain, expires_at=1766113400)))
    assert (reading.data, reading.url, reading.url_expires_at) == (None, URL, 1766113400)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.oss.aliyuncs.com:80/x", "https://a.oss.aliyuncs.com/x"),
        ("http://a.oss.aliyuncs.com:8080/x", "http://a.oss.aliyuncs.com:8080/x"),
        ("http://127.0.0.1:4000/x", "http://127.0.0.1:4000/x"),
        ("http://aliyuncs.com.evil.example/x", "http://aliyuncs.com.evil.example/x"),
        ("file:///etc/passwd", "file:///etc/passwd"),
        ("http://[broken/x", "http://[broken/x"),
    ],
)
def test_only_alibabas_links_become_https(url: str, expected: str) -> None:
    """Other addresses stay as they are: whoever fetches decides about them."""
    assert parse_response(make_response({"audio": {"url": url}})).url == expected


@pytest.mark.parametrize("missing", ["status_code", "request_id", "code", "message", "usage"])
def test_any_field_of_the_json_may_be_absent(missing: str) -> None:
    """Only the audio is needed."""
    body = ali(data=DATA)
    del body[missing]
    assert parse_response(make_response(body)).data == SOUND


@pytest.mark.parametrize(
    "body",
    [
        {"output": {"audio": {"data": DATA}}},
        {"audio": {"data": DATA}},
        {"audio": DATA},
        {"audio_base64": DATA},
        {"data": {"audio": DATA}},
        {"audio": {"data": f"data:audio/wav;base64,{DATA}"}},
        {"code": "Success", "audio": {"data": DATA}},
        {"error": None, "code": 200, "audio": {"data": DATA}},
        DATA,
        f"data:audio/wav;base64,{DATA}",
        f"data:audio/wav;base64,{DATA[:100]}\n{DATA[100:]}",
    ],
)
def test_data_in_json(body: object) -> None:
    """Objects of any make, and strings: base64 and data URIs."""
    assert parse_response(make_response(body)).data == SOUND


@pytest.mark.parametrize(
    "body",
    [
        {"audio": {"url": URL}, "usage": {"characters": 7}},
        {"audio": URL},
        {"url": URL},
        {"audio_url": URL},
        {"output": {"audio": {"data": None, "url": URL}}},
        URL,
        f"  {URL}\n",
    ],
)
def test_urls_in_json(body: object) -> None:
    """A URL in its usual places, or as the whole answer; its end of life is read from the signature."""
    reading = parse_response(make_response(body))
    assert (reading.data, reading.url, reading.url_expires_at) == (None, URL, 1766113409)


@pytest.mark.parametrize("body", [URL.encode(), DATA.encode(), b"\xef\xbb\xbf" + orjson.dumps({"audio": DATA})])
def test_bare_text(body: bytes) -> None:
    """A URL or base64 without quotes, and JSON behind a byte order mark, are read the same."""
    reading = parse_response(make_response(body, headers={"content-type": "text/plain"}))
    assert reading.data == SOUND or reading.url == URL


def test_broken_data_beside_a_url() -> None:
    """A URL saves what was paid for when the data cannot be decoded."""
    assert parse_response(make_response(ali(data=DATA[:-2] + "!", url=URL))).url == URL


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", [URL, "/files/a.wav", "abcd"])
def test_redirects(status: int, location: str) -> None:
    """A redirect is a URL to fetch, also a relative one; the body does not matter."""
    reading = parse_response(make_response(b"<html>moved</html>", status, {"location": location, "x-request-id": "r"}))
    assert (reading.data, reading.url, reading.request_id) == (None, location, "r")


@pytest.mark.parametrize("label", ["audio/mpeg", "audio/wav", "application/json", "text/event-stream", None])
def test_raw_bytes_under_any_label(label: str | None) -> None:
    """Audio is known by its bytes: a wrong or missing content type does not matter."""
    headers = {} if label is None else {"content-type": label}
    reading = parse_response(make_response(SOUND, headers=headers, complete=False))
    assert (reading.data, reading.content_type, reading.complete) == (SOUND, label, False)


def test_pcm_that_begins_like_json() -> None:
    """Samples may begin with any byte, also with a brace."""
    samples = b"{\x00" + bytes(range(256)) * 3
    assert parse_response(make_response(samples, headers={"content-type": "audio/pcm"})).data == samples


def test_base64_without_quotes_may_be_cut() -> None:
    """Four characters less are base64 too: only the quotes of JSON prove a string whole."""
    assert parse_response(make_response(DATA.encode()[:-4], complete=False)).complete is False
    assert parse_response(make_response(DATA, complete=False)).complete is True


def test_json_is_whole_however_the_connection_ended() -> None:
    """What parses as JSON was not cut, so its audio needs no flag."""
    assert parse_response(make_response(ali(data=DATA), complete=False)).complete is True


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "EmptyBody"),
        (orjson.dumps(ali(data=DATA))[:-40], "MalformedBody"),
        (orjson.dumps(ali(data=DATA))[:700], "MalformedBody"),
        (orjson.dumps(DATA)[:-10], "MalformedBody"),
        (orjson.dumps(ali(data="", url="")), "NoAudio"),
        (orjson.dumps(ali(data="data:audio/wav;base64,")), "NoAudio"),
        (b"{}", "NoAudio"),
        (b'{"status":"ok","data":{"id":"550e8400-e29b-41d4-a716-446655440000"}}', "NoAudio"),
        (b'{"code":200,"message":"success","data":{}}', "NoAudio"),
        (b"[]", "NoAudio"),
        (b"null", "NoAudio"),
        (b'"success"', "NoAudio"),
        (b'"done"', "NoAudio"),
        (b"<html><title>Welcome</title></html>", "UnexpectedText"),
        (b"upstream is sorry", "UnexpectedText"),
    ],
)
@pytest.mark.parametrize("label", ["application/json", "audio/mpeg"])
def test_an_unusable_success_is_transient_and_may_be_billed(body: bytes, code: str, label: str) -> None:
    """Zero bytes, cut JSON, no audio, broken base64, somebody's page: never half a row, whatever the label."""
    with pytest.raises(TransientError) as exc_info:
        parse_response(make_response(body, headers={"content-type": label, "x-request-id": "r"}))
    assert (exc_info.value.code, exc_info.value.may_be_billed, exc_info.value.http_status) == (code, True, 200)
    assert exc_info.value.request_id in {"r", "req-1"}


@pytest.mark.parametrize(
    "body",
    [
        ali(data="@*!" + DATA),
        ali(data=DATA[:40] + "-+" + DATA[42:]),
        {"audio": "done"},
        {"answer": {"blob": "Zm9v" * 30}},
        {"blobs": ["Zm9v" * 30, "YmFy" * 30]},
        [{"blob": "Zm9v" * 30}],
        {"inner": '{"blob": "' + "Zm9v" * 30 + '"}'},
    ],
)
def test_what_cannot_be_read_would_not_be_the_next_time(body: object) -> None:
    """Whole and well-formed, with something that is no audio we know: never bought again, and told by its keys."""
    with pytest.raises(UnreadableError) as exc_info:
        parse_response(make_response(body))
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("UnreadableAudio", True)
    assert "JSON with the keys " in exc_info.value.message
    assert "Zm9v" not in str(exc_info.value)


@pytest.mark.parametrize(
    ("body", "error", "code"),
    [
        ({"code": "Arrearage", "message": "m", "request_id": "req-1"}, FatalError, "Arrearage"),
        ({"status_code": 400, "code": "InvalidParameter", "message": "m"}, PermanentError, "InvalidParameter"),
        ({"error": {"code": "rate_limit_exceeded", "message": "m"}}, ThrottledError, "rate_limit_exceeded"),
        ({"error": "busy"}, TransientError, "UnnamedError"),
        ({"code": "SomethingNew", "message": "m"}, TransientError, "SomethingNew"),
        ({**ali(data=DATA), "code": "InternalError"}, TransientError, "InternalError"),
    ],
)
def test_failures_inside_a_200(body: object, error: type[ServiceError], code: str) -> None:
    """The code decides the class; it may have been billed, unless it is an account's failure or a rate."""
    with pytest.raises(error) as exc_info:
        parse_response(make_response(body))
    billed = error not in (FatalError, ThrottledError)
    assert (exc_info.value.code, exc_info.value.may_be_billed, exc_info.value.http_status) == (code, billed, 200)


def test_statuses_that_are_no_success() -> None:
    """A redirect without a place and a failing status are failures by their status."""
    with pytest.raises(TransientError):
        parse_response(make_response(b"", 304, {}))
    with pytest.raises(FatalError):
        parse_response(make_response(b"", 401, {}))


def test_a_date_to_retry_at_is_held_against_the_date_of_the_answer() -> None:
    """The two clocks need not agree; without a date of its own, the answer says nothing."""
    headers = {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}
    for date, wait_s in (({"date": "Wed, 21 Oct 2026 07:27:50 GMT"}, 10.0), ({}, None)):
        with pytest.raises(ThrottledError) as exc_info:
            parse_response(make_response(b"", 429, {**headers, **date}))
        assert exc_info.value.retry_after_s == wait_s


def test_the_request_id_may_be_in_the_headers() -> None:
    """The body's goes first; what cannot be stored is left out."""
    body = {"audio": {"data": DATA}}
    assert parse_response(make_response(body, headers={"x-dashscope-request-id": "h"})).request_id == "h"
    assert parse_response(make_response({**body, "request_id": "b"}, headers={"x-request-id": "h"})).request_id == "b"
    assert parse_response(make_response({**body, "request_id": {"a": 1}}, headers={})).request_id is None
    assert parse_response(make_response({**body, "request_id": "a\nb"}, headers={})).request_id is None


def test_words_come_with_the_audio() -> None:
    """Timed words are read out of the same object; a ragged list costs only the words."""
    body = ali(data=DATA)
    body["output"]["sentence"] = {
        "words": [{"text": "Hi", "begin_time": 0, "end_time": 90, "begin_index": 0, "end_index": 2}]
    }
    assert parse_response(make_response(body)).words == (TimedText("Hi", 0, 90, 0, 2),)
    body["output"]["sentence"]["words"][0]["end_time"] = "soon"
    reading = parse_response(make_response(body))
    assert (reading.data, reading.words, reading.quality) == (SOUND, None, ("timestamps_dropped",))


def test_a_replys_repr_is_short() -> None:
    """A log line never holds a megabyte of audio."""
    big = make_response(ali(data=pybase64.b64encode(SOUND * 50).decode()))
    assert len(repr(big)) < 200
    assert len(repr(parse_response(big))) < 400


@pytest.mark.parametrize(
    "body",
    [
        b")]}',\n" + orjson.dumps({"audio": DATA}),
        b"\xef\xbb\xbf \r\n" + orjson.dumps({"audio": DATA}),
        b"callback(" + orjson.dumps({"audio": DATA}) + b");",
        b'{"audio":"%b"}\n{"audio":"%b"}\n' % tuple(map(pybase64.b64encode, (SOUND[:300], SOUND[300:]))),
        b'{"audio":"%b"}{"audio":"%b"}' % tuple(map(pybase64.b64encode, (SOUND[:300], SOUND[300:]))),
        b'[{"audio":"%b"},\n{"audio":"%b"}]' % tuple(map(pybase64.b64encode, (SOUND[:300], SOUND[300:]))),
        orjson.dumps({"audio": DATA}) + b"\n" + orjson.dumps({"usage": {"characters": 3}}),
        orjson.dumps(orjson.dumps({"audio": DATA}).decode()),
        b"data: %b\n\ndata: %b\n\ndata: [DONE]\n\n" % tuple(map(pybase64.b64encode, (WAV[:99], WAV[99:]))),
        b'<?xml version="1.0"?><r><id>1</id><audio>' + pybase64.b64encode(WAV) + b"</audio></r>",
    ],
)
def test_what_is_around_json_does_not_matter(body: bytes) -> None:
    """A guard, a byte order mark, a call; lines of JSON, documents one after another, a list; events, XML, a string."""
    assert parse_response(make_response(body)).data in (SOUND, WAV)


def test_documents_that_are_cut_are_not_half_a_row() -> None:
    """A broken last one is noticed; whether whole ones are all there is for the audio to say."""
    body = b'{"audio":"%b"}\n{"audio":"%b"}\n' % tuple(map(pybase64.b64encode, (SOUND[:300], SOUND[300:])))
    with pytest.raises(TransientError):
        parse_response(make_response(body[:-20]))
    assert parse_response(make_response(body, complete=False)).complete is False


@pytest.mark.parametrize(
    ("status", "body", "headers", "expected"),
    [
        (200, b'{"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":50}}', {}, Usage(None, 3, 50)),
        (500, b'{"error":{"message":"m"},"usage":{"characters":9}}', {}, Usage(9)),
        (503, b"sorry", {"character-cost": "35"}, Usage(35)),
        (200, b'data:{"usage":{"characters":3}}\n\ndata:{"usage":{"input_tokens":8}}\n\ndata: {', {}, Usage(3, 8)),
        (200, b'{"usage":{"characters":3}}\n{"usage":{"characters":5}}', {}, Usage(5)),
        (400, b"[" * 2_000, {"dg-char-count": "-1"}, Usage()),
        (200, SOUND, {}, Usage()),
    ],
)  # fmt: skip
def test_usage_is_read_from_every_answer(status: int, body: bytes, headers: dict[str, str], expected: Usage) -> None:
    """Whatever its status and form, the header last; never an exception."""
    assert reported_usage(Response(status, headers, body)) == expected


def test_usage_in_headers_of_an_answer_that_is_audio() -> None:
    """Raw bytes have no other place for it."""
    assert parse_response(make_response(SOUND, headers={"x-amzn-requestcharacters": "12"})).usage == Usage(12)
