"""Idle connections: how long they are kept, and which one is used again."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.scripted_server import serving
from tests.http.echo import AT_ONCE, connections, echo
from tests.machine import patience
from tts_pipeline.http import connection_pool
from tts_pipeline.http.transport import Transport


def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a request, too: a gateway would close it while a request is on its way."""
    monkeypatch.setattr(connection_pool, "_KEEPALIVE_S", 0.05)

    async def main() -> None:
        async with serving(otherwise=echo) as server:
            transport = Transport(AT_ONCE)
            sending = (transport.exchange("POST", server.url, {}, text) for text in (b"a", b"b"))
            await asyncio.gather(*sending)
            for request in server.requests:
                await asyncio.wait_for(request.writer.wait_closed(), patience(20))
            await transport.aclose()

    asyncio.run(main())


def test_a_connection_that_was_idle_for_too_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a stalled loop has not closed it yet."""
    monkeypatch.setattr(connection_pool, "_KEEPALIVE_S", 0.0)

    async def main() -> int:
        async with serving(otherwise=echo) as server:
            transport = Transport(AT_ONCE)
            for text in (b"a", b"b"):
                assert (await transport.exchange("POST", server.url, {}, text)).body == text
            await transport.aclose()
            return connections(server)

    assert asyncio.run(main()) == 2


def test_the_connection_that_was_used_last_is_used_first() -> None:
    """So the others may end, and no request comes to the one that its server is about to close."""

    async def main() -> list[int]:
        async with serving(otherwise=echo) as server:
            transport = Transport(AT_ONCE)
            await asyncio.gather(*(transport.exchange("POST", server.url, {}, text) for text in (b"a", b"b")))
            for _ in range(3):
                await transport.exchange("POST", server.url, {}, b"c")
            await transport.aclose()
            return [id(request.writer) for request in server.requests]

    *two, third, fourth, fifth = asyncio.run(main())
    assert third == fourth == fifth
    assert third in two


def test_the_connections_of_two_servers_are_kept_apart() -> None:
    """By host, port, scheme and proxy."""

    async def main() -> list[bytes]:
        async with serving(otherwise=echo) as one, serving(otherwise=echo) as other:
            transport = Transport(AT_ONCE)
            for server in (one, other, one, other):
                await transport.exchange("POST", server.url, {}, server.url.encode())
            await transport.aclose()
            assert {request.body for request in one.requests} == {one.url.encode()}
            return [request.body for request in other.requests]

    assert len(asyncio.run(main())) == 2
