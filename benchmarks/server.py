"""Serve the load service by a hand-written HTTP server, so that it takes little CPU beside the clients.

It supports only the HTTP that the contestants send: requests with a length, one at a time on a connection.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable

from benchmarks.answers import AnswerSpec, answer, audio, http_answer

_BACKLOG = 4_096
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Gauge:
    """Measures the number of requests in flight over time.

    Args:
        clock: A clock in seconds; by default one that all processes of a machine share.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Reset all counts; requests in flight stay in flight."""
        self._requests = 0
        self._first_s: float | None = None
        self._last_s: float | None = None
        self._changed_s = self._clock()
        self._busy_s = 0.0
        self._busy_until_last_s = 0.0
        self._most = self._in_flight
        self._cpu_s = time.process_time()

    def arrive(self) -> None:
        """Count a request that has arrived completely."""
        now_s = self._change(+1)
        self._requests += 1
        self._most = max(self._most, self._in_flight)
        self._first_s = now_s if self._first_s is None else self._first_s
        self._last_s, self._busy_until_last_s = now_s, self._busy_s

    def leave(self) -> None:
        """Count a request that is answered."""
        self._change(-1)

    def _change(self, by: int) -> float:
        now_s = self._clock()
        self._busy_s += self._in_flight * (now_s - self._changed_s)
        self._changed_s = now_s
        self._in_flight += by
        return now_s

    def summary(self) -> dict[str, float | int | None]:
        """Return the counts; ``busy_s`` are request-seconds from the first arrival to the last."""
        return {
            "requests": self._requests,
            "max_in_flight": self._most,
            "first_s": self._first_s,
            "last_s": self._last_s,
            "busy_s": self._busy_until_last_s,
            "cpu_s": time.process_time() - self._cpu_s,
        }


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport and the server's address."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        host, port = transport.get_extra_info("sockname")[:2]
        self._origin = f"http://{host}:{port}"

    def data_received(self, data: bytes) -> None:
        """Collect bytes, and answer a complete request."""
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        head, whole = self._buffer[:end], end + len(_HEAD_END) + _body_length(self._buffer[:end])
        if len(self._buffer) >= whole:
            body, self._buffer = self._buffer[end + len(_HEAD_END) : whole], self._buffer[whole:]
            method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            self._answer(method, path, body)

    def _answer(self, method: str, path: str, body: bytes) -> None:
        if path == "/stats":
            if method == "DELETE":
                self._gauge.reset()
            self._transport.write(http_answer(json.dumps(self._gauge.summary()).encode()))
        elif path.startswith("/audio/"):
            self._transport.write(http_answer(audio(int(path.removeprefix("/audio/"))), "audio/wav"))
        elif (spec := AnswerSpec.from_path(path)) is None:
            self._transport.write(http_answer(b"{}", status="404 Not Found"))
        else:
            self._gauge.arrive()
            prepared = answer(spec.shape, spec.audio_bytes, self._origin)
            self._loop.call_later(spec.delay_s(body), self._send, prepared)

    def _send(self, prepared: bytes) -> None:
        self._gauge.leave()
        if not self._transport.is_closing():
            self._transport.write(prepared)


def _body_length(head: bytes) -> int:
    place = head.lower().find(_LENGTH)
    return int(head[place + len(_LENGTH) :].split(b"\r\n", 1)[0]) if place >= 0 else 0


async def serve() -> None:
    """Serve until standard input ends; the first line of standard output is the origin."""
    gauge = Gauge()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(gauge), "127.0.0.1", 0, backlog=_BACKLOG)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)
    async with server:
        await loop.run_in_executor(None, os.read, sys.stdin.fileno(), 1)


if __name__ == "__main__":
    asyncio.run(serve())
