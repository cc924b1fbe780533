"""One request on a connection: how its answer ends, what becomes of the connection, and how long it may take."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.scripted_server import Request, raw_response, silence
from tests.http.echo import answering, chunked, connections, echo, plain
from tests.machine import patience
from tts_pipeline.errors import ServiceError, TransientError
from tts_pipeline.http.timeouts import Timeouts


def connections_of(*answers: bytes) -> int:
    """Return how many connections serve requests that are answered with these bytes."""
    contents = iter(answers)

    async def step(request: Request) -> None:
        request.writer.write(next(contents))

    async def main() -> int:
        async with answering(step) as (server, transport):
            for _ in answers:
                await transport.exchange("POST", server.url, {}, b"a")
            return connections(server)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (chunked(b"x" * 2_500), 1),
        (raw_response(204, {}, b""), 1),
        (raw_response(304, {"content-length": "9"}, b""), 1),
        (raw_response(103, {"link": "<a>"}, b"") + plain(b"x"), 1),
        (raw_response(200, {"content-length": "1", "connection": "close"}, b"x"), 2),
        (plain(b"x").replace(b"HTTP/1.1", b"HTTP/1.0"), 2),
        (raw_response(200, {"content-length": "1", "connection": "keep-alive"}, b"x").replace(b"1.1", b"1.0"), 1),
    ],
)
def test_an_answer_decides_whether_its_connection_is_used_again(answer: bytes, count: int) -> None:
    """Chunks, no body at all and interim answers leave a connection usable; its end may be announced."""
    assert connections_of(answer, answer) == count


def test_an_answer_may_arrive_byte_by_byte() -> None:
    """Wherever the network cuts an answer, it is the same."""

    async def step(request: Request) -> None:
        for byte in raw_response(103, {}, b"") + chunked(request.body):
            request.writer.write(bytes([byte]))
            await asyncio.sleep(0)

    async def main() -> list[bytes]:
        async with answering(step) as (server, transport):
            return [(await transport.exchange("POST", server.url, {}, text)).body for text in (b"ab", b"cd")]

    assert asyncio.run(main()) == [b"ab", b"cd"]


def test_a_cancelled_exchange_closes_its_connection() -> None:
    """Its answer would pass for the next one's."""

    async def main() -> tuple[bytes, int]:
        async with answering(echo) as (server, transport):
            server.steps = [silence]
            sending = asyncio.create_task(transport.exchange("POST", server.url, {}, b"a"))
            await server.wait_for_requests(1)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await asyncio.wait_for(server.requests[0].writer.wait_closed(), patience(20))
            return (await transport.exchange("POST", server.url, {}, b"b")).body, connections(server)

    assert asyncio.run(main()) == (b"b", 2)


def test_a_transport_that_is_closed_ends_its_exchanges() -> None:
    """They may be billed."""

    async def main() -> ServiceError:
        async with answering(silence) as (server, transport):
            sending = asyncio.create_task(transport.exchange("POST", server.url, {}, b"a"))
            await server.wait_for_requests(1)
            await transport.aclose()
            with pytest.raises(TransientError) as exc_info:
                await sending
            return exc_info.value

    error = asyncio.run(main())
    assert (error.code, error.may_be_billed) == ("ConnectionLost", True)


def test_each_piece_of_an_answer_extends_its_time() -> None:
    """Only silence is limited: an answer may take longer than the longest silence."""
    timeouts = Timeouts(timeout_s=patience(0.8), connect_timeout_s=patience(20), probation_s=0)

    async def step(request: Request) -> None:
        request.writer.write(raw_response(200, {"content-length": "7"}, b""))
        for _ in range(7):
            await asyncio.sleep(patience(0.2))
            request.writer.write(b"x")

    async def main() -> bytes:
        async with answering(step, timeouts) as (server, transport):
            server.steps = [echo]  # the timer of this exchange is still set when the next one begins
            await transport.exchange("POST", server.url, {}, b"a")
            return (await transport.exchange("POST", server.url, {}, b"b")).body

    assert asyncio.run(main()) == b"xxxxxxx"


def test_a_used_connection_times_out_as_a_new_one() -> None:
    """Its timer is set again."""
    timeouts = Timeouts(timeout_s=0.05, connect_timeout_s=patience(20), probation_s=0)

    async def main() -> ServiceError:
        async with answering(silence, timeouts) as (server, transport):
            server.steps = [echo]
            await transport.exchange("POST", server.url, {}, b"a")
            await asyncio.sleep(0.1)  # the first timer has fired
            with pytest.raises(TransientError) as exc_info:
                await transport.exchange("POST", server.url, {}, b"b")
            return exc_info.value

    error = asyncio.run(main())
    assert (error.code, error.may_be_billed) == ("Timeout", True)
