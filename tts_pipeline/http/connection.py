"""Connections on which every byte belongs to the request that is being answered; and the pool that keeps them.

HTTP/1.1 does not say which request an answer is for: it is the next one on its connection. So a second answer that
nobody asked for (a proxy that repeats itself, a server that answers late) would be taken for the answer to the next
request, and a row would get another row's audio. aiohttp takes an idle connection whatever has arrived on it (3.14.5).

* What arrives while nothing is asked for ends the connection, also what is still unread in the system's buffer when a
  request is about to be written.
* A connection that carried other requests before, and brings more than one answer, is not believed at all: the first
  of them may be late.
* A server's connections serve one request each until some of them were silent for a while after their answer; and for
  good, once one of them was not.

What remains: a server that repeats itself only later than that, so that its second answer arrives after the next
request was written and alone. Nothing in HTTP/1.1 tells it from the answer.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import select
import ssl
import termios
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.payload import BytesPayload
from aiohttp.streams import StreamReader
from aiohttp.tracing import Trace

from tts_pipeline.config import MAX_HEAD_BYTES
from tts_pipeline.log import logger

_KEEPALIVE_S = 30.0
"""How long an idle connection is kept: shorter than the 60 s after which gateways commonly close it themselves, for
a request on a connection that is just being closed may have been billed for nothing."""

_MAX_IDLE_ON_PROBATION = 8
"""Connections that are kept idle to be watched, until it is known whether a server's connections are silent."""

_IDLE_TIMEOUT = (b"HTTP/1.1 408", b"HTTP/1.0 408")
"""Some servers close an idle connection with a status of its own (RFC 9110, 15.5.9): no sign of a repeated answer."""

_NO_BYTES = bytes(4)


class UnsolicitedResponseError(aiohttp.ClientError):
    """More than one answer came, or one too early: whose they are is not known."""


class HeadTooLargeError(aiohttp.ClientError):
    """An answer has more than ``MAX_HEAD_BYTES`` of head, trailer or chunk extensions."""


@dataclass(slots=True)
class RequestCycle:
    """One request on a connection, and its answer.

    ``body`` is the answer's, None until its head was read; interim answers (1xx) do not count. ``body_bytes`` of it
    have come; ``overhead_bytes`` are heads, trailers and chunk extensions since then, or since the request.
    ``has_extra_data``: more came than the answer. ``is_doubtful``: another request's answer may have been taken for
    this one's.
    """

    is_first: bool
    start_s: float
    is_request_written: bool = False
    body: StreamReader | None = None
    body_bytes: int = 0
    overhead_bytes: int = 0
    has_extra_data: bool = False
    is_doubtful: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether the whole answer has come."""
        return self.body is not None and self.body.is_eof()


class WatchedConnection(ResponseHandler):
    """A connection that ends when something arrives that nobody asked for."""

    def __init__(self, pool: ConnectionPool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._pool = pool
        self._fileno = -1
        self._poll = select.poll()
        self._is_tls = False
        self.cycle: RequestCycle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._fileno = transport.get_extra_info("socket").fileno()
        self._poll.register(self._fileno, select.POLLIN)
        self._is_tls = transport.get_extra_info("sslcontext") is not None

    def set_response_params(self, **parameters: Any) -> None:
        """Take the next request: the pool has given this connection to it."""
        is_tunnel = "timer" not in parameters  # the connector's own CONNECT to a proxy, which it has written already
        self.cycle = RequestCycle(is_first=self.cycle is None, start_s=self._loop.time(), is_request_written=is_tunnel)
        super().set_response_params(**parameters)

    def is_connected(self) -> bool:
        """Say whether a request may be written; the pool asks this of an idle connection."""
        return super().is_connected() and not self._has_unread()

    def is_silent(self) -> bool:
        """Say whether it is still good when a request is about to be written; a TLS session begins with tickets."""
        is_new = self.cycle is not None and self.cycle.is_first
        return super().is_connected() and ((is_new and self._is_tls) or not self._has_unread())

    def data_received(self, data: bytes) -> None:
        """Take what arrived; empty whenever an answer is read, also after another request got its connection."""
        cycle = self.cycle
        if not data and (cycle is None or not cycle.is_request_written):
            return
        if cycle is None or not cycle.is_request_written or (data and cycle.is_complete):
            self._terminate(is_evidence=not data.startswith(_IDLE_TIMEOUT))
            return
        super().data_received(data)
        if cycle.is_complete:
            self._check_behind_response(cycle)
        else:
            self._limit_overhead(cycle, len(data))

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the head of an answer."""
        message, payload = data
        cycle = self.cycle
        if cycle is not None and not _is_interim(message):
            if cycle.body is not None:
                cycle.has_extra_data = True
                return
            cycle.body = payload
            cycle.is_doubtful = message.code < 300 and self._is_writing
        super()._reschedule_timeout()
        super().feed_data(data, size)

    def _reschedule_timeout(self) -> None:
        """Wait for more from now on; for the rest of a head no longer than for its beginning."""
        if self._read_timeout_handle is None or self.cycle is None or self.cycle.body is not None:
            super()._reschedule_timeout()

    def close(self) -> None:
        """Close, without waiting for a peer to read what it has not read so far."""
        if self._is_writing:
            self.abort()
        else:
            super().close()

    @property
    def _is_writing(self) -> bool:
        """Whether a part of the request has not left yet, so that no answer can be the answer to it."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def _has_unread(self) -> bool:
        """Whether bytes or the server's end have arrived that the event loop has not come to; it takes 1 us to know."""
        return bool(self._poll.poll(0))

    def _has_unread_bytes(self) -> bool:
        """The same of bytes alone: a server may end a connection with its answer."""
        return fcntl.ioctl(self._fileno, termios.FIONREAD, _NO_BYTES) != _NO_BYTES

    def _check_behind_response(self, cycle: RequestCycle) -> None:
        """End the connection where an answer is not all that came: the parser is then within another one."""
        if self.transport is None or self.upgraded:
            return
        has_extra_data = cycle.has_extra_data or self.exception() is not None or self._has_second_response()
        if has_extra_data or (not self._is_tls and self._has_unread_bytes()):
            cycle.is_doubtful = cycle.is_doubtful or not cycle.is_first
            self._terminate(is_evidence=True)

    def _has_second_response(self) -> bool:
        try:
            return self._parser is not None and self._parser.feed_eof() is not None
        except HttpProcessingError:
            return True

    def _limit_overhead(self, cycle: RequestCycle, size: int) -> None:
        """Bound what is no body, and wake who waits for a body that will not come: aiohttp does not (3.14.5)."""
        body_bytes = 0 if cycle.body is None else cycle.body.total_bytes
        has_grown = body_bytes > cycle.body_bytes or self._reading_paused
        cycle.overhead_bytes = 0 if has_grown else cycle.overhead_bytes + size
        cycle.body_bytes = body_bytes
        if cycle.overhead_bytes > MAX_HEAD_BYTES:
            self._terminate(is_evidence=False)  # before the exception, which it forgets
            self.set_exception(HeadTooLargeError())
        error = self.exception()
        if error is not None and cycle.body is not None:
            cycle.body.set_exception(error)

    def _terminate(self, *, is_evidence: bool) -> None:
        self.force_close()
        self.close()
        if is_evidence:
            self._pool.distrust()


def _is_interim(message: RawResponseMessage) -> bool:
    return 100 <= message.code < 200 and message.code != 101


class ConnectionPool(aiohttp.TCPConnector):
    """As many connections as there are requests at one time: the limiter is what bounds those.

    No connection is used again before it was silent for ``probation_s``. A resolver of None is the system's.
    """

    def __init__(self, probation_s: float, tls: ssl.SSLContext, resolver: AbstractResolver | None) -> None:
        super().__init__(limit=0, ssl=tls, keepalive_timeout=_KEEPALIVE_S, resolver=resolver)
        self._factory = partial(self._make_protocol)
        self._probation_s = probation_s
        self._is_trusted = False
        self._silence_timer: asyncio.TimerHandle | None = None

    def distrust(self) -> None:
        """Take note that something came that nobody asked for: every request has its own connection from now on."""
        if self._probation_s != math.inf:
            logger.warning(
                "the service sends more than it is asked for: each request is sent on a connection of its own"
            )
        self._probation_s, self._is_trusted = math.inf, False
        if self._silence_timer is not None:
            self._silence_timer.cancel()

    def _make_protocol(self) -> ResponseHandler:
        return WatchedConnection(self, self._loop)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        return await super()._get(key, traces) if self._is_trusted else None

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if self._silence_timer is None and self._probation_s < math.inf:
            self._watch(self._silence_s(protocol))
        max_idle = _MAX_IDLE_ON_PROBATION if self._probation_s < math.inf else 0
        is_full = not self._is_trusted and sum(map(len, self._conns.values())) >= max_idle
        super()._release(key, protocol, should_close=should_close or is_full)

    def _watch(self, silence_s: float) -> None:
        """Trust the server after a silence. By a timer: a loop that stood still first reads what came meanwhile."""
        self._silence_timer = self._loop.call_later(silence_s, self._trust)
        if not silence_s:
            self._trust()

    def _trust(self) -> None:
        self._is_trusted = self._probation_s < math.inf

    def _silence_s(self, protocol: ResponseHandler) -> float:
        """Return how long to watch: a proxy that asks again is late by about as long as an answer takes."""
        cycle = protocol.cycle if isinstance(protocol, WatchedConnection) else None
        response_s = self._loop.time() - cycle.start_s if cycle is not None and self._probation_s else 0.0
        return max(self._probation_s, 2 * response_s)


class RequestBody(BytesPayload):
    """The body of one request; ``is_sent`` is False while surely nothing was: the head waits for the body."""

    is_sent = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write it, unless the connection is not silent any more.

        An ``UnsolicitedResponseError`` says that it is not, and that nothing was written.
        """
        connection = writer.protocol if isinstance(writer, StreamWriter) else None
        if isinstance(connection, WatchedConnection) and connection.cycle is not None:
            if not connection.is_silent():
                raise UnsolicitedResponseError
            connection.cycle.is_request_written = True
        self.is_sent = True
        await super().write_with_length(writer, content_length)


class WatchedResponse(aiohttp.ClientResponse):
    """An answer that remembers its turn on the connection."""

    cycle: RequestCycle | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether it may be another request's answer; known when its body was read."""
        return self.cycle is not None and self.cycle.is_doubtful

    async def start(self, connection: Connection) -> Self:
        """Wait for the head."""
        protocol = connection.protocol
        self.cycle = protocol.cycle if isinstance(protocol, WatchedConnection) else None
        if self.cycle is not None and self._writer is None:
            self.cycle.is_request_written = True  # there was no body to wait for
        await super().start(connection)
        return self
