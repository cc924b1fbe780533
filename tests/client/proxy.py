"""A real proxy: it opens tunnels, forwards plain requests, may require a login, and resolves names itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """What a proxy knows and has seen.

    Args:
        ports: The name of a host -> the port of this machine where it really is.
        login: ``user:password``; None takes anybody.
        status: What it answers in place of a tunnel; None opens it.
        refused_hosts: Hosts that it does not lead to.

    Attributes:
        url: Where it listens.
        request_lines: The first lines of the requests, in the order of arrival.
        heads: Those requests' heads, whole.
    """

    ports: Mapping[str, int]
    login: str | None = None
    status: int | None = None
    refused_hosts: Collection[str] = ()
    url: str = ""
    request_lines: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            line = head.split(b"\r\n", 1)[0].decode()
            self.request_lines.append(line)
            self.heads.append(head)
            method, target, _ = line.split(" ")
            host = target.removeprefix("http://").partition("/")[0].rpartition(":")[0]
            if status := self._refusal(host, head):
                writer.write(f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            else:
                await self._forward(host, head if method != "CONNECT" else b"", reader, writer)
            await writer.drain()

    def _refusal(self, host: str, head: bytes) -> int | None:
        if self.login and base64.b64encode(self.login.encode()) not in head:
            return 407
        return 403 if host in self.refused_hosts else self.status

    async def _forward(
        self, host: str, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.ports[host])
        if head:
            upstream_writer.write(head)
        else:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_copy(reader, upstream_writer), _copy(upstream_reader, writer))
        finally:
            upstream_writer.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


@asynccontextmanager
async def proxying(proxy: Proxy) -> AsyncIterator[Proxy]:
    """Run a proxy on a free port of this machine."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await proxy.serve(reader, writer)
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    login = f"{proxy.login}@" if proxy.login else ""
    proxy.url = f"http://{login}127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks)
        await server.wait_closed()
