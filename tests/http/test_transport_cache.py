"""Cached transports are found again by their settings, the last used of them."""

from __future__ import annotations

import asyncio

from tests.client.scripted_server import serving
from tests.http.echo import AT_ONCE, connections, echo
from tts_pipeline.catalog.route import Route
from tts_pipeline.http.transport import Transport
from tts_pipeline.http.transport_cache import TransportCache


def _transport(cache: TransportCache, key: str) -> Transport:
    return cache.transport(AT_ONCE, key, "authorization", Route())


def test_the_next_client_finds_an_open_connection() -> None:
    """A client with another key finds none."""

    async def main() -> int:
        cache = TransportCache()
        async with serving(otherwise=echo) as server:
            for key in ("made-up", "made-up", "another"):
                await _transport(cache, key).exchange("POST", server.url, {}, b"a")
            await cache.aclose()
            assert [request.headers["authorization"] for request in server.requests] == ["made-up"] * 2 + ["another"]
            return connections(server)

    assert asyncio.run(main()) == 2


def test_few_are_kept() -> None:
    """The one that was used least recently is forgotten first."""
    cache = TransportCache()
    first = _transport(cache, "0")
    others = [_transport(cache, str(number)) for number in range(1, 8)]
    assert _transport(cache, "0") is first
    _transport(cache, "8")
    assert _transport(cache, "0") is first
    assert _transport(cache, "1") is not others[0]
