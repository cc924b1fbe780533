"""The transport, against a real server."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from tests.client.scripted_server import (
    Step,
    after,
    answer,
    disconnect,
    raw_response,
    serving,
    silence,
    verbatim,
)
from tests.machine import patience
from tts_pipeline.errors import FatalError, PermanentError, ServiceError, TransientError
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.transport import Transport
from tts_pipeline.wire.response import Response

TIMEOUTS = Timeouts(timeout_s=patience(20), connect_timeout_s=patience(20), max_body_bytes=1_000_000)
KEY = "sk-very-secret-key"


def reply_to(step: Step, *, timeouts: Timeouts = TIMEOUTS, method: str = "POST") -> Response:
    """Send one request to a server that performs one step."""

    async def main() -> Response:
        async with serving(step) as server:
            transport = Transport(timeouts)
            try:
                return await transport.exchange(method, server.url + "/v1/audio/speech", {"x-mine": "1"}, b"{}")
            finally:
                await transport.aclose()

    return asyncio.run(main())


def error_of(step: Step, *, timeouts: Timeouts = TIMEOUTS) -> ServiceError:
    with pytest.raises(ServiceError) as exc_info:
        reply_to(step, timeouts=timeouts)
    return exc_info.value


def test_an_answer_is_returned_whole_with_lower_case_headers() -> None:
    """Status, headers and every byte of the body arrive, whatever the status."""
    reply = reply_to(answer(418, b"x" * 300_000, {"X-Request-Id": "r-7"}))
    assert (reply.status, reply.headers["x-request-id"], reply.body) == (418, "r-7", b"x" * 300_000)


def test_a_redirect_is_an_answer() -> None:
    """The transport follows no redirect: the wire room reads its target."""
    assert reply_to(answer(302, b"", {"Location": "http://elsewhere.example/"})).status == 302


@pytest.mark.parametrize(
    ("content", "complete"),
    [
        (raw_response(200, {"content-length": "3"}, b"abc"), True),
        (raw_response(200, {"transfer-encoding": "chunked"}, b"3\r\nabc\r\n0\r\n\r\n"), True),
        (raw_response(200, {"connection": "close"}, b"abc"), False),
    ],
)
def test_a_body_without_length_or_chunks_is_marked_as_maybe_cut(content: bytes, complete: bool) -> None:
    """A body that ends with the connection may have been cut without an error."""
    reply = reply_to(verbatim(content))
    assert (reply.body, reply.complete) == (b"abc", complete)


@pytest.mark.parametrize(
    "content",
    [
        raw_response(200, {"content-length": "9"}, b"abc"),
        raw_response(200, {"transfer-encoding": "chunked"}, b"9\r\nabc"),
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"",
    ],
)
def test_a_cut_answer_is_lost_and_may_be_billed(content: bytes) -> None:
    """The service had the request, so any later failure may be on its bill."""
    error = error_of(verbatim(content))
    assert (type(error), error.code, error.may_be_billed) == (TransientError, "ConnectionLost", True)


def test_a_disconnect_after_the_request_was_read_may_be_billed() -> None:
    """To the HTTP library it looks like a refused connection, but it is not."""
    error = error_of(disconnect)
    assert (type(error), error.code, error.may_be_billed) == (TransientError, "ConnectionLost", True)


def test_a_silent_service_times_out_and_may_be_billed() -> None:
    """The request was sent; the answer may still be made."""
    error = error_of(silence, timeouts=Timeouts(timeout_s=0.05, connect_timeout_s=patience(20)))
    assert (type(error), error.code, error.may_be_billed) == (TransientError, "Timeout", True)


def test_an_answer_that_trickles_forever_times_out() -> None:
    """A limit of silence alone does not bound an answer: single bytes could hold a slot for ever."""

    async def trickle(request: Any) -> None:
        request.writer.write(raw_response(200, {"transfer-encoding": "chunked"}, b""))
        while not request.writer.is_closing():
            request.writer.write(b"1\r\nx\r\n")
            await request.writer.drain()
            await asyncio.sleep(0.005)

    assert error_of(trickle, timeouts=Timeouts(timeout_s=0.05, connect_timeout_s=patience(20))).code == "Timeout"


def test_a_head_that_trickles_is_a_silence() -> None:
    """A head arrives within the longest silence, or not at all; its bytes extend nothing."""

    async def trickle(request: Any) -> None:
        for byte in raw_response(200, {"content-length": "0", "x": "y" * 60}, b""):
            request.writer.write(bytes([byte]))
            await asyncio.sleep(0.01)

    error = error_of(trickle, timeouts=Timeouts(timeout_s=0.2, connect_timeout_s=patience(20)))
    assert (error.code, error.may_be_billed) == ("Timeout", True)


@pytest.mark.parametrize(
    "step",
    [
        answer(200, b"x" * 1_000_001),
        verbatim(raw_response(200, {"connection": "close"}, b"x" * 1_000_001)),
        answer(200, gzip.compress(b"x" * 1_000_001), {"content-encoding": "gzip"}),
    ],
)
def test_an_answer_over_the_cap_is_refused(step: Step) -> None:
    """Declared, undeclared or compressed: memory is bounded."""
    error = error_of(step)
    assert (type(error), error.code, error.may_be_billed) == (PermanentError, "AnswerTooLarge", True)


def test_a_compressed_answer_is_decompressed() -> None:
    """Compression is not requested, but a proxy may apply it."""
    assert reply_to(answer(200, gzip.compress(b"abc"), {"content-encoding": "gzip"})).body == b"abc"


def test_a_damaged_compressed_answer_is_malformed() -> None:
    """It is retried, and may be billed."""
    error = error_of(answer(200, b"abc", {"content-encoding": "gzip"}))
    assert (error.code, error.may_be_billed) == ("MalformedBody", True)


@asynccontextmanager
async def _closed_port() -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"


@asynccontextmanager
async def _unknown_host() -> AsyncIterator[str]:
    yield "http://no-such-host.invalid"


@asynccontextmanager
async def _no_tls() -> AsyncIterator[str]:
    async def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("address", "code", "kind"),
    [
        (_closed_port, "ConnectionFailed", TransientError),
        (_unknown_host, "UnknownHost", FatalError),
        (_no_tls, "TlsFailed", FatalError),
    ],
)
def test_what_never_left_is_surely_not_billed(
    address: Callable[[], AbstractAsyncContextManager[str]], code: str, kind: type[ServiceError]
) -> None:
    """Refused, unknown host, no TLS: no request was sent; a lasting cause is fatal immediately."""

    async def main() -> ServiceError:
        transport = Transport(TIMEOUTS)
        try:
            async with address() as url:
                with pytest.raises(kind) as exc_info:
                    await transport.exchange("POST", url, {}, b"{}")
            return exc_info.value
        finally:
            await transport.aclose()

    error = asyncio.run(main())
    assert (type(error), error.code, error.may_be_billed) == (kind, code, False)


def test_a_name_that_was_known_will_be_again() -> None:
    """A host that answered before and is unknown now is an outage, not a wrong address."""

    async def main() -> ServiceError:
        async with serving() as server:
            transport = Transport(TIMEOUTS)
            try:
                await transport.exchange("POST", server.url, {}, b"{}")
                with pytest.raises(TransientError) as exc_info:
                    await transport.exchange("POST", "http://no-such-host.invalid", {}, b"{}")
                return exc_info.value
            finally:
                await transport.aclose()

    error = asyncio.run(main())
    assert (error.code, error.may_be_billed) == ("ConnectionFailed", False)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "ftp://127.0.0.1/x",
        "http://2130706433/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/\0",
        "http:/x",
        "/x",
    ],
)
def test_a_bad_address_is_never_retried(url: str) -> None:
    """It cannot get better, and nothing was sent."""

    async def main() -> ServiceError:
        transport = Transport(TIMEOUTS)
        with pytest.raises(PermanentError) as exc_info:
            await transport.exchange("GET", url, {})
        await transport.aclose()
        return exc_info.value

    error = asyncio.run(main())
    assert (error.code, error.may_be_billed) == ("InvalidUrl", False)


def test_the_key_travels_only_where_it_was_given() -> None:
    """A transport without a key sends none; cookies and proxies of the environment have no effect."""

    async def main() -> list[dict[str, str]]:
        async with serving(otherwise=answer(200, b"ok", {"set-cookie": "a=b"})) as server:
            for authorization in (f"Bearer {KEY}", None, None):
                transport = Transport(TIMEOUTS, authorization=authorization)
                await transport.exchange("POST", server.url, {}, b"{}")
                await transport.exchange("GET", server.url, {})
                await transport.aclose()
        return [request.headers for request in server.requests]

    sent = asyncio.run(main())
    assert [headers.get("authorization") for headers in sent] == [f"Bearer {KEY}"] * 2 + [None] * 4
    assert not any("cookie" in headers for headers in sent)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable must not send a local service's requests elsewhere."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert reply_to(answer(200, b"direct")).body == b"direct"


@pytest.mark.parametrize("content", [b"no HTTP\r\n\r\n", b"", raw_response(200, {"content-length": "9"}, b"abc")])
def test_the_key_is_in_no_exception(content: bytes) -> None:
    """Neither in an error nor in its context: the libraries' exceptions hold the request."""

    async def main() -> BaseException:
        async with serving(verbatim(content)) as server:
            transport = Transport(TIMEOUTS, authorization=f"Bearer {KEY}")
            with pytest.raises(TransientError) as exc_info:
                await transport.exchange("POST", server.url, {}, b"{}")
            assert KEY not in repr(transport)
            await transport.aclose()
        return exc_info.value

    error: BaseException = asyncio.run(main())
    assert error.__cause__ is None
    assert error.__context__ is None
    assert KEY not in f"{error!r} {error} {error.__dict__}"


def test_as_many_connections_as_requests() -> None:
    """The default limits of 100 of httpx and aiohttp hold no requests back: only the limiter bounds them."""

    async def main() -> int:
        all_in = asyncio.Event()
        async with serving(otherwise=after(all_in, answer(200, b"ok"))) as server:
            transport = Transport(TIMEOUTS)
            sending = [asyncio.create_task(transport.exchange("POST", server.url, {}, b"{}")) for _ in range(150)]
            await asyncio.wait_for(server.wait_for_requests(150), timeout=patience(20))
            all_in.set()
            await asyncio.gather(*sending)
            await transport.aclose()
            return len(server.requests)

    assert asyncio.run(main()) == 150
