"""One exchange against a real server: read an answer, fetch and measure its audio, complete its failure."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from tests.client.scripted_server import (
    HELLO,
    KEY,
    ScriptedServer,
    Step,
    answer,
    disconnect,
    outcomes,
    speech_body,
    synthesize,
    synthesize_speech,
    url_body,
    wav,
    with_client,
)
from tts_pipeline.attempt import Outcome
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    SuspectError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.models import Speech, Utterance


def test_a_failed_answers_own_report_is_on_the_bill() -> None:
    """Its report is the upper bound."""
    _, log, _ = synthesize(answer(200, speech_body(wav()[:-100], characters=60)))
    settlement = log.settlements[log.attempts[0].attempt_id]
    assert (settlement.usage.characters_reported, settlement.characters_upper_bound) == (60, 60)
    assert (settlement.error_code, settlement.http_status, settlement.request_id) == ("MalformedAudio", 200, "r-1")


def test_an_error_carries_what_its_answer_said_of_itself() -> None:
    """Its status and request id, even if the answer was good and only its audio was not."""
    error, _, _ = synthesize(otherwise=answer(200, speech_body(wav()[:-100])))
    assert isinstance(error, TransientError)
    assert (error.code, error.http_status, error.request_id) == ("MalformedAudio", 200, "r-1")


def test_what_cannot_become_readable_is_bought_once() -> None:
    """A whole answer without audio of a known format may be billed, and another would be no better."""
    error, log, server = synthesize(otherwise=answer(200, speech_body(b"no audio", characters=6)))
    assert isinstance(error, UnreadableError)
    assert (error.code, error.http_status, error.request_id) == ("UnreadableAudio", 200, "r-1")
    assert len(server.requests) == 1
    assert outcomes(log) == [(Outcome.FAILED, "UnreadableAudio", 200, 0, 6)]


@pytest.mark.parametrize("speed", [{"ratio": 2}, [1], "fast", 0, -2, "inf"])
def test_a_speed_that_is_no_number_of_times_is_left_out_of_account(speed: Any) -> None:
    """Services without a card may take any value as their speed."""
    speech, _, _ = synthesize(answer(200, speech_body()), utterance=Utterance("a", "Hello.", {"speed": speed}))
    assert isinstance(speech, Speech)


def test_a_url_is_fetched_in_the_same_attempt() -> None:
    """Without the key."""

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        server.steps = [answer(200, url_body(server.url + "/a.wav", characters=6)), answer(200, wav(1.0))]
        speech = await client.synthesize(HELLO)
        assert (speech.audio.data, speech.attempts, speech.request_id) == (wav(1.0), 1, "r-1")
        assert "authorization" not in server.requests[1].headers

    with_client(main)


def test_a_refused_url_is_a_reject_that_was_billed() -> None:
    """A new attempt would be refused again."""
    error, log, server = synthesize(answer(200, url_body("http://169.254.169.254/latest", characters=6)))
    assert isinstance(error, PermanentError)
    assert "169.254.169.254" in str(error)
    assert outcomes(log) == [(Outcome.FAILED, "RefusedUrl", 200, 0, 6)]
    assert len(server.requests) == 1


def test_compressed_audio_is_measured_off_the_loop() -> None:
    """Large files are decoded in a thread; the result is the same."""
    import numpy as np
    import soundfile

    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 24_000 * 5).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, 24_000, format="FLAC")
    assert len(buffer.getvalue()) > 100_000
    speech = synthesize_speech(answer(200, buffer.getvalue(), {"content-type": "audio/mpeg"}))
    assert (speech.audio.format, speech.audio.duration_ms) == ("flac", 5_000)


@pytest.mark.parametrize(("parameters", "rate_hz"), [({}, 24_000), ({"sample_rate": 16_000}, 16_000)])
def test_headerless_pcm_that_was_asked_for_is_wrapped(parameters: dict[str, int], rate_hz: int) -> None:
    """At the requested rate, else at the model's rate."""
    utterance = Utterance("a", "Hello.", {"response_format": "pcm", **parameters})
    speech = synthesize_speech(answer(200, b"\1\0\2\0" * 6_000, {"content-type": "audio/pcm"}), utterance=utterance)
    assert (speech.audio.format, speech.audio.sample_rate_hz) == ("wav", rate_hz)


def test_the_key_is_in_no_repr_and_no_error() -> None:
    """Neither of the client nor of its errors."""

    async def main(client: SpeechClient, _: ScriptedServer) -> None:
        with pytest.raises(TransientError) as exc_info:
            await client.synthesize(HELLO)
        error: BaseException | None = exc_info.value
        while error is not None:
            assert KEY not in f"{error!r} {error} {vars(error)}"
            error = error.__cause__ or error.__context__
        assert KEY not in repr(client)

    with_client(main, otherwise=disconnect)


PAGE = answer(200, b"<html>Log in</html>", {"content-type": "text/html; charset=utf-8"})


def redirect(status: int, location: str) -> Step:
    return answer(status, b"<html>Moved</html>", {"location": location, "content-type": "text/html"})


@pytest.mark.parametrize("status", [307, 308])
def test_the_request_is_repeated_with_its_key(status: int) -> None:
    """Method, body and headers stay; it is one attempt, and on the bill once."""
    speech, log, server = synthesize(redirect(status, "/v1/audio/speech/"), redirect(status, "speech/?a=1"))
    assert isinstance(speech, Speech)
    first, *others = server.requests
    assert [request.path for request in others] == ["/v1/audio/speech/", "/v1/audio/speech/speech/?a=1"]
    for request in others:
        assert (request.method, request.body, request.headers) == ("POST", first.body, first.headers)
        assert request.headers["authorization"] == f"Bearer {KEY}"
    assert outcomes(log) == [(Outcome.SUCCEEDED, None, 200, 6, 6)]


@pytest.mark.parametrize(("status", "requests"), [(308, 3), (307, 4)])
def test_a_move_for_good_is_remembered(status: int, requests: int) -> None:
    """After a 308 the second row uses the new address; after a 307 it uses the old one."""
    moved = redirect(status, "/v1/audio/speech/")
    script = [moved, answer(200, wav()), *([moved] if status == 307 else []), answer(200, wav())]

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        for utterance in (HELLO, replace(HELLO, utterance_id="another")):
            await client.synthesize(utterance)
        assert len(server.requests) == requests

    with_client(main, *script)


def test_audio_may_be_behind_both() -> None:
    """First the redirected request, then the finished audio, which is fetched without the key."""
    speech, _, server = synthesize(redirect(308, "/v1/audio/speech/"), redirect(302, "/a.wav"), answer(200, wav()))
    assert isinstance(speech, Speech)
    assert [(request.method, "authorization" in request.headers) for request in server.requests] == [
        *[("POST", True)] * 2,
        ("GET", False),
    ]


@pytest.mark.parametrize(
    ("status", "location"),
    [
        (307, "https://elsewhere.example/v1/audio/speech"),
        (308, "http://localhost:9/v1/audio/speech"),
        (308, ""),
        (301, "https://127.0.0.1/v1/audio/speech"),
        (302, "/v1/audio/speech/"),
        (303, "https://elsewhere.example/v1/audio/speech/"),
    ],
)
def test_another_address_is_told_at_once(status: int, location: str) -> None:
    """One request, nothing billed, nothing sent to the other address."""
    error, log, server = synthesize(otherwise=redirect(status, location))
    assert isinstance(error, FatalError)
    assert (error.code, error.http_status, len(server.requests)) == ("Redirected", status, 1)
    assert "the service's address redirects" in error.message
    assert outcomes(log) == [(Outcome.FAILED, "Redirected", status, 0, 0)]


@pytest.mark.parametrize("location", ["/v1/audio/speech", "/loop"])
def test_a_circle_ends(location: str) -> None:
    """After five redirects."""
    error, log, server = synthesize(otherwise=redirect(307, location))
    assert isinstance(error, FatalError)
    assert (error.code, len(server.requests)) == ("Redirected", 6)
    assert outcomes(log)[0][3:] == (0, 0)


@pytest.mark.parametrize("target", [PAGE, answer(405, b"POST only")])
def test_a_page_in_place_of_audio_is_the_wrong_address(target: Step) -> None:
    """A 302 may lead to a login page or to an endpoint without GET: bought once; the error names the address."""
    error, log, server = synthesize(redirect(302, "/login?next=secret"), otherwise=target)
    assert isinstance(error, SuspectError)
    assert (error.code, [request.method for request in server.requests]) == ("Redirected", ["POST", "GET"])
    assert error.message.endswith(f"redirects to {server.url}/login")
    assert "secret" not in str(error)
    assert len(log.attempts) == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303])
def test_a_redirect_to_nowhere_is_not_bought_again(status: int) -> None:
    """It rejects the row; a second such row stops the run."""
    error, log, _ = synthesize(otherwise=answer(status, b""))
    assert isinstance(error, ServiceError)
    assert (type(error), error.code, len(log.attempts)) == (SuspectError, f"HTTP{status}", 1)
