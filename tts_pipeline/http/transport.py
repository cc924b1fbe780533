"""Send one request and read the whole answer.

The transport writes requests and reads answers on its own connections (``connection.py``); aiohttp opens them, and
parses the answers. httpx only parses URLs and makes the TLS context.

Nothing is read from the environment: a ``.netrc`` must not add a key. The route decides which proxy and which
certificates are used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from time import monotonic

from aiohttp.abc import AbstractResolver
from msgspec.structs import replace

from tts_pipeline.catalog.route import Route
from tts_pipeline.http.connection import OnResponse, UnsolicitedResponseError
from tts_pipeline.http.connection_pool import ConnectionPool
from tts_pipeline.http.errors import HTTP_EXCEPTIONS, map_exception
from tts_pipeline.http.request_head import RequestHeadCache
from tts_pipeline.http.response_head import too_large_error
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.tls import tls_context
from tts_pipeline.http.url import host_of
from tts_pipeline.wire.content_decoder import ContentDecoder
from tts_pipeline.wire.response import Response

_HEADERS: Mapping[str, str] = {"user-agent": "tts-pipeline", "accept": "*/*", "accept-encoding": "identity"}
"""``identity``: compression saves a quarter of base64 audio at best, and inflating takes more CPU than the rest."""

_RESPONSE_HEAD = re.compile(rb"HTTP/1\.[01] [1-5]\d\d[^\r\n]{0,80}\r?\n[\w-]{1,80}:")
"""The head of an answer, as it would appear within a body that ends with the connection."""


class Transport:
    """Sends requests, each on its own connection of a pool; the limiter bounds their number.

    ``authorization`` is sent with every request in ``key_header``; None is for a transport that must never carry a key.
    ``make_resolver`` is called within the running loop; None is the system's resolver.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        *,
        authorization: str | None = None,
        key_header: str = "authorization",
        route: Route | None = None,
        make_resolver: Callable[[], AbstractResolver] | None = None,
    ) -> None:
        self.exchange_s = timeouts.exchange_s
        self._timeouts = timeouts
        self._route = Route() if route is None else route
        self._make_resolver = make_resolver
        headers = dict(_HEADERS) if authorization is None else {**_HEADERS, key_header.lower(): authorization}
        self._proxy_for = lru_cache(maxsize=16)(self._route.proxy_for)
        self._head_cache = RequestHeadCache(headers, self._proxy_for)
        self._pool: ConnectionPool | None = None
        self._was_reached = False

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        on_response: OnResponse | None = None,
    ) -> Response:
        """Send a request and read the whole answer, whatever its status; a redirect is an answer.

        Header names are in lower case. ``on_response`` may read the answer before this coroutine goes on: the row is
        then woken once, not for the answer and again for its content.

        Raises:
            TransientError: ``ConnectionFailed`` (never sent); ``ConnectionLost``, ``Timeout``, ``MalformedBody``,
                ``InvalidHttpAnswer`` or ``DoubtfulAnswer`` (may be billed).
            PermanentError: ``InvalidUrl`` or ``RefusedAddress`` (never sent); ``AnswerTooLarge``, ``HeadTooLarge`` or
                ``UnsupportedCoding`` (may be billed).
            FatalError: ``UntrustedCertificate``, ``TlsFailed``, ``UnknownHost`` or ``ProxyRefused`` (never sent).
        """
        end_s = monotonic() + self.exchange_s
        may_be_sent = False
        try:
            head = self._head_cache.head_of(method, url, headers)
            pool = self._pool or self._open_pool()
            connection = pool.take_idle(head.key)
            if connection is None:
                connection = await pool.open(head.opening)
            # From the choice of a connection to its request nothing else runs, so nothing arrives unseen.
            cycle = connection.send(head.with_body(body), end_s)
            cycle.on_response = on_response
            may_be_sent = True
            try:
                await cycle.ended
            except BaseException:
                connection.abandon(cycle)
                raise
            if cycle.error is not None:
                raise cycle.error
            reply, decoder = cycle.response()
            if decoder is not None:
                async with asyncio.timeout(max(0.0, end_s - monotonic())):
                    reply = replace(reply, body=await self._inflate(reply.body, decoder))
            if cycle.is_doubtful or (not reply.complete and _has_second_head(reply)):
                raise UnsolicitedResponseError
        except HTTP_EXCEPTIONS as error:
            proxy = host_of(self._proxy_for(url) or "") or None
            was_reached = self._was_reached
            failure = map_exception(
                error, host=host_of(url), proxy=proxy, was_reached=was_reached, may_be_sent=may_be_sent
            )
        else:
            self._was_reached = True
            return reply
        # Raised here, so that it has no __context__: the libraries' exceptions may hold a part of the request.
        raise failure

    async def aclose(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            await self._pool.close()

    def _open_pool(self) -> ConnectionPool:
        resolver = self._make_resolver() if self._make_resolver else None
        self._pool = ConnectionPool(self._timeouts, partial(tls_context, self._route), resolver)
        return self._pool

    async def _inflate(self, data: bytes, decoder: ContentDecoder) -> bytes:
        """Inflate a body piece by piece; other rows run between the pieces."""
        pieces: list[bytes] = []
        size = 0
        for piece in decoder.decode(data):
            pieces.append(piece)
            size += len(piece)
            if size > self._timeouts.max_body_bytes:
                raise too_large_error(self._timeouts.max_body_bytes)
            await asyncio.sleep(0)
        decoder.close()
        return b"".join(pieces)


def _has_second_head(reply: Response) -> bool:
    """Return whether a body that ends with the connection contains the head of a second answer."""
    return reply.status < 400 and _RESPONSE_HEAD.search(reply.body) is not None
