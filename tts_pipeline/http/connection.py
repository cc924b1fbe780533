"""Keep a pool of connections on which each answer surely belongs to its request.

HTTP/1.1 does not name the request of an answer: an answer belongs to the next request on its connection. An unsolicited
second answer (a proxy that repeats itself, a server that answers late) would therefore pass for the answer to the next
request, and a row would get another row's audio. aiohttp uses an idle connection whatever has arrived on it (3.14.5).

* Bytes that arrive outside a request end the connection, even bytes that the system's buffer still holds when the next
  request is about to be written.
* If a connection served other requests before and then brings more than one answer, none of these answers is used: the
  first may be a late one.
* Each connection to a server serves one request until connections have stayed silent for a while after their answers.
  After the first unsolicited bytes, each connection serves one request for good.

One case remains: a server repeats itself later than that, and its second answer arrives alone, after the next request
was written. Nothing in HTTP/1.1 tells this answer from the right one.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
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
from tts_pipeline.http.socket_state import SocketState
from tts_pipeline.log import logger

_KEEPALIVE_S = 30.0
"""The longest life of an idle connection. Gateways commonly close an idle connection after 60 s, and a request on a
connection that is being closed may be billed for nothing."""

_MAX_IDLE_ON_PROBATION = 8
"""The most idle connections that are kept and watched before the server is trusted."""

_IDLE_TIMEOUT = (b"HTTP/1.1 408", b"HTTP/1.0 408")
"""Some servers close an idle connection with status 408 (RFC 9110, 15.5.9): this is no sign of a repeated answer."""


class UnsolicitedResponseError(aiohttp.ClientError):
    """More than one answer came, or an answer came too early, so its request is unknown."""


class HeadTooLargeError(aiohttp.ClientError):
    """An answer's head, trailer or chunk extensions are larger than ``MAX_HEAD_BYTES``."""


@dataclass(slots=True)
class RequestCycle:
    """One request on a connection, and its answer.

    ``body`` is None until the answer's head is read; interim answers (1xx) do not count. ``body_bytes`` is the number
    of its bytes so far; ``overhead_bytes`` counts heads, trailers and chunk extensions since the last of them, or since
    the request. ``has_extra_data``: more than the answer came. ``is_doubtful``: the answer may be another request's.
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
        """Whether the whole answer has arrived."""
        return self.body is not None and self.body.is_eof()


class WatchedConnection(ResponseHandler):
    """A connection that ends as soon as unsolicited bytes arrive."""

    def __init__(self, pool: ConnectionPool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._pool = pool
        self._socket = SocketState(-1)
        self._is_tls = False
        self.cycle: RequestCycle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the socket, and whether it speaks TLS."""
        super().connection_made(transport)
        self._socket = SocketState(transport.get_extra_info("socket").fileno())
        self._is_tls = transport.get_extra_info("sslcontext") is not None

    def set_response_params(self, **parameters: Any) -> None:
        """Begin the cycle of the next request: the pool has given this connection to it."""
        is_tunnel = "timer" not in parameters  # the connector's own CONNECT to a proxy, which is written already
        self.cycle = RequestCycle(is_first=self.cycle is None, start_s=self._loop.time(), is_request_written=is_tunnel)
        super().set_response_params(**parameters)

    def is_connected(self) -> bool:
        """Return whether a request may be written; the pool calls this for idle connections."""
        return super().is_connected() and not self._has_unread()

    def is_silent(self) -> bool:
        """Return whether a request may still be written; a new TLS session may hold unread bytes, its tickets."""
        is_new = self.cycle is not None and self.cycle.is_first
        return super().is_connected() and ((is_new and self._is_tls) or not self._has_unread())

    def data_received(self, data: bytes) -> None:
        """Take received bytes: none whenever an answer is read, even after another request got this connection."""
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
        """Take the head of an answer from the parser."""
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
        """Restart the read timeout, but not within a head: its rest gets no more time than its beginning."""
        if self._read_timeout_handle is None or self.cycle is None or self.cycle.body is not None:
            super()._reschedule_timeout()

    def close(self) -> None:
        """Close the connection; do not wait until the peer has read the rest of the request."""
        if self._is_writing:
            self.abort()
        else:
            super().close()

    @property
    def _is_writing(self) -> bool:
        """Whether a part of the request has not left yet: no answer can belong to it."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def _has_unread(self) -> bool:
        """Return whether bytes, or the end of the stream, wait unread in the system's buffer; takes 1 us."""
        return self._socket.has_event()

    def _has_unread_bytes(self) -> bool:
        """Return whether bytes wait unread; the end of the stream does not count, it may follow an answer."""
        return self._socket.has_bytes()

    def _check_behind_response(self, cycle: RequestCycle) -> None:
        """End the connection if more than one answer came: the parser is then within the second answer."""
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
        """Bound the bytes outside the body, and wake readers of a body that will not come; aiohttp 3.14.5 does not."""
        body_bytes = 0 if cycle.body is None else cycle.body.total_bytes
        has_grown = body_bytes > cycle.body_bytes or self._reading_paused
        cycle.overhead_bytes = 0 if has_grown else cycle.overhead_bytes + size
        cycle.body_bytes = body_bytes
        if cycle.overhead_bytes > MAX_HEAD_BYTES:
            self._terminate(is_evidence=False)  # first: it clears the exception
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
    """A pool with one connection for each request in flight; the limiter bounds the requests.

    No connection is used again before it was silent for ``probation_s``. ``make_tls`` is called when a connection needs
    TLS: loading the certificates takes 15 ms. ``resolver`` None is the system's resolver.
    """

    def __init__(
        self, probation_s: float, make_tls: Callable[[], ssl.SSLContext], resolver: AbstractResolver | None
    ) -> None:
        super().__init__(limit=0, keepalive_timeout=_KEEPALIVE_S, resolver=resolver)
        self._make_tls = make_tls
        self._factory = partial(self._make_protocol)
        self._probation_s = probation_s
        self._is_trusted = False
        self._silence_timer: asyncio.TimerHandle | None = None

    def distrust(self) -> None:
        """Use a new connection for each request from now on: the server sent unsolicited bytes."""
        if self._probation_s != math.inf:
            logger.warning(
                "the service sends answers that nobody requested: from now on each request uses a new connection"
            )
        self._probation_s, self._is_trusted = math.inf, False
        if self._silence_timer is not None:
            self._silence_timer.cancel()

    def _get_ssl_context(self, request: aiohttp.ClientRequest) -> ssl.SSLContext | None:
        return self._make_tls() if request.is_ssl() else None

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
        """Trust the server after a silence. Use a timer: a stalled loop first reads the bytes that came meanwhile."""
        self._silence_timer = self._loop.call_later(silence_s, self._trust)
        if not silence_s:
            self._trust()

    def _trust(self) -> None:
        self._is_trusted = self._probation_s < math.inf

    def _silence_s(self, protocol: ResponseHandler) -> float:
        """Return how long to watch: a proxy that repeats a request is late by about the time of one answer."""
        cycle = protocol.cycle if isinstance(protocol, WatchedConnection) else None
        response_s = self._loop.time() - cycle.start_s if cycle is not None and self._probation_s else 0.0
        return max(self._probation_s, 2 * response_s)


class RequestBody(BytesPayload):
    """The body of one request; while ``is_sent`` is False, surely nothing was sent: the head waits for the body."""

    is_sent = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, or raise ``UnsolicitedResponseError`` and write nothing if the connection is not silent."""
        connection = writer.protocol if isinstance(writer, StreamWriter) else None
        if isinstance(connection, WatchedConnection) and connection.cycle is not None:
            if not connection.is_silent():
                raise UnsolicitedResponseError
            connection.cycle.is_request_written = True
        self.is_sent = True
        await super().write_with_length(writer, content_length)


class WatchedResponse(aiohttp.ClientResponse):
    """An answer that knows its request cycle on the connection."""

    cycle: RequestCycle | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether this may be another request's answer; valid once the body is read."""
        return self.cycle is not None and self.cycle.is_doubtful

    async def start(self, connection: Connection) -> Self:
        """Wait for the head."""
        protocol = connection.protocol
        self.cycle = protocol.cycle if isinstance(protocol, WatchedConnection) else None
        if self.cycle is not None and self._writer is None:
            self.cycle.is_request_written = True  # the request had no body
        await super().start(connection)
        return self
