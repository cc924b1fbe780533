"""Each answer belongs to its request: real servers answer twice, late, early and in another order."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

import pytest

from tests.client.certificates import Authority, serving_tls
from tests.client.scripted_server import Request, ScriptedServer, Step, client_of, raw_response, serving
from tests.http.echo import AT_ONCE, answering, chunked, connections, echo, plain
from tests.machine import patience
from tts_pipeline.catalog.route import Route
from tts_pipeline.config import Limits
from tts_pipeline.errors import ServiceError, TransientError
from tts_pipeline.http.socket_state import SocketState
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.transport import Transport
from tts_pipeline.models import Utterance

Framing = Callable[[bytes], bytes]


@cache
def sound_of(text: str) -> bytes:
    """Make a WAV file that is unique to its text."""
    samples = b"".join(struct.pack("<h", index * (1 + int(text)) % 9_999) for index in range(1_200))
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, 24_000,
                       48_000, 2, 16, b"data", len(samples))  # fmt: skip
    return head + samples


def twice(framing: Framing) -> Step:
    async def step(request: Request) -> None:
        request.writer.write(2 * framing(sound_of(request.text)))

    return step


def late(framing: Framing) -> Step:
    """Repeat every answer a little later, whatever the connection does by then."""

    async def step(request: Request) -> None:
        content = framing(sound_of(request.text))
        request.writer.write(content)
        asyncio.get_running_loop().call_later(0.02, request.writer.write, content)

    return step


def late_in_turn(framing: Framing) -> Step:
    """Repeat every answer before the next request is read."""

    async def step(request: Request) -> None:
        request.writer.write(framing(sound_of(request.text)))
        await asyncio.sleep(0.02)
        request.writer.write(framing(sound_of(request.text)))

    return step


def half_late(framing: Framing) -> Step:
    """Begin a second answer together with the answer, and end it later."""

    async def step(request: Request) -> None:
        content = framing(sound_of(request.text))
        request.writer.write(content + content[:20])
        asyncio.get_running_loop().call_later(0.005, request.writer.write, content[20:])

    return step


def in_another_order(framing: Framing) -> Step:
    """Answer the connections from the last to the first."""
    waiting: list[Request] = []

    async def step(request: Request) -> None:
        waiting.append(request)
        await asyncio.sleep(0.002)
        while waiting:
            last = waiting.pop()
            last.writer.write(framing(sound_of(last.text)))

    return step


@pytest.mark.parametrize("max_concurrency", [1, 64])
@pytest.mark.parametrize("framing", [plain, chunked])
@pytest.mark.parametrize("script", [twice, late, late_in_turn, half_late, in_another_order])
def test_every_row_has_its_own_audio(script: Callable[[Framing], Step], framing: Framing, max_concurrency: int) -> None:
    """Whatever else arrives on a connection, a row gets the audio of its own text, or none."""

    async def main() -> dict[str, bytes]:
        limits = Limits(max_concurrency=max_concurrency, timeout_s=patience(20))
        async with serving(otherwise=script(framing)) as server, client_of(server, limits=limits) as client:
            texts = [str(number) for number in range(max(12, 2 * max_concurrency))]
            speeches = await asyncio.gather(*(client.synthesize(Utterance(text, text)) for text in texts))
        return {speech.utterance.text: speech.audio.data for speech in speeches}

    heard = asyncio.run(main())
    assert [text for text, audio in heard.items() if audio != sound_of(text)] == []


def exchange_text(server: ScriptedServer, transport: Transport, text: bytes) -> Awaitable[object]:
    return transport.exchange("POST", server.url, {}, text)


def test_a_silent_connection_is_used_again() -> None:
    """One connection serves many requests, once its server has been silent between answers."""

    async def main(probation_s: float) -> int:
        timeouts = Timeouts(timeout_s=patience(20), connect_timeout_s=patience(20), probation_s=probation_s)
        async with answering(echo, timeouts) as (server, transport):
            for _ in range(9):
                await transport.exchange("POST", server.url, {}, b"a")
            return connections(server)

    assert [asyncio.run(main(probation_s)) for probation_s in (0, 20)] == [1, 9]


def test_who_stood_still_has_not_watched() -> None:
    """A loop that stalled for longer than a probation has seen no silence: late bytes reach no row."""

    async def step(request: Request) -> None:
        answer = plain(request.body)
        request.writer.write(answer)
        asyncio.get_running_loop().call_later(0.02, request.writer.write, answer)

    async def main() -> list[bytes]:
        bounds = Timeouts(timeout_s=patience(20), connect_timeout_s=patience(20), probation_s=0.05)
        async with answering(step, bounds) as (server, transport):
            first = await transport.exchange("POST", server.url, {}, b"a")
            time.sleep(0.1)  # noqa: ASYNC251 (the whole loop stands still)
            second = await transport.exchange("POST", server.url, {}, b"b")
            return [first.body, second.body]

    assert asyncio.run(main()) == [b"a", b"b"]


@pytest.mark.parametrize("surplus", [plain(b"x"), plain(b"x")[:9], b"\r\n", b"garbage"])
def test_what_arrives_on_an_idle_connection_ends_it(surplus: bytes) -> None:
    """The next request uses a new connection, and so does every later request."""

    async def main() -> tuple[list[bytes], int]:
        async with answering(echo) as (server, transport):
            replies = [await transport.exchange("POST", server.url, {}, b"a")]
            server.requests[0].writer.write(surplus)
            await server.requests[0].writer.wait_closed()
            replies += [await transport.exchange("POST", server.url, {}, text) for text in (b"b", b"c")]
            return [reply.body for reply in replies], connections(server)

    assert asyncio.run(main()) == ([b"a", b"b", b"c"], 3)


def test_what_the_loop_has_not_read_yet_counts_too() -> None:
    """A busy loop reads arrived bytes only after the request, so the system's buffer is checked."""

    async def main() -> tuple[list[bytes], int]:
        async with answering(echo) as (server, transport):
            first = await transport.exchange("POST", server.url, {}, b"a")
            server.requests[0].writer.write(plain(b"x"))
            second = await transport.exchange("POST", server.url, {}, b"b")
            return [first.body, second.body], connections(server)

    assert asyncio.run(main()) == ([b"a", b"b"], 2)


def test_nothing_arrives_between_the_choice_of_a_connection_and_its_request() -> None:
    """Both happen in one step of the loop: one step after a silent connection was seen, the server has the request."""

    async def main() -> tuple[bool, bytes]:
        async with answering(echo) as (server, transport):
            await transport.exchange("POST", server.url, {}, b"a")
            server_side = SocketState(server.requests[0].writer.get_extra_info("socket").fileno())
            sending = asyncio.create_task(transport.exchange("POST", server.url, {}, b"b"))
            await asyncio.sleep(0)
            has_request = server_side.has_bytes()
            return has_request, (await sending).body

    assert asyncio.run(main()) == (True, b"b")


def test_a_server_that_ended_an_idle_connection_costs_nothing() -> None:
    """Even before the loop notices the end, the request is written on another connection."""

    async def main() -> bytes:
        transport = Transport(AT_ONCE)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            for text in (b"a", b"b"):
                sending = asyncio.create_task(transport.exchange("POST", url, {}, text))
                with await asyncio.wait_for(_accepted(server), patience(20)) as connection:
                    connection.setblocking(False)
                    received = b""
                    while not received.endswith(b"\r\n\r\n" + text):
                        received += await asyncio.get_running_loop().sock_recv(connection, 4_096)
                    connection.send(plain(text))
                    reply = await sending
        await transport.aclose()
        return reply.body

    assert asyncio.run(main()) == b"b"


def test_two_answers_on_a_used_connection_are_both_doubted() -> None:
    """The first may be a late answer to the previous request, so the audio is bought again."""

    async def main() -> ServiceError:
        async def step(request: Request) -> None:
            request.writer.write(plain(request.body) * (2 if request.body == b"b" else 1))

        async with answering(step) as (server, transport):
            await transport.exchange("POST", server.url, {}, b"a")
            with pytest.raises(TransientError) as exc_info:
                await transport.exchange("POST", server.url, {}, b"b")
            return exc_info.value

    error = asyncio.run(main())
    assert (error.code, error.may_be_billed) == ("DoubtfulAnswer", True)


@pytest.mark.filterwarnings("ignore:Sending a large body")
def test_an_answer_before_the_whole_request_is_no_audio() -> None:
    """A server that has not read the text cannot have spoken it; a refusal is believed."""

    async def answered(status: int) -> int | str:
        is_answered = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw_response(status, {"content-length": "1"}, b"x"))
            await is_answered.wait()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            transport = Transport(AT_ONCE)
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            try:
                return (await transport.exchange("POST", url, {}, bytes(9_000_000))).status
            except ServiceError as error:
                return error.code
            finally:
                is_answered.set()
                await transport.aclose()

    assert [asyncio.run(answered(status)) for status in (200, 413)] == ["DoubtfulAnswer", 413]


def test_a_server_that_speaks_first_is_not_believed() -> None:
    """Bytes before the request are no answer to it: the request stays unsent."""

    async def main() -> ServiceError:
        transport = Transport(AT_ONCE)
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            sending = asyncio.create_task(transport.exchange("POST", url, {}, b"a"))
            with await _accepted(server) as connection:
                connection.send(plain(b"x"))
                with pytest.raises(TransientError) as exc_info:
                    await sending
        await transport.aclose()
        return exc_info.value

    error = asyncio.run(main())
    assert (error.code, error.may_be_billed) == ("ConnectionFailed", False)


async def _accepted(server: socket.socket) -> socket.socket:
    """Accept a connection before the loop knows about it."""
    while True:
        try:
            return server.accept()[0]
        except BlockingIOError:
            await asyncio.sleep(0)


def test_a_server_that_closes_an_idle_connection_in_words_is_trusted() -> None:
    """Some servers end an idle connection with status 408: other connections are used again."""

    async def main() -> int:
        async with answering(echo) as (server, transport):
            await transport.exchange("POST", server.url, {}, b"a")
            server.requests[0].writer.write(raw_response(408, {"connection": "close"}, b""))
            server.requests[0].writer.close()
            await asyncio.sleep(0.01)
            for _ in range(3):
                await transport.exchange("POST", server.url, {}, b"b")
            return connections(server)

    assert asyncio.run(main()) == 2


def test_who_reads_late_from_a_connection_that_another_request_has_is_no_evidence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A row reads its answer in its turn, and its connection may serve another request by then.

    The second request begins some steps of the loop after the first answer was written: one of these numbers is the
    step between the answer's arrival and its reading.
    """

    async def main(steps: int) -> None:
        written = asyncio.Event()

        async def step(request: Request) -> None:
            answer = plain(request.body)
            request.writer.write(answer[:-1])
            await asyncio.sleep(0.01)
            request.writer.write(answer[-1:])
            written.set()

        async with answering(step) as (server, transport):
            first = asyncio.create_task(transport.exchange("POST", server.url, {}, b"a"))
            await written.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
            replies = [await transport.exchange("POST", server.url, {}, b"b"), await first]
            assert [reply.body for reply in replies] == [b"b", b"a"]

    for steps in range(20):
        asyncio.run(main(steps))
    assert not caplog.messages


def test_tls_connections_are_watched_as_others_are(tmp_path: Path) -> None:
    """Messages of TLS itself on an idle connection (session tickets) are no answers; bytes of the server are."""
    authority = Authority(tmp_path)

    async def main() -> tuple[list[bytes], list[int]]:
        async with serving_tls(authority.context("127.0.0.1"), otherwise=echo) as server:
            transport = Transport(AT_ONCE, route=Route(ca_file=str(authority.file)))
            replies = [await transport.exchange("POST", server.url, {}, text) for text in (b"a", b"b")]
            counts = [connections(server)]
            server.requests[-1].writer.write(plain(b"x"))
            replies += [await transport.exchange("POST", server.url, {}, text) for text in (b"c", b"d")]
            counts.append(connections(server))
            await transport.aclose()
            return [reply.body for reply in replies], counts

    replies, counts = asyncio.run(main())
    assert replies == [b"a", b"b", b"c", b"d"]
    assert counts[0] == 1
    assert counts[1] >= 2
