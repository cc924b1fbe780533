"""Anything at all into the wire's entry point: audio, or one of our errors; never another exception or a hang."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from random import Random

import numpy as np
import orjson
import pybase64
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple

from tts_pipeline.audio.identify import locate_audio
from tts_pipeline.audio.measure import make_pcm_playable, make_playable
from tts_pipeline.audio.quality import assess
from tts_pipeline.client.headerless_pcm import find_pcm_format
from tts_pipeline.emulator.audio import TimedWord
from tts_pipeline.emulator.containers import AudioPayload, wrap_audio
from tts_pipeline.emulator.delivery import Delivery
from tts_pipeline.emulator.error_forms import refuse
from tts_pipeline.emulator.request import RefusalError
from tts_pipeline.emulator.rules import CONTAINERS, FORMS, SHAPES, TIMESTAMPS, Rule
from tts_pipeline.emulator.shapes import NEEDS_URL, AnswerContent, render_answer
from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    SuspectError,
    ThrottledError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.models import Audio
from tts_pipeline.wire.response import ParsedResponse, Response
from tts_pipeline.wire.shapes import parse_response
from tts_pipeline.wire.timestamps import align_words

TEXT = "Hello, you: 12 of 大家!"
MUTANTS = 5_000
"""In each of four batches: 20,000 in all, ten seconds' work for one core."""


def outcome_of(response: Response) -> Audio | ParsedResponse | ServiceError:
    """Take an answer in as the client does: read it, make its audio playable, judge it, place its words."""
    try:
        result = parse_response(response)
        assert all(count is None or 0 <= count < 2**63 for count in astuple(result.usage))
        if result.data is None:
            return result
        parameters = {"response_format": "pcm"} if len(response.body) % 2 else {}
        samples = find_pcm_format(response, result, parameters) if locate_audio(result.data)[1] is None else None
        if samples is None:
            audio, _ = make_playable(result.data, complete=result.complete)
        else:
            audio, _ = make_pcm_playable(result.data, samples.format, complete=result.complete)
    except ServiceError as error:
        return error
    words, flags = align_words(result.words, TEXT, audio.duration_ms)
    assert words is None or not flags
    assess(audio, TEXT, None)
    return audio


def check_outcome(response: Response) -> None:
    """Hold what became of an answer to what callers rely on."""
    outcome = outcome_of(response)
    if isinstance(outcome, ServiceError):
        assert len(str(outcome)) < 1_500
        assert outcome.retry_after_s is None or outcome.retry_after_s >= 0
    elif isinstance(outcome, Audio):
        assert outcome.data
        assert min(outcome.sample_rate_hz, outcome.channels) > 0
        assert outcome.duration_ms >= 0
    else:
        assert bool(outcome.url)


def _samples(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    rate_hz = 24_000
    return (np.sin(np.arange(int(seconds * rate_hz)) / 20) * 9_000).astype(np.int16)


def _encoded(kind: str, subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, _samples(0.12), 24_000, format=kind, subtype=subtype)
    return out.getvalue()


@cache
def corpus() -> Sequence[Response]:
    """Return good and bad answers as services give them: every shape, every form, every kind of audio."""
    words = (TimedWord("Hello", 0, 40, 0, 5), TimedWord("you", 50, 70, 7, 10), TimedWord("大", 80, 100, 18, 19))
    audios = [_encoded("WAV"), _encoded("MP3"), _encoded("FLAC"), _encoded("OGG", "VORBIS"), _encoded("OGG", "OPUS")]
    deliveries: list[Delivery] = [_samples_alone()]
    for shape in SHAPES:
        for audio in audios if shape in ("raw", "ali_data", "ali_sse") else audios[:1]:
            url = "http://a.aliyuncs.com/x?Expires=9" if shape in NEEDS_URL else None
            spec = AnswerContent("r-1", TEXT, audio, "audio/wav", url, 9, 20, words)
            deliveries.append(render_answer(spec, shape))
    by_data = AnswerContent("r-1", TEXT, audios[0], "audio/wav", None, 9, 20, words)
    deliveries += [render_answer(by_data, "ali_data", Rule("shape", timestamps=form)) for form in TIMESTAMPS]
    refusals = [RefusalError(429, "Throttling.RateQuota", "slower", {"Retry-After": "7"}),
                RefusalError(400, "InvalidParameter", "Range of input length should be [1, 600]"),
                RefusalError(403, "Arrearage", "overdue"), RefusalError(503, "ModelServingError", "later")]  # fmt: skip
    deliveries += [refuse(refusal, "r-1", Rule("error", form=form)) for refusal in refusals for form in FORMS]
    for container in CONTAINERS:
        container_file = wrap_audio(AudioPayload(audios[0], "audio/wav"), 24_000, container)
        spec = AnswerContent("r-1", TEXT, container_file.audio, container_file.content_type, None, 9, 20, words)
        deliveries += [
            replace(render_answer(spec, shape), headers=container_file.headers)
            for shape in ("raw", "ali_data", "openai_sse")
        ]
    return [_response_of(delivery) for delivery in deliveries]


def _samples_alone() -> Delivery:
    return Delivery(200, _samples(0.1).tobytes(), "audio/pcm")


def _response_of(delivery: Delivery) -> Response:
    headers = {name.lower(): value for name, value in delivery.headers.items()}
    if delivery.content_type is not None:
        headers["content-type"] = delivery.content_type
    return Response(delivery.status, headers, delivery.body)


def _cut(chance: Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body) + 1)]


def _without_a_piece(chance: Random, body: bytes) -> bytes:
    start = chance.randrange(len(body) + 1)
    return body[:start] + body[start + chance.randrange(1, 200) :]


def _with_a_piece_twice(chance: Random, body: bytes) -> bytes:
    start = chance.randrange(len(body) + 1)
    return body[: start + chance.randrange(1, 200)] + body[start:]


def _with_wrong_bytes(chance: Random, body: bytes) -> bytes:
    changed = bytearray(body)
    # Headers are at the start: that is where a wrong byte does most.
    most = len(changed) if chance.random() < 0.5 else min(len(changed), 120)
    for _ in range(chance.randrange(1, 6) if most else 0):
        changed[chance.randrange(most)] = chance.randrange(256)
    return bytes(changed)


def _spliced(chance: Random, body: bytes) -> bytes:
    other = chance.choice(corpus()).body
    return body[: chance.randrange(len(body) + 1)] + other[chance.randrange(len(other) + 1) :]


_TOKENS = [
    *(
        b"null",
        b"[]",
        b"-7",
        b"{}",
        b'""',
        b"-1",
        b"1e308",
        b"9" * 30,
        b"true",
        b'"\\ud800"',
        b'"stop"',
        b"[[[[",
        b"\x00",
    ),
    *(b'"data:;base64,"', b'"http://["', b'"' + b"A" * 90 + b'"', b"RIFF", b"ID3", b"OggS", b"fLaC", b"\xff\xfb"),
    *(b"data:", b"event:error\n", b"\n\n", b":HTTP_STATUS/500\n", b"<html>", b"\xef\xbb\xbf"),
]


def _with_another_value(chance: Random, body: bytes) -> bytes:
    """Put something else where a value of JSON, a line or a chunk began."""
    marks = [place for place, byte in enumerate(body[:4_000]) if byte in b':,[{"\n']
    at = chance.choice(marks) + 1 if marks else chance.randrange(len(body) + 1)
    return body[:at] + chance.choice(_TOKENS) + body[at + chance.choice((0, 0, 1, 4, 20, 400)) :]


def _with_another_number(chance: Random, body: bytes) -> bytes:
    """Put an absurd number in the place of one: a count, a time, a status, an expiry."""
    numbers = list(
        re.finditer(rb"(?<=[:\[,])-?\d+(?:\.\d+)?", body[-4_000:] if chance.random() < 0.5 else body[:4_000])
    )
    if not numbers:
        return body
    old = chance.choice(numbers)[0]
    new = chance.choice((b"-1", b"1e308", b"-0.0", b"9" * 25, b"0.5", b"1e-9", b"null", b'"7"', b"true"))
    return body.replace(old, new, 1)


_MUTATIONS: Sequence[Callable[[Random, bytes], bytes]] = (
    *(_cut, _without_a_piece, _with_a_piece_twice, _with_wrong_bytes, _spliced),
    *(_with_another_value, _with_another_value, _with_another_number),
)
_STATUSES = (200, 200, 200, 200, 200, 206, 302, 400, 403, 429, 500, 503)
_HEADER_VALUES = {
    "content-type": ("application/json", "text/event-stream", "audio/mpeg", "text/html; charset=x", "", "\x00"),
    "location": ("http://a/b", "file:///etc/passwd", "http://[", "", "//"),
    "retry-after": ("7", "-1", "9" * 50, "Wed, 21 Oct 2026 07:28:00 GMT", "soon", "nan"),
    "date": ("Wed, 21 Oct 2026 07:27:00 GMT", "yesterday"),
    "x-request-id": ("r", "r\n", "x" * 999),
}


def mutant(chance: Random) -> Response:
    """Return an answer of the corpus with something wrong in it, once or several times."""
    reply = chance.choice(corpus())
    body, headers, status = reply.body, dict(reply.headers), reply.status
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        body = chance.choice(_MUTATIONS)(chance, body)
    if chance.random() < 0.3:
        name = chance.choice(list(_HEADER_VALUES))
        headers[name] = chance.choice(_HEADER_VALUES[name])
    if chance.random() < 0.2:
        status = chance.choice(_STATUSES)
    return Response(status, headers, body, complete=chance.random() < 0.8)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_a_damaged_answer_is_audio_or_one_of_our_errors(seed: int) -> None:
    """Real answers with anything cut out, doubled, replaced or mixed up; a failure tells the answer it met."""
    chance = Random(seed)
    for _ in range(MUTANTS):
        reply = mutant(chance)
        try:
            check_outcome(reply)
        except Exception as error:
            error.add_note(f"{reply.status} {reply.headers} {reply.complete} {reply.body!r}")
            raise


def test_the_mutants_are_made_of_all_there_is() -> None:
    """Undamaged, they are audio of every format, links, and every kind of failure; damaged, still some of each."""
    outcomes = [outcome_of(reply) for reply in corpus()]
    assert {audio.format for audio in outcomes if isinstance(audio, Audio)} == {"wav", "mp3", "flac", "ogg"}
    assert {type(error) for error in outcomes if isinstance(error, ServiceError)} == {
        *(TransientError, ThrottledError, PermanentError, SuspectError, FatalError, UnreadableError)
    }
    chance = Random(9)
    kinds = Counter(type(outcome_of(mutant(chance))) for _ in range(1_000))
    assert min(kinds[kind] for kind in (Audio, ParsedResponse, TransientError, PermanentError)) > 10, kinds


_WORDS = st.sampled_from(
    [
        *("output", "audio", "data", "url", "error", "code", "message", "status_code", "usage", "characters", "type"),
        *("finish_reason", "request_id", "words", "sentence", "alignment", "timestamps", "text", "start", "end"),
        *("begin_time", "end_time", "detail", "expires_at", "stop", "null", "speech.audio.done", "Throttling"),
        *("http://a.aliyuncs.com/x", "http://[", "data:audio/wav;base64,AAAA", "data:", "AAAA" * 20),
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
_CUT_BODIES = st.tuples(_BODIES, st.integers(0, 400)).map(lambda pair: pair[0][: pair[1]])
_HEADERS = st.dictionaries(
    st.sampled_from(list(_HEADER_VALUES)),
    st.sampled_from([value for values in _HEADER_VALUES.values() for value in values]) | st.text(max_size=30),
    max_size=4,
)


@settings(max_examples=3 * (settings.default.max_examples if settings.default else 100))
@given(
    st.sampled_from([200, 200, 200, 302, 400, 403, 429, 500]) | st.integers(100, 999),
    _HEADERS,
    _BODIES | _CUT_BODIES,
)
@example(200, {}, b'{"audio":' * 2000)
@example(200, {}, orjson.dumps({"audio": {"data": "%"}, "code": "x", "usage": {"characters": 1e308}}))
@example(200, {}, pybase64.b64encode(b"\0" * 99))
@example(429, {"retry-after": "9" * 50}, b"")
def test_any_answer_is_audio_or_one_of_our_errors(status: int, headers: dict[str, str], body: bytes) -> None:
    """Statuses, headers and bytes of any kind, made from nothing; also JSON and events that no service would send."""
    check_outcome(Response(status, headers, body, complete=False))


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"<" * 200_000, b"<script" * 20_000, b":" * 200_000, b"a.b_" * 50_000]
)
@pytest.mark.parametrize("status", [200, 500])
def test_hostile_repetition_is_read_at_once(status: int, body: bytes) -> None:
    """Patterns that make careless parsers slow: they end, with an error."""
    with pytest.raises(ServiceError):
        parse_response(Response(status, {}, body))
