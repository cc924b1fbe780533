"""Send one request and read the whole answer.

The transport is an aiohttp session with its own connections (``connection.py``); httpx only parses URLs and makes the
TLS context. ``httpx.AsyncClient`` (cookies, redirects, authentication, merging of URLs) takes 0.17 ms of CPU a request,
and httpx's requests, responses and headers 0.05 ms, while the rest of a row takes about 0.4 ms; none of that is needed
here. httpx's own connection pool is over ten times slower at 256 connections.

Nothing is read from the environment (``trust_env`` is false): a ``.netrc`` must not add a key. The route decides which
proxy and which certificates are used.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import lru_cache, partial

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import BadStatusLine

from tts_pipeline.catalog.route import Route
from tts_pipeline.config import (
    CONNECTION_PROBATION_S,
    EXCHANGE_TIMEOUT_FACTOR,
    MAX_AUDIO_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADER_BYTES,
)
from tts_pipeline.errors import PermanentError
from tts_pipeline.http.connection import (
    ConnectionPool,
    HeadTooLargeError,
    RequestBody,
    UnsolicitedResponseError,
    WatchedResponse,
)
from tts_pipeline.http.errors import HTTP_EXCEPTIONS, map_exception
from tts_pipeline.http.tls import tls_context
from tts_pipeline.http.url import host_of, normalize_url
from tts_pipeline.wire.content_decoder import ContentDecoder, unsupported_coding_error
from tts_pipeline.wire.response import Response

_HEADERS: Mapping[str, str] = {"user-agent": "tts-pipeline", "accept": "*/*", "accept-encoding": "identity"}
"""``identity``: compression saves a quarter of base64 audio at best, and inflating takes more CPU than the rest."""

_RESPONSE_HEAD = re.compile(rb"HTTP/1\.[01] [1-5]\d\d[^\r\n]{0,80}\r?\n[\w-]{1,80}:")
"""The head of an answer, as it would appear within a body that ends with the connection."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The time and size limits of a transport.

    Args:
        timeout_s: The longest silence within an answer; the longest exchange is ten times as long.
        connect_timeout_s: The longest wait for a connection: name, TCP and TLS together.
        max_body_bytes: A longer answer is refused.
        probation_s: A connection is used again only after the server was silent this long between answers.
    """

    timeout_s: float
    connect_timeout_s: float
    max_body_bytes: int = MAX_AUDIO_BYTES
    probation_s: float = CONNECTION_PROBATION_S

    @property
    def exchange_s(self) -> float:
        """The longest exchange: connection, request, head, body and trailer together."""
        return EXCHANGE_TIMEOUT_FACTOR * self.timeout_s


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
        self._headers = dict(_HEADERS) if authorization is None else {**_HEADERS, key_header.lower(): authorization}
        self._timeout = aiohttp.ClientTimeout(
            connect=timeouts.connect_timeout_s, sock_connect=timeouts.connect_timeout_s, sock_read=timeouts.timeout_s
        )
        self._proxy_for = lru_cache(maxsize=16)(self._route.proxy_for)
        self._session: aiohttp.ClientSession | None = None
        self._was_reached = False

    async def exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """Send a request and read the whole answer, whatever its status; a redirect is an answer.

        Header names are in lower case.

        Raises:
            TransientError: ``ConnectionFailed`` (never sent); ``ConnectionLost``, ``Timeout``, ``MalformedBody``,
                ``InvalidHttpAnswer`` or ``DoubtfulAnswer`` (may be billed).
            PermanentError: ``InvalidUrl`` or ``RefusedAddress`` (never sent); ``AnswerTooLarge``, ``HeadTooLarge`` or
                ``UnsupportedCoding`` (may be billed).
            FatalError: ``UntrustedCertificate``, ``TlsFailed``, ``UnknownHost`` or ``ProxyRefused`` (never sent).
        """
        request_body = RequestBody(body) if body else None
        try:
            async with (
                asyncio.timeout(self.exchange_s),
                self._request(method, url, headers, request_body) as response,
            ):
                if response.status < 200:
                    raise BadStatusLine  # 101, or less than 100: the connection would speak another protocol
                reply = await self._read(response)
            if (isinstance(response, WatchedResponse) and response.is_doubtful) or _has_second_head(reply):
                raise UnsolicitedResponseError
        except HTTP_EXCEPTIONS as error:
            may_be_sent = request_body is None or request_body.is_sent
            proxy = host_of(self._proxy_for(url) or "") or None
            was_reached = self._was_reached
            failure = map_exception(
                error, host=host_of(url), proxy=proxy, was_reached=was_reached, may_be_sent=may_be_sent
            )
        else:
            self._was_reached = True
            return reply
        # Raised here, so that it has no __context__: the libraries' exceptions hold the request, which holds the key.
        raise failure

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        resolver = self._make_resolver() if self._make_resolver else None
        # The session gets no headers: aiohttp would also send them, with the key, to a proxy in clear text.
        return aiohttp.ClientSession(
            connector=ConnectionPool(self._timeouts.probation_s, partial(tls_context, self._route), resolver),
            response_class=WatchedResponse,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEAD_BYTES,  # their bytes are bounded, not their number
            trust_env=False,
        )

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: RequestBody | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = self._open_session()
        return self._session.request(
            method,
            normalize_url(url),
            headers={**self._headers, **headers},
            data=body,
            allow_redirects=False,
            proxy=self._proxy_for(url),
        )

    async def _read(self, response: aiohttp.ClientResponse) -> Response:
        headers = _headers_of(response)
        length = headers.get("content-length", "")
        self._check_size(int(length[-20:]) if length.isdecimal() else 0)  # further digits are leading zeros
        pieces: AsyncIterable[bytes] = response.content.iter_any()
        if "content-encoding" in headers:
            pieces = self._inflate(pieces, headers["content-encoding"])
        return Response(
            status=response.status,
            headers=headers,
            body=await self._join(pieces),
            complete="content-length" in headers or headers.get("transfer-encoding") == "chunked",
        )

    async def _join(self, pieces: AsyncIterable[bytes]) -> bytes:
        chunks: list[bytes] = []
        size = 0
        async for piece in pieces:
            chunks.append(piece)
            size += len(piece)
            self._check_size(size)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _inflate(self, pieces: AsyncIterable[bytes], codings: str) -> AsyncIterator[bytes]:
        """Inflate a body piece by piece; other rows run between the pieces."""
        inflation = ContentDecoder(codings)
        size = 0
        async for piece in pieces:
            size += len(piece)
            self._check_size(size)  # compressed pieces may inflate to nothing
            for inflated in inflation.decode(piece):
                yield inflated
                await asyncio.sleep(0)
        inflation.close()

    def _check_size(self, size: int) -> None:
        if size > self._timeouts.max_body_bytes:
            raise PermanentError(
                f"the answer is larger than {self._timeouts.max_body_bytes} bytes", code="AnswerTooLarge"
            )


def _headers_of(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers by lower-case name; repeated headers of a coding are joined.

    Raises:
        HeadTooLargeError: All headers together are larger than ``MAX_HEAD_BYTES``.
        PermanentError: ``UnsupportedCoding``: the body has a transfer coding that was not requested.
    """
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.raw_headers}
    if sum(map(len, headers)) + sum(map(len, headers.values())) > MAX_HEAD_BYTES:
        raise HeadTooLargeError
    for name in ("content-encoding", "transfer-encoding"):
        if name in headers:
            headers[name] = ", ".join(response.headers.getall(name)).lower()
    if headers.get("transfer-encoding", "chunked") not in ("chunked", "identity"):
        raise unsupported_coding_error(headers["transfer-encoding"])
    return headers


def _has_second_head(reply: Response) -> bool:
    """Return whether a body that ends with the connection contains the head of a second answer."""
    return not reply.complete and reply.status < 400 and _RESPONSE_HEAD.search(reply.body) is not None
