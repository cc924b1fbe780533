"""Open connections, and keep those that may serve another request.

Each connection to a server serves one request until connections have stayed silent for a while after their answers.
After the first unsolicited bytes (``connection.py``), each connection serves one request for good.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable
from functools import partial
from time import monotonic

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey

from tts_pipeline.http.connection import UnsolicitedResponseError, WatchedConnection
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.log import logger

_KEEPALIVE_S = 30.0
"""The longest life of an idle connection. Gateways commonly close an idle connection after 60 s, and a request on a
connection that is being closed may be billed for nothing."""

_MAX_IDLE_ON_PROBATION = 8
"""The most idle connections that are kept and watched before the server is trusted."""


class ConnectionPool(aiohttp.TCPConnector):
    """A pool with one connection for each request in flight; the limiter bounds the requests.

    aiohttp's connector opens connections: names, addresses, TLS and proxies. Its own pool is not used. No connection is
    used again before it was silent for ``probation_s``. ``make_tls`` is called when a connection needs TLS: loading the
    certificates takes 15 ms. ``resolver`` None is the system's resolver.
    """

    def __init__(
        self, limits: Timeouts, make_tls: Callable[[], ssl.SSLContext], resolver: AbstractResolver | None
    ) -> None:
        super().__init__(limit=0, resolver=resolver)
        self._make_tls = make_tls
        self.limits = limits
        self._factory = partial(self._make_connection)
        self._timeout = aiohttp.ClientTimeout(sock_connect=limits.connect_timeout_s)
        self._idle: dict[ConnectionKey, list[WatchedConnection]] = {}
        self._expiry: asyncio.TimerHandle | None = None
        self._probation_s = limits.probation_s
        self._is_trusted = False
        self._silence_timer: asyncio.TimerHandle | None = None

    def _make_connection(self) -> ResponseHandler:
        return WatchedConnection(self, self._loop)

    def take_idle(self, key: ConnectionKey) -> WatchedConnection | None:
        """Take an idle connection on which nothing has arrived, the last used first; None if there is none."""
        connections = self._idle.get(key) if self._is_trusted else None
        while connections:
            connection = connections.pop()
            if monotonic() - connection.idle_since_s <= _KEEPALIVE_S and connection.is_silent():
                return connection
            connection.close()
        return None

    async def open(self, opening: aiohttp.ClientRequest) -> WatchedConnection:
        """Open a connection, and return it if nothing has arrived on it.

        Raises:
            aiohttp.ClientConnectionError: There is no connection, or not in time.
            UnsolicitedResponseError: The server speaks before it is asked, or has closed the connection.
        """
        try:
            async with asyncio.timeout(min(self.limits.connect_timeout_s, self.limits.exchange_s)):
                connection = await self._create_connection(opening, [], self._timeout)
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError from None
        assert isinstance(connection, WatchedConnection)
        connection.key = opening.connection_key
        if self.closed or not connection.is_silent():
            connection.close()
            raise UnsolicitedResponseError
        self._acquired.add(connection)  # the connector closes them
        return connection

    def put_back(self, connection: WatchedConnection, response_s: float) -> None:
        """Keep a connection that was just used, or close it."""
        if self._silence_timer is None and self._probation_s < math.inf:
            self._watch(response_s)
        max_idle = _MAX_IDLE_ON_PROBATION if self._probation_s < math.inf else 0
        is_full = not self._is_trusted and sum(map(len, self._idle.values())) >= max_idle
        if is_full:
            connection.close()
            return
        connection.idle_since_s = monotonic()
        self._idle.setdefault(connection.key, []).append(connection)
        if self._expiry is None:
            self._expiry = self._loop.call_later(_KEEPALIVE_S, self._expire)

    def forget(self, connection: WatchedConnection) -> None:
        """Forget a connection that ended."""
        self._acquired.discard(connection)

    def distrust(self) -> None:
        """Use a new connection for each request from now on: the server sent unsolicited bytes."""
        if self._probation_s != math.inf:
            logger.warning(
                "the service sends answers that nobody requested: from now on each request uses a new connection"
            )
        self._probation_s, self._is_trusted = math.inf, False
        if self._silence_timer is not None:
            self._silence_timer.cancel()

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection, and keep no more of them."""
        self._probation_s, self._is_trusted = math.inf, False
        for timer in (self._expiry, self._silence_timer):
            if timer is not None:
                timer.cancel()
        await super().close(abort_ssl=abort_ssl)

    def _get_ssl_context(self, request: aiohttp.ClientRequest) -> ssl.SSLContext | None:
        return self._make_tls() if request.is_ssl() else None

    def _watch(self, response_s: float) -> None:
        """Trust the server after a silence: a proxy that repeats a request is late by about the time of one answer.

        Use a timer: a stalled loop first reads the bytes that came meanwhile.
        """
        silence_s = max(self._probation_s, 2 * response_s) if self._probation_s else 0.0
        self._silence_timer = self._loop.call_later(silence_s, self._trust)
        if not silence_s:
            self._trust()

    def _trust(self) -> None:
        self._is_trusted = self._probation_s < math.inf

    def _expire(self) -> None:
        """Close the connections that were idle for too long; look again as long as any are idle."""
        self._expiry = None
        now_s = monotonic()
        for key, connections in list(self._idle.items()):
            expired = [each for each in connections if now_s - each.idle_since_s > _KEEPALIVE_S]
            remaining = [each for each in connections if each not in expired and each.is_connected()]
            for connection in expired:
                connection.close()
            self._idle[key] = remaining
            if not remaining:
                del self._idle[key]
        if self._idle:
            oldest_s = min(connections[0].idle_since_s for connections in self._idle.values())
            self._expiry = self._loop.call_later(oldest_s + _KEEPALIVE_S - now_s + 0.001, self._expire)
