"""Watch a connection, so that each answer surely belongs to its request.

HTTP/1.1 does not name the request of an answer: an answer belongs to the next request on its connection. An unsolicited
second answer (a proxy that repeats itself, a server that answers late) would therefore pass for the answer to the next
request, and a row would get another row's audio. aiohttp uses an idle connection whatever has arrived on it (3.14.5).

* Bytes that arrive outside a request end the connection, even bytes that the system's buffer still holds when the next
  request is about to be written.
* If a connection served other requests before and then brings more than one answer, none of these answers is used: the
  first may be a late one.
* Connections serve one request each until a server is trusted (``connection_pool.py``).

One case remains: a server repeats itself later than that, and its second answer arrives alone, after the next request
was written. Nothing in HTTP/1.1 tells this answer from the right one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from aiohttp.client_exceptions import ClientOSError, ClientPayloadError, ServerDisconnectedError
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.helpers import TimerNoop
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser, RawResponseMessage
from aiohttp.streams import StreamReader

from tts_pipeline.config import MAX_HEAD_BYTES, MAX_HEADER_BYTES
from tts_pipeline.errors import ServiceError
from tts_pipeline.http.response_head import HeadTooLargeError, ResponseHead, too_large_error
from tts_pipeline.http.socket_state import SocketState
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.wire.content_decoder import ContentDecoder
from tts_pipeline.wire.response import Response

_IDLE_TIMEOUT = (b"HTTP/1.1 408", b"HTTP/1.0 408")
"""Some servers close an idle connection with status 408 (RFC 9110, 15.5.9): this is no sign of a repeated answer."""

_UNLIMITED_BYTES = 2**30
"""A body is kept whole, so nothing is gained by pausing its server: its size alone is limited."""


class UnsolicitedResponseError(aiohttp.ClientError):
    """More than one answer came, or an answer came too early, so its request is unknown."""


class ConnectionOwner(Protocol):
    """The pool, as its connections see it."""

    limits: Timeouts

    def put_back(self, connection: WatchedConnection, response_s: float) -> None:
        """Keep or close a connection whose answer is complete; ``response_s`` is the time since its request."""

    def forget(self, connection: WatchedConnection) -> None:
        """A connection was lost or closed."""

    def distrust(self) -> None:
        """The server sent unsolicited bytes."""


OnResponse = Callable[[Response, "asyncio.Future[None]"], bool]
"""Receives a whole answer as soon as it is there; returns True if it reads it, and ends the future when it has."""


@dataclass(slots=True, eq=False)
class RequestCycle:
    """One request on a connection, and its answer. ``ended`` is done when the answer is complete, or failed.

    ``head`` and ``body`` are None until the answer's head is read; interim answers (1xx) do not count. ``body_bytes``
    is the number of its bytes so far; ``overhead_bytes`` counts heads, trailers and chunk extensions since the last of
    them, or since the request. ``is_early``: the head came before the whole request had left. ``is_doubtful``: the
    answer may be another request's. ``on_response`` gets the answer when it is whole; ``reply`` is what it got.
    """

    ended: asyncio.Future[None]
    is_first: bool
    sent_s: float
    end_s: float
    head: ResponseHead | None = None
    body: StreamReader | None = None
    body_bytes: int = 0
    overhead_bytes: int = 0
    has_extra_data: bool = False
    is_early: bool = False
    is_doubtful: bool = False
    error: Exception | None = None
    on_response: OnResponse | None = None
    reply: Response | None = None

    def response(self) -> tuple[Response, ContentDecoder | None]:
        """Return the complete answer, and what inflates its body; None for a body that is not compressed."""
        head = self.head
        assert head is not None
        assert self.body is not None
        if self.reply is not None:
            return self.reply, head.decoder
        return Response(head.status, head.headers, self.body.read_nowait(), head.is_delimited), head.decoder

    def end(self, error: Exception | None = None) -> None:
        """Wake the sender, who raises the error; one that ``on_response`` reads wakes its sender afterwards."""
        self.error = error
        if self.ended.done():
            return
        if error is not None or self.on_response is None or not self._hand_over(self.on_response):
            self.ended.set_result(None)

    def _hand_over(self, on_response: OnResponse) -> bool:
        """Hand over an answer that surely belongs to its request, is whole, and is not compressed."""
        if self.is_doubtful or self.head is None or self.head.decoder is not None or not self.head.is_delimited:
            return False
        self.reply, _ = self.response()
        return on_response(self.reply, self.ended)


class _NoFlowControl(BaseProtocol):
    """The protocol of a body that is never paused."""

    def pause_reading(self) -> None:
        """Go on."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on."""


class WatchedConnection(ResponseHandler):
    """A connection that ends as soon as unsolicited bytes arrive.

    aiohttp's connector opens it, and reads a proxy's answer to CONNECT by the base class. An exchange only uses the
    parser: it writes a request at once and wakes its sender once, when the whole answer is there. aiohttp's own way
    (a session, a request, a writer, a response and a stream, with timers for each) takes five times the calls.
    """

    key: ConnectionKey
    """Set by the pool: where it leads."""

    def __init__(self, pool: ConnectionOwner, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.idle_since_s = 0.0
        self._pool = pool
        self._limits = pool.limits
        self._socket = SocketState(-1)
        self._is_tls = False
        self._is_new = True
        self._tunnel_bytes: int | None = None
        self._cycle: RequestCycle | None = None
        self._last_bytes_s = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._answers = HttpResponseParser(
            _NoFlowControl(loop),
            loop,
            _UNLIMITED_BYTES,
            timer=TimerNoop(),
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEAD_BYTES,  # their bytes are bounded, not their number
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the socket, and whether it speaks TLS."""
        super().connection_made(transport)
        self._socket = SocketState(transport.get_extra_info("socket").fileno())
        self._is_tls = transport.get_extra_info("sslcontext") is not None

    def set_response_params(self, **parameters: Any) -> None:
        """Let the base class read the answer of a proxy to the connector's CONNECT."""
        self._tunnel_bytes = 0
        super().set_response_params(**parameters)

    def is_silent(self) -> bool:
        """Return whether a request may be written; a new TLS session may hold unread bytes, its tickets."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return False
        return (self._is_new and self._is_tls) or not self._socket.has_event()

    def send(self, request: bytes, end_s: float) -> RequestCycle:
        """Write a whole request; its exchange has to end at ``end_s``, on the monotonic clock."""
        assert self.transport is not None
        self._last_bytes_s = sent_s = monotonic()
        self._cycle = cycle = RequestCycle(self._loop.create_future(), self._is_new, sent_s, end_s)
        self._is_new = False
        self.transport.write(request)
        if self._alarm is None:
            self._set_alarm(cycle)
        return cycle

    def abandon(self, cycle: RequestCycle) -> None:
        """Close the connection, unless the answer is complete: nobody waits for it any more."""
        if self._cycle is cycle:
            self._fail(cycle, ConnectionAbortedError())

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        cycle = self._cycle
        if cycle is None:
            self._receive_outside_cycle(data)
            return
        try:
            messages = self._answers.feed_data(data)[0]
        except Exception as error:
            self._refuse(cycle, error)
            return
        if messages:
            self._receive_heads(cycle, messages, cycle.overhead_bytes + len(data))
        if not cycle.ended.done():
            self._receive_body(cycle, len(data))

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the answer: a body without a length is complete, any other one is lost."""
        if self._alarm is not None:
            self._alarm.cancel()
        cycle, self._cycle = self._cycle, None
        if cycle is not None:
            cycle.end(self._loss(cycle, exc))
        self._pool.forget(self)
        super().connection_lost(exc)

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

    def _receive_outside_cycle(self, data: bytes) -> None:
        if self._tunnel_bytes is None:
            if self.transport is not None:
                self._terminate(is_evidence=not data.startswith(_IDLE_TIMEOUT))
            return
        super().data_received(data)
        self._tunnel_bytes += len(data)
        if self._payload is None and self._tunnel_bytes > MAX_HEAD_BYTES:
            self.close()
            self.set_exception(HeadTooLargeError())

    def _receive_heads(
        self, cycle: RequestCycle, messages: Sequence[tuple[RawResponseMessage, StreamReader]], received_bytes: int
    ) -> None:
        self._last_bytes_s = monotonic()  # a head's rest gets no more time than its beginning
        for message, body in messages:
            if 100 <= message.code < 200 and message.code != 101:
                continue
            if cycle.head is not None:
                cycle.has_extra_data = True
                continue
            try:
                cycle.head = ResponseHead(message, received_bytes, self._limits.max_body_bytes)
            except (aiohttp.ClientError, HttpProcessingError, ServiceError) as error:
                self._fail(cycle, error)
                return
            cycle.body = body
            cycle.is_early = self._is_writing
            cycle.is_doubtful = cycle.is_early and message.code < 300

    def _receive_body(self, cycle: RequestCycle, size: int) -> None:
        """Bound the bytes of the body and those outside it; aiohttp 3.14.5 does not bound the latter."""
        body, has_grown = cycle.body, False
        if body is not None:
            self._last_bytes_s = monotonic()
            body_bytes = body.total_bytes
            if body_bytes > self._limits.max_body_bytes:
                self._fail(cycle, too_large_error(self._limits.max_body_bytes))
                return
            if body.is_eof():
                self._complete(cycle)
                return
            has_grown = body_bytes > cycle.body_bytes
            cycle.body_bytes = body_bytes
        cycle.overhead_bytes = 0 if has_grown else cycle.overhead_bytes + size
        if cycle.overhead_bytes > MAX_HEAD_BYTES:
            self._fail(cycle, HeadTooLargeError())

    def _complete(self, cycle: RequestCycle) -> None:
        """End a cycle whose answer is complete, and the connection unless it may serve another request."""
        self._cycle = None
        if self._has_more(cycle):
            cycle.is_doubtful = cycle.is_doubtful or not cycle.is_first
            self._terminate(is_evidence=True)
        elif cycle.is_early or (cycle.head is not None and cycle.head.should_close):
            self.close()
        else:
            self._pool.put_back(self, self._last_bytes_s - cycle.sent_s)
        cycle.end()

    def _has_more(self, cycle: RequestCycle) -> bool:
        """Return whether more than one answer came: the parser is then within the second answer."""
        if cycle.has_extra_data or (not self._is_tls and self._socket.has_bytes()):
            return True
        try:
            return self._answers.feed_eof() is not None
        except HttpProcessingError:
            return True

    def _refuse(self, cycle: RequestCycle, error: Exception) -> None:
        """Fail an answer that is not HTTP; what is not HTTP behind an answer is no part of it."""
        if cycle.body is not None and cycle.body.is_eof():
            cycle.has_extra_data = True
            self._complete(cycle)
        else:
            self._fail(cycle, error if isinstance(error, HttpProcessingError) else HttpProcessingError())

    def _fail(self, cycle: RequestCycle, error: Exception) -> None:
        self._cycle = None
        self.close()
        cycle.end(error)

    def _terminate(self, *, is_evidence: bool) -> None:
        self.close()
        if is_evidence:
            self._pool.distrust()

    def _loss(self, cycle: RequestCycle, exc: BaseException | None) -> Exception | None:
        """Return the error of an answer whose connection ended; None if it is complete."""
        try:
            self._answers.feed_eof()
        except Exception as error:
            if cycle.body is not None:
                loss = ClientPayloadError("the connection ended before the body")
                loss.__cause__ = error
                return loss
        if cycle.body is not None and cycle.body.is_eof():
            return None
        return ClientOSError(*exc.args) if isinstance(exc, OSError) else ServerDisconnectedError()

    def _set_alarm(self, cycle: RequestCycle) -> None:
        delay_s = min(cycle.end_s, self._last_bytes_s + self._limits.timeout_s) - monotonic()
        self._alarm = self._loop.call_later(delay_s, self._on_alarm)

    def _on_alarm(self) -> None:
        """End an exchange that was silent for too long, or took too long in all; else wait for the rest of the time.

        One timer serves a connection, whatever arrives on it: a timer for each piece takes a tenth of an exchange.
        """
        self._alarm = None
        cycle, now_s = self._cycle, monotonic()
        if cycle is None:
            return
        if self._is_writing:
            self._last_bytes_s = now_s  # the silence begins with the end of the request
        if now_s >= cycle.end_s or now_s >= self._last_bytes_s + self._limits.timeout_s:
            self._fail(cycle, TimeoutError())
        else:
            self._set_alarm(cycle)
