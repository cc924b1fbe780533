"""Fetch a URL from real servers; loopback is both the service and the forbidden address."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from tests.client.scripted_server import (
    Request,
    ScriptedServer,
    Step,
    answer,
    disconnect,
    raw_response,
    serving,
    verbatim,
)
from tests.machine import patience
from tts_pipeline.config import Limits
from tts_pipeline.errors import PermanentError, ServiceError, TransientError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.retry_policy import RetryPolicy
from tts_pipeline.http.fetch import Fetcher
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.models import Usage
from tts_pipeline.wire.response import ParsedResponse, Response


def reading(url: str, expires_at: int | None = None) -> ParsedResponse:
    return ParsedResponse(None, url, expires_at, None, Usage(), "r-1", None, ())


async def no_sleep(_: float) -> None:
    """Return immediately."""


def fetched(
    path: str, *steps: Step, service: str = "", otherwise: Step | None = None, expires_at: int | None = None
) -> tuple[Response | ServiceError, ScriptedServer]:
    """Fetch a path of a server (or a whole URL) from the answer of a service (that server by default)."""

    async def main() -> tuple[Response | ServiceError, ScriptedServer]:
        async with serving(*steps, otherwise=otherwise) as server:
            fetcher = Fetcher(
                service or server.url,
                Timeouts(timeout_s=patience(20), connect_timeout_s=patience(20), max_body_bytes=10_000),
                RetryPolicy(Limits(), Random(1), no_sleep),
                Clock(),
            )
            url = path if "//" in path else server.url + path
            try:
                return await fetcher.fetch(reading(url.replace("SERVER", server.url), expires_at)), server
            except ServiceError as error:
                return error, server
            finally:
                await fetcher.aclose()

    return asyncio.run(main())


def test_the_audio_is_fetched_without_the_key() -> None:
    """A signed URL needs no key, and must not get one."""
    reply, server = fetched("/audio.wav?Signature=ab%2Bc%3D", answer(200, b"sound"))
    assert isinstance(reply, Response)
    assert (reply.body, reply.complete) == (b"sound", True)
    (request,) = server.requests
    assert request.method == "GET"
    assert "authorization" not in request.headers


def test_a_relative_url_is_relative_to_the_service() -> None:
    """A redirect may name one."""

    async def main() -> str:
        async with serving(answer(200, b"sound")) as server:
            patience = RetryPolicy(Limits(), Random(1), no_sleep)
            fetcher = Fetcher(server.url + "/gateway", Timeouts(20, 20), patience, Clock())
            await fetcher.fetch(reading("/files/a.wav"))
            await fetcher.aclose()
            return server.requests[0].path

    assert asyncio.run(main()) == "/files/a.wav"


@pytest.mark.parametrize("failing", [answer(503), answer(429), answer(404), disconnect])
def test_only_the_fetch_is_retried_when_only_the_fetch_failed(failing: Step) -> None:
    """The attempt is already paid for."""
    reply, server = fetched("/a.wav", failing, failing, answer(200, b"sound"))
    assert isinstance(reply, Response)
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 410, 500])
def test_a_url_that_is_lost_needs_a_new_attempt(status: int) -> None:
    """After a few tries; the first attempt is on the bill."""
    error, server = fetched("/a.wav?Signature=secret", otherwise=answer(status))
    assert isinstance(error, TransientError)
    assert (error.code, error.may_be_billed, error.http_status) == ("LostUrl", True, None)
    assert f"status {status}" in error.message
    assert "secret" not in str(error)
    assert len(server.requests) == 3


def test_an_expired_url_is_called_expired() -> None:
    """The error names the expiry as the reason."""
    error, _ = fetched("/a.wav", otherwise=answer(403), expires_at=int(time.time()) - 60)
    assert isinstance(error, TransientError)
    assert "expired" in error.message


def test_a_service_that_cannot_be_reached_for_the_fetch_was_billed() -> None:
    """The fetch was never sent, but the attempt was."""
    error, _ = fetched("http://127.0.0.1:9/a.wav")
    assert isinstance(error, TransientError)
    assert (error.code, error.may_be_billed) == ("LostUrl", True)


def test_redirects_are_followed_by_hand() -> None:
    """Five redirects are followed."""
    hops = [answer(302, b"", {"Location": f"/hop-{number}"}) for number in range(5)]
    reply, server = fetched("/a.wav", *hops, answer(200, b"sound"))
    assert isinstance(reply, Response)
    assert [request.path for request in server.requests] == ["/a.wav", *(f"/hop-{number}" for number in range(5))]


def refused(url: str, *steps: Step, service: str = "", otherwise: Step | None = None) -> tuple[str, int]:
    """Fetch a URL that must be refused; return the message and the number of requests that were sent."""
    error, server = fetched(url, *steps, service=service, otherwise=otherwise)
    assert isinstance(error, PermanentError)
    assert (error.code, error.may_be_billed) == ("RefusedUrl", True)
    return error.message, len(server.requests)


def test_endless_redirects_are_refused() -> None:
    """The sixth redirect is not followed."""
    _, requests = refused("/a.wav", otherwise=answer(302, b"", {"Location": "/a.wav"}))
    assert requests == 6


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "http://2130706433/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.wav",
    ],
)
def test_no_service_leads_there(url: str) -> None:
    """Not even a service on this machine, directly or by redirect: cloud metadata, files, odd spellings."""
    assert refused("/a.wav", answer(302, b"", {"Location": url}))[1] == 1
    assert refused(url)[1] == 0


@pytest.mark.parametrize(
    "url",
    ["SERVER//a.wav", "http://localhost:9/a.wav", "http://0x7f.1/a.wav", "http://10.0.0.1/a.wav", "http://[::1]/"],
)
def test_a_public_service_does_not_lead_inside(url: str) -> None:
    """Neither by address nor by name."""
    message, requests = refused(url, service="http://8.8.8.8")
    assert requests == 0
    assert "private network" in message


def test_an_endless_answer_is_cut_off() -> None:
    """The size cap ends it: no sentence has so much audio."""
    error, _ = fetched("/a.wav", verbatim(raw_response(200, {"connection": "close"}, b"x" * 10_001)))
    assert isinstance(error, PermanentError)
    assert (error.code, error.may_be_billed) == ("AnswerTooLarge", True)


def test_redirects_and_tries_have_one_end() -> None:
    """An answer that drips is never silent and never ends: the whole fetch times out, and is not tried again."""

    async def drip(request: Request) -> None:
        request.writer.write(raw_response(200, {"transfer-encoding": "chunked"}, b""))
        while not request.writer.is_closing():
            request.writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.005)

    async def main() -> tuple[ServiceError, int]:
        async with serving(otherwise=drip) as server:
            timeouts = Timeouts(timeout_s=patience(0.2), connect_timeout_s=patience(20))
            fetcher = Fetcher(server.url, timeouts, RetryPolicy(Limits(), Random(1), no_sleep), Clock())
            with pytest.raises(TransientError) as exc_info:
                await fetcher.fetch(reading(server.url + "/audio.wav"))
            await fetcher.aclose()
            return exc_info.value, len(server.requests)

    error, requests = asyncio.run(main())
    assert (error.code, requests) == ("LostUrl", 1)


def test_an_address_is_refused_after_any_number_of_visits() -> None:
    """A visit opens its own origin only: neither another port, nor a redirect to a forbidden address."""

    async def main() -> list[str | None]:
        async with (
            serving(otherwise=answer(200, b"sound")) as server,
            serving(answer(302, b"", {"Location": "http://169.254.169.254/a"})) as other,
        ):
            policy = RetryPolicy(Limits(), Random(1), no_sleep)
            fetcher = Fetcher(server.url, Timeouts(patience(20), patience(20)), policy, Clock())
            codes: list[str | None] = []
            for url in (f"{server.url}/1", f"{server.url}/2?q=1", f"{other.url}/1", "http://169.254.169.254/2"):
                try:
                    codes.append(str((await fetcher.fetch(reading(url))).status))
                except ServiceError as error:
                    codes.append(error.code)
            await fetcher.aclose()
            assert [request.path for request in server.requests] == ["/1", "/2?q=1"]
            return codes

    assert asyncio.run(main()) == ["200", "200", "RefusedUrl", "RefusedUrl"]


def test_the_first_answer_may_be_read_before_the_fetch_goes_on() -> None:
    """The taker gets the returned answer, or a redirect that it leaves alone; audio behind it is not offered."""

    async def main() -> None:
        offered: list[int] = []

        def take(source: Response, waiter: asyncio.Future[None]) -> bool:
            offered.append(source.status)
            if source.status == 200:
                asyncio.get_running_loop().call_soon(waiter.set_result, None)
            return source.status == 200

        steps = (answer(200, b"one"), answer(302, b"", {"Location": "/other"}), answer(200, b"two"))
        async with serving(*steps) as server:
            policy = RetryPolicy(Limits(), Random(1), no_sleep)
            fetcher = Fetcher(server.url, Timeouts(patience(20), patience(20)), policy, Clock())
            bodies = [(await fetcher.fetch(reading(f"{server.url}/{number}"), take)).body for number in range(2)]
            await fetcher.aclose()
        assert (bodies, offered) == ([b"one", b"two"], [200, 302])

    asyncio.run(main())
