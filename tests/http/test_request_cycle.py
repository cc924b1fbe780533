"""One request on a connection: how its answer ends, what becomes of the connection, and how long it may take."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from tests.client.scripted_server import Request, raw_response, silence
from tests.http.echo import answering, chunked, connections, echo, plain
from tests.machine import patience
from tts_pipeline.errors import ServiceError, TransientError
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.wire.response import Response


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


def taken_of(answer: bytes, *, is_taken: bool = True) -> tuple[list[bytes], bytes | str]:
    """Return the bodies that were taken, and the body that the exchange returned in the end, or its error's code."""
    bodies: list[bytes] = []

    def take(reply: Response, waiter: asyncio.Future[None]) -> bool:
        bodies.append(reply.body)
        if is_taken:
            assert not waiter.done()
            asyncio.get_running_loop().call_soon(waiter.set_result, None)
        return is_taken

    async def step(request: Request) -> None:
        request.writer.write(answer)
        if b"close" in answer:
            request.writer.close()

    async def main() -> bytes | str:
        async with answering(step) as (server, transport):
            try:
                return (await transport.exchange("POST", server.url, {}, b"a", take)).body
            except ServiceError as error:
                return error.code

    return bodies, asyncio.run(main())


@pytest.mark.parametrize("is_taken", [True, False])
def test_an_answer_may_be_taken_before_its_exchange_goes_on(is_taken: bool) -> None:
    """It is handed over once; who declines it lets the exchange go on at once. The answer is the same."""
    assert taken_of(plain(b"abc"), is_taken=is_taken) == ([b"abc"], b"abc")
    assert taken_of(chunked(b"x" * 2_500), is_taken=is_taken) == ([b"x" * 2_500], b"x" * 2_500)


def test_only_an_answer_that_is_surely_right_is_handed_over() -> None:
    """No error, no part of an answer, no answer that must be inflated, and none whose end does not show."""
    compressed = gzip.compress(b"abc")
    head = {"content-encoding": "gzip", "content-length": str(len(compressed))}
    assert taken_of(raw_response(200, head, compressed)) == ([], b"abc")
    assert taken_of(raw_response(200, {"connection": "close"}, b"abc")) == ([], b"abc")
    assert taken_of(raw_response(200, {"connection": "close", "content-length": "9"}, b"abc")) == ([], "ConnectionLost")
    assert taken_of(b"nonsense, then close\r\n\r\n") == ([], "InvalidHttpAnswer")


def test_a_doubtful_answer_is_not_handed_over() -> None:
    """Two answers on a used connection: neither may be read as this request's."""
    bodies: list[bytes] = []

    def take(reply: Response, waiter: asyncio.Future[None]) -> bool:
        bodies.append(reply.body)
        return False

    async def step(request: Request) -> None:
        request.writer.write(plain(request.body) * (2 if request.body == b"b" else 1))

    async def main() -> None:
        async with answering(step) as (server, transport):
            await transport.exchange("POST", server.url, {}, b"a", take)
            with pytest.raises(TransientError) as exc_info:
                await transport.exchange("POST", server.url, {}, b"b", take)
            assert exc_info.value.code == "DoubtfulAnswer"

    asyncio.run(main())
    assert bodies == [b"a"]


def test_a_cancelled_exchange_ends_although_its_answer_was_taken() -> None:
    """Its connection serves the next request: the answer was whole."""

    async def main() -> int:
        taken = asyncio.Event()

        def take(_: Response, __: asyncio.Future[None]) -> bool:
            taken.set()
            return True

        async with answering(echo) as (server, transport):
            exchange = asyncio.ensure_future(transport.exchange("POST", server.url, {}, b"a", take))
            await taken.wait()
            exchange.cancel()
            with pytest.raises(asyncio.CancelledError):
                await exchange
            assert (await transport.exchange("POST", server.url, {}, b"b")).body == b"b"
            return connections(server)

    assert asyncio.run(main()) == 1
