"""Redirects of the request itself, against real servers: repeated where the key may go, else told at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.client.scripted_server import ScriptedServer, Step, answer, wav
from tests.client.test_client import HELLO, KEY, outcomes, synthesize, with_client
from tts_pipeline.attempt import Outcome
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.errors import FatalError, ServiceError, SuspectError
from tts_pipeline.models import Speech

PAGE = answer(200, b"<html>Log in</html>", {"content-type": "text/html; charset=utf-8"})


def redirect(status: int, location: str) -> Step:
    return answer(status, b"<html>Moved</html>", {"location": location, "content-type": "text/html"})


@pytest.mark.parametrize("status", [307, 308])
def test_the_request_is_repeated_with_its_key(status: int) -> None:
    """Method, body and headers stay; it is one attempt, and on the bill once."""
    speech, ledger, server = synthesize(redirect(status, "/v1/audio/speech/"), redirect(status, "speech/?a=1"))
    assert isinstance(speech, Speech)
    first, *others = server.requests
    assert [request.path for request in others] == ["/v1/audio/speech/", "/v1/audio/speech/speech/?a=1"]
    for request in others:
        assert (request.method, request.body, request.headers) == ("POST", first.body, first.headers)
        assert request.headers["authorization"] == f"Bearer {KEY}"
    assert outcomes(ledger) == [(Outcome.SUCCEEDED, None, 200, 6, 6)]


@pytest.mark.parametrize(("status", "requests"), [(308, 3), (307, 4)])
def test_a_move_for_good_is_remembered(status: int, requests: int) -> None:
    """The second row goes there at once after a 308, and asks the old address again after a 307."""
    moved = redirect(status, "/v1/audio/speech/")
    script = [moved, answer(200, wav()), *([moved] if status == 307 else []), answer(200, wav())]

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        for utterance in (HELLO, replace(HELLO, utterance_id="another")):
            await client.synthesize(utterance)
        assert len(server.requests) == requests

    with_client(main, *script)


def test_audio_may_be_behind_both() -> None:
    """The address first, then the finished audio, which is fetched without the key."""
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
    """One request, nothing billed, nothing sent anywhere else."""
    error, ledger, server = synthesize(otherwise=redirect(status, location))
    assert isinstance(error, FatalError)
    assert (error.code, error.http_status, len(server.requests)) == ("Redirected", status, 1)
    assert "the service's address redirects" in error.message
    assert outcomes(ledger) == [(Outcome.FAILED, "Redirected", status, 0, 0)]


@pytest.mark.parametrize("location", ["/v1/audio/speech", "/loop"])
def test_a_circle_ends(location: str) -> None:
    """After five."""
    error, ledger, server = synthesize(otherwise=redirect(307, location))
    assert isinstance(error, FatalError)
    assert (error.code, len(server.requests)) == ("Redirected", 6)
    assert outcomes(ledger)[0][3:] == (0, 0)


@pytest.mark.parametrize("target", [PAGE, answer(405, b"POST only")])
def test_a_page_in_place_of_audio_is_the_wrong_address(target: Step) -> None:
    """Where a 302 leads to a login page, or to a door that takes no GET: bought once, and told with the address."""
    error, ledger, server = synthesize(redirect(302, "/login?next=secret"), otherwise=target)
    assert isinstance(error, SuspectError)
    assert (error.code, [request.method for request in server.requests]) == ("Redirected", ["POST", "GET"])
    assert f"redirects to {server.url}/login: use that" in error.message
    assert "secret" not in str(error)
    assert len(ledger.attempts) == 1


@pytest.mark.parametrize("status", [300, 301, 302, 303])
def test_a_redirect_to_nowhere_is_not_bought_again(status: int) -> None:
    """It is a row's, and the run's when two rows meet it."""
    error, ledger, _ = synthesize(otherwise=answer(status, b""))
    assert isinstance(error, ServiceError)
    assert (type(error), error.code, len(ledger.attempts)) == (SuspectError, f"HTTP{status}", 1)
