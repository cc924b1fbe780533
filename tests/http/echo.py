"""A server that echoes, and a transport that uses its connections again at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.client.scripted_server import Request, ScriptedServer, Step, raw_response, serving
from tests.machine import patience
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.transport import Transport

AT_ONCE = Timeouts(timeout_s=patience(20), connect_timeout_s=patience(20), probation_s=0)
"""Connections are used again without a probation: what is left is what a connection sees itself."""


def plain(body: bytes) -> bytes:
    """Return an answer with a length."""
    return raw_response(200, {"content-length": str(len(body))}, body)


def chunked(body: bytes) -> bytes:
    """Return an answer in chunks."""
    pieces = [body[start : start + 1_000] for start in range(0, len(body), 1_000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return raw_response(200, {"transfer-encoding": "chunked"}, chunks + b"0\r\n\r\n")


@asynccontextmanager
async def answering(step: Step, timeouts: Timeouts = AT_ONCE) -> AsyncIterator[tuple[ScriptedServer, Transport]]:
    """Serve every request by one step."""
    async with serving(otherwise=step) as server:
        transport = Transport(timeouts)
        try:
            yield server, transport
        finally:
            await transport.aclose()


async def echo(request: Request) -> None:
    """Answer with the body of the request."""
    request.writer.write(plain(request.body))


def connections(server: ScriptedServer) -> int:
    """Return how many connections brought the requests."""
    return len({id(request.writer) for request in server.requests})
