"""The answers of one turn are read together: each has its own result or error, as if it had come alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.client.scripted_server import speech_body, url_body, wav
from tests.sounds import pcm, sample
from tts_pipeline.audio.quality import assess
from tts_pipeline.client.answer_reader import AnswerReader, ReceivedAnswer, ResponseFacts, SegmentRequest
from tts_pipeline.errors import FatalError, TransientError
from tts_pipeline.models import Answer, Segment
from tts_pipeline.wire.redaction import Redactor
from tts_pipeline.wire.request import Request
from tts_pipeline.wire.response import Response

TEXT = "Hello."
CUT = speech_body(wav()[:-100])
REFUSAL = {"code": "InvalidApiKey", "message": "the key k-secret-1 is wrong"}


def received(body: bytes | dict[str, Any], status: int = 200, **parameters: Any) -> ReceivedAnswer:
    content = json.dumps(body).encode() if isinstance(body, dict) else body
    request = SegmentRequest(
        Request("POST", "http://localhost/", {}, b"", ""), Segment(0, TEXT, 0, len(TEXT)), 6, parameters, "en"
    )
    return ReceivedAnswer(request, ResponseFacts(), Response(status, {"x-request-id": "h-1"}, content))


def reader() -> AnswerReader:
    return AnswerReader(Redactor(["k-secret-1"]))


def read(own: AnswerReader, *batch: ReceivedAnswer) -> list[Answer | Exception | None]:
    own.read(batch)
    return [each.outcome for each in batch]


def test_each_answer_has_its_own_outcome() -> None:
    """An answer that is cut or refused costs its neighbours nothing; all that was reported is in the facts."""
    batch = [
        received(speech_body(wav(0.5), characters=6)),
        received(CUT),
        received(REFUSAL, 401),
        received(wav(0.7)),
        received(url_body("https://example.com/a.wav")),
    ]
    first, cut, refused, last, elsewhere = read(reader(), *batch)
    assert isinstance(first, Answer)
    assert isinstance(last, Answer)
    assert (first.audio.data, last.audio.data, elsewhere) == (wav(0.5), wav(0.7), None)
    assert isinstance(cut, TransientError)
    assert isinstance(refused, FatalError)
    assert [each.facts.request_id for each in batch] == ["r-1", "r-1", "h-1", "h-1", "r-1"]
    assert (batch[0].facts.usage.characters_reported, batch[2].facts.http_status) == (6, 401)


def test_an_error_of_ours_stays_with_its_answer() -> None:
    """Even an error that no answer should cause, before its sound is measured or after."""
    batch = [received(wav()), received(wav(), speed=object()), received(wav())]
    batch[0].reply = Response(200, {}, None)  # type: ignore[arg-type]  # what no transport gives
    before, after, good = read(reader(), *batch)
    assert isinstance(before, TypeError)
    assert isinstance(after, TypeError)
    assert isinstance(good, Answer)


@pytest.mark.parametrize("speed", [1.0, 0.1])
def test_flags_are_those_of_the_sound_alone(speed: float) -> None:
    """Of a clip that was measured with others, for the requested speed."""
    batch = [received(sample("wav", seconds=seconds), speed=speed) for seconds in (0.005, 0.02, 1.0, 1.5, 3.0, 9.0)]
    answers = read(reader(), *batch, received(CUT))
    for answer in answers[:-1]:
        assert isinstance(answer, Answer)
        assert answer.quality == assess(answer.audio, TEXT, "en", speed=speed)
    assert len({answer.quality for answer in answers if isinstance(answer, Answer)}) > 1


@pytest.mark.parametrize(
    ("body", "is_quick"),
    [
        (sample("wav", channels=2), True),
        (sample("wav extensible"), True),
        (sample("wav mu-law"), True),
        (sample("wav", sample_rate_hz=48_000, seconds=6.0), False),
        (sample("mp3"), False),
        (sample("wav extensible", seconds=4.0), False),
    ],
)
def test_only_quick_audio_is_read_on_the_loop(body: bytes, is_quick: bool) -> None:
    """Long audio and compressed audio are left to a thread, and the result is the same."""
    subject, own = received(body), reader()
    neighbour, answer = read(own, received(wav()), subject)
    assert isinstance(neighbour, Answer)
    assert (answer is not None) is is_quick
    finished = own.finish(subject)
    assert answer in (None, finished)
    assert finished.quality == assess(finished.audio, TEXT, "en")


def test_headerless_samples_are_measured_with_the_others() -> None:
    """They become a WAV first; the answers keep their places."""
    samples = pcm(seconds=0.5)
    batch = [received(samples, response_format="pcm", sample_rate=24_000), received(wav())]
    first, second = read(reader(), *batch)
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (first.audio.data[44:], second.audio.data) == (samples, wav())


def test_fetched_audio_completes_its_answer() -> None:
    """The audio at a URL is read after it was fetched; the answer that named it is not parsed again."""
    own, subject = reader(), received(url_body("https://example.com/a.wav", characters=6))
    assert read(own, subject) == [None]
    reading, subject.source = subject.reading, Response(200, {}, wav())
    (answer,) = read(own, subject)
    assert isinstance(answer, Answer)
    assert (answer.audio.data, answer.request_id, answer.usage.characters_reported) == (wav(), "r-1", 6)
    assert subject.reading is reading
