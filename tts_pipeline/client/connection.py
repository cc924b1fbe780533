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
import logging
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

logger = logging.getLogger("tts_pipeline")

_KEEPALIVE_S = 30.0
"""How long an idle connection is kept: shorter than the 60 s after which gateways commonly close it themselves, for
a request on a connection that is just being closed may have been billed for nothing."""

_WATCHED = 8
"""Connections that are kept idle to be watched, until it is known whether a server's connections are silent."""

_IDLE_TIMEOUT = (b"HTTP/1.1 408", b"HTTP/1.0 408")
"""Some servers close an idle connection with a status of its own (RFC 9110, 15.5.9): no sign of a repeated answer."""

_NO_BYTES = bytes(4)


class UnaskedAnswerError(aiohttp.ClientError):
    """More than one answer came, or one too early: whose they are is not known."""


class HeadTooLargeError(aiohttp.ClientError):
    """An answer has more than ``MAX_HEAD_BYTES`` of head, trailer or chunk extensions."""


@dataclass(slots=True)
class Turn:
    """One request on a connection, and its answer.

    Args:
        is_first: Whether the connection carried no request before.
        began_s: When, on the loop's clock.
        is_asked: Whether the request was written.
        answer: The answer's body; None until its head was read. Interim answers (1xx) do not count.
        body_bytes: What has come of it.
        other_bytes: What arrived since then, or since the request: heads, trailers, chunk extensions.
        is_followed: Whether more came than the answer.
        is_doubtful: Whether another request's answer may have been taken for this one's.
    """

    is_first: bool
    began_s: float
    is_asked: bool = False
    answer: StreamReader | None = None
    body_bytes: int = 0
    other_bytes: int = 0
    is_followed: bool = False
    is_doubtful: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the whole answer has come."""
        return self.answer is not None and self.answer.is_eof()


class WatchedConnection(ResponseHandler):
    """A connection that ends when something arrives that nobody asked for.

    Args:
        pool: Told of it.
        loop: The running one.
    """

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._pool = pool
        self._fileno = -1
        self._arrivals = select.poll()
        self._is_tls = False
        self.turn: Turn | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._fileno = transport.get_extra_info("socket").fileno()
        self._arrivals.register(self._fileno, select.POLLIN)
        self._is_tls = transport.get_extra_info("sslcontext") is not None

    def set_response_params(self, **parameters: Any) -> None:
        """Take the next request: the pool has given this connection to it."""
        is_tunnel = "timer" not in parameters  # the connector's own CONNECT to a proxy, which it has written already
        self.turn = Turn(is_first=self.turn is None, began_s=self._loop.time(), is_asked=is_tunnel)
        super().set_response_params(**parameters)

    def is_connected(self) -> bool:
        """Say whether a request may be written; the pool asks this of an idle connection."""
        return super().is_connected() and not self._has_unread()

    def is_silent(self) -> bool:
        """Say whether it is still good when a request is about to be written; a TLS session begins with tickets."""
        is_new = self.turn is not None and self.turn.is_first
        return super().is_connected() and ((is_new and self._is_tls) or not self._has_unread())

    def data_received(self, data: bytes) -> None:
        """Take what arrived; nothing where the parser is to go on with what it has.

        That comes whenever an answer is read, also when its connection was given to another request meanwhile.
        """
        turn = self.turn
        if not data and (turn is None or not turn.is_asked):
            return
        if turn is None or not turn.is_asked or (data and turn.is_over):
            self._end(is_evidence=not data.startswith(_IDLE_TIMEOUT))
            return
        super().data_received(data)
        if turn.is_over:
            self._look_behind(turn)
        else:
            self._bound(turn, len(data))

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take the head of an answer."""
        message, payload = data
        turn = self.turn
        if turn is not None and not _is_interim(message):
            if turn.answer is not None:
                turn.is_followed = True
                return
            turn.answer = payload
            turn.is_doubtful = message.code < 300 and self._is_writing
        super()._reschedule_timeout()
        super().feed_data(data, size)

    def _reschedule_timeout(self) -> None:
        """Wait for more from now on; for the rest of a head no longer than for its beginning."""
        if self._read_timeout_handle is None or self.turn is None or self.turn.answer is not None:
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
        return bool(self._arrivals.poll(0))

    def _has_unread_bytes(self) -> bool:
        """The same of bytes alone: a server may end a connection with its answer."""
        return fcntl.ioctl(self._fileno, termios.FIONREAD, _NO_BYTES) != _NO_BYTES

    def _look_behind(self, turn: Turn) -> None:
        """End the connection where an answer is not all that came: the parser is then within another one."""
        if self.transport is None or self.upgraded:
            return
        is_followed = turn.is_followed or self.exception() is not None or self._has_begun_another()
        if is_followed or (not self._is_tls and self._has_unread_bytes()):
            turn.is_doubtful = turn.is_doubtful or not turn.is_first
            self._end(is_evidence=True)

    def _has_begun_another(self) -> bool:
        try:
            return self._parser is not None and self._parser.feed_eof() is not None
        except HttpProcessingError:
            return True

    def _bound(self, turn: Turn, size: int) -> None:
        """Bound what is no body, and wake who waits for a body that will not come: aiohttp does not (3.14.5)."""
        body_bytes = 0 if turn.answer is None else turn.answer.total_bytes
        is_more = body_bytes > turn.body_bytes or self._reading_paused
        turn.other_bytes = 0 if is_more else turn.other_bytes + size
        turn.body_bytes = body_bytes
        if turn.other_bytes > MAX_HEAD_BYTES:
            self._end(is_evidence=False)  # before the exception, which it forgets
            self.set_exception(HeadTooLargeError())
        error = self.exception()
        if error is not None and turn.answer is not None:
            turn.answer.set_exception(error)

    def _end(self, *, is_evidence: bool) -> None:
        self.force_close()
        self.close()
        if is_evidence:
            self._pool.distrust()


def _is_interim(message: RawResponseMessage) -> bool:
    return 100 <= message.code < 200 and message.code != 101


class Pool(aiohttp.TCPConnector):
    """As many connections as there are requests at one time: the governor is what bounds those.

    Args:
        probation_s: How long connections must have been silent before any is used again.
        tls: What https is spoken with.
        resolver: What turns host names into addresses; None is the system's.
    """

    def __init__(self, probation_s: float, tls: ssl.SSLContext, resolver: AbstractResolver | None) -> None:
        super().__init__(limit=0, ssl=tls, keepalive_timeout=_KEEPALIVE_S, resolver=resolver)
        self._factory = partial(self._made)
        self._probation_s = probation_s
        self._is_trusted = False
        self._silence: asyncio.TimerHandle | None = None

    def distrust(self) -> None:
        """Take note that something came that nobody asked for: every request has its own connection from now on."""
        if self._probation_s != math.inf:
            logger.warning(
                "the service sends more than it is asked for: each request is sent on a connection of its own"
            )
        self._probation_s, self._is_trusted = math.inf, False
        if self._silence is not None:
            self._silence.cancel()

    def _made(self) -> ResponseHandler:
        return WatchedConnection(self, self._loop)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        return await super()._get(key, traces) if self._is_trusted else None

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        if self._silence is None and self._probation_s < math.inf:
            self._watch(self._silence_s(protocol))
        watched = _WATCHED if self._probation_s < math.inf else 0
        is_enough = not self._is_trusted and sum(map(len, self._conns.values())) >= watched
        super()._release(key, protocol, should_close=should_close or is_enough)

    def _watch(self, silence_s: float) -> None:
        """Trust the server after a silence. By a timer: a loop that stands still sees what came before it rings."""
        self._silence = self._loop.call_later(silence_s, self._trust)
        if not silence_s:
            self._trust()

    def _trust(self) -> None:
        self._is_trusted = self._probation_s < math.inf

    def _silence_s(self, protocol: ResponseHandler) -> float:
        """Return how long to watch: a proxy that asks again is late by about as long as an answer takes."""
        turn = protocol.turn if isinstance(protocol, WatchedConnection) else None
        answer_s = self._loop.time() - turn.began_s if turn is not None and self._probation_s else 0.0
        return max(self._probation_s, 2 * answer_s)


class Body(BytesPayload):
    """The body of one request, which knows whether any of the request was written.

    Attributes:
        is_sent: False while surely nothing was: the head waits for the body.
    """

    is_sent = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write it, unless the connection is not silent any more.

        Raises:
            UnaskedAnswerError: It is not; nothing was written.
        """
        connection = writer.protocol if isinstance(writer, StreamWriter) else None
        if isinstance(connection, WatchedConnection) and connection.turn is not None:
            if not connection.is_silent():
                raise UnaskedAnswerError
            connection.turn.is_asked = True
        self.is_sent = True
        await super().write_with_length(writer, content_length)


class Answer(aiohttp.ClientResponse):
    """An answer that remembers its turn on the connection."""

    turn: Turn | None = None

    @property
    def is_doubtful(self) -> bool:
        """Whether it may be another request's answer; known when its body was read."""
        return self.turn is not None and self.turn.is_doubtful

    async def start(self, connection: Connection) -> Self:
        """Wait for the head."""
        protocol = connection.protocol
        self.turn = protocol.turn if isinstance(protocol, WatchedConnection) else None
        if self.turn is not None and self._writer is None:
            self.turn.is_asked = True  # there was no body to wait for
        await super().start(connection)
        return self
