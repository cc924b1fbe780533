"""Send one request, read the whole answer; the only module that knows which HTTP library is used.

It is the session beneath the ``httpx-aiohttp`` transport; httpx itself reads addresses, and inflates what nobody asked
to have compressed. ``httpx.AsyncClient`` (cookies, redirects, authentication, merging of URLs) takes 0.17 ms of CPU a
request and httpx's requests, responses and headers 0.05 ms, where all the rest of a row takes about 0.4; none of it is
wanted here. httpx's own connection pool is out of the question: over ten times slower at 256 connections.

Nothing is read from the environment (``trust_env`` is false): a proxy variable must not send a loopback service's
requests elsewhere, and a ``.netrc`` must not add a key. Certificates are checked against certifi's list.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
import httpx
from aiohttp.abc import AbstractResolver
from httpx_aiohttp.transport import AiohttpResponseStream

from tts_pipeline.client.translation import FAILURES, translate
from tts_pipeline.config import MAX_AUDIO_BYTES
from tts_pipeline.errors import PermanentError, TransientError
from tts_pipeline.wire.reading import Reply

_KEEPALIVE_S = 30.0
"""How long an idle connection is kept: shorter than the 60 s after which gateways commonly close it themselves, for
a request on a connection that is just being closed may have been billed for nothing."""

_HEADERS: Mapping[str, str] = {"user-agent": "tts-pipeline", "accept": "*/*", "accept-encoding": "identity"}
"""``identity``: base64 audio shrinks by a quarter at best and costs more CPU to inflate than everything else here."""

_LONGEST_IN_TIMEOUTS = 10
"""An answer that trickles, so that it is never silent for ``timeout_s``, is given up after this many times that."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long and how much a transport takes before it gives up.

    Args:
        timeout_s: The longest silence within an answer; ten times that is the longest answer.
        connect_timeout_s: The longest wait for a connection: name, TCP and TLS together.
        max_body_bytes: A longer answer is refused.
    """

    timeout_s: float
    connect_timeout_s: float
    max_body_bytes: int = MAX_AUDIO_BYTES


class Transport:
    """A pool of connections, as many as there are requests at one time: the governor is what bounds those.

    Args:
        bounds: Timeouts and the size cap.
        authorization: Sent with every request; None for a transport that must never carry a key.
        key_header: The header that carries it.
        make_resolver: Makes what turns host names into addresses, once a loop runs; None is the system's.
    """

    def __init__(
        self,
        bounds: Bounds,
        *,
        authorization: str | None = None,
        key_header: str = "authorization",
        make_resolver: Callable[[], AbstractResolver] | None = None,
    ) -> None:
        self._bounds = bounds
        self._make_resolver = make_resolver
        self._headers = dict(_HEADERS) if authorization is None else {**_HEADERS, key_header.lower(): authorization}
        self._timeout = aiohttp.ClientTimeout(
            connect=bounds.connect_timeout_s, sock_connect=bounds.connect_timeout_s, sock_read=bounds.timeout_s
        )
        self._session: aiohttp.ClientSession | None = None
        self._was_reached = False

    async def exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Reply:
        """Send a request and read the whole answer, whatever its status; a redirect is an answer.

        Args:
            method: ``POST`` or ``GET``.
            url: The whole address, http or https.
            headers: By lower-case name, beside those of the transport.
            body: What is sent.

        Raises:
            TransientError: ``ConnectionFailed`` (never sent); ``ConnectionLost``, ``Timeout`` or ``MalformedBody``
                (it may be billed).
            PermanentError: ``InvalidUrl`` or ``RefusedAddress`` (never sent); ``AnswerTooLarge`` (it may be billed).
            FatalError: ``UntrustedCertificate``, ``TlsFailed`` or ``UnknownHost`` (never sent).
        """
        try:
            reply = await self._exchange(method, url, headers, body)
        except FAILURES as error:
            failure = translate(error, host=_host(url), was_reached=self._was_reached)
        else:
            self._was_reached = True
            return reply
        # Raised out here so that it has no __context__: the libraries' exceptions hold the request, and that the key.
        raise failure

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        resolver = self._make_resolver() if self._make_resolver else None
        connector = aiohttp.TCPConnector(limit=0, ssl=_tls(), keepalive_timeout=_KEEPALIVE_S, resolver=resolver)
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if self._session is None:
            self._session = self._open_session()
        sending = self._session.request(method, _normal(url), headers=headers, data=body or None, allow_redirects=False)
        async with sending as response:
            return await self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> Reply:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.raw_headers}
        self._check_size(int(headers.get("content-length") or 0))
        pieces = _decompressed(response) if "content-encoding" in headers else response.content.iter_any()
        return Reply(
            status=response.status,
            headers=headers,
            body=await self._joined(pieces),
            complete="content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower(),
        )

    async def _joined(self, pieces: AsyncIterable[bytes]) -> bytes:
        now = asyncio.get_running_loop().time
        deadline = now() + _LONGEST_IN_TIMEOUTS * self._bounds.timeout_s
        received: list[bytes] = []
        size = 0
        async for piece in pieces:
            received.append(piece)
            size += len(piece)
            self._check_size(size)
            if now() > deadline:
                raise TransientError("the answer came too slowly to be waited for", code="Timeout")
        return received[0] if len(received) == 1 else b"".join(received)

    def _check_size(self, size: int) -> None:
        if size > self._bounds.max_body_bytes:
            raise PermanentError(
                f"the answer is larger than {self._bounds.max_body_bytes} bytes", code="AnswerTooLarge"
            )


def _decompressed(response: aiohttp.ClientResponse) -> AsyncIterable[bytes]:
    """Have httpx inflate the body: only a server that ignores ``accept-encoding`` makes it."""
    whole = httpx.Response(response.status, headers=response.raw_headers, stream=AiohttpResponseStream(response))
    return whole.aiter_bytes()


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Load the certificates once: it takes 15 ms, and every transport needs them."""
    return httpx.create_ssl_context(trust_env=False)


@lru_cache(maxsize=16)
def _normal(url: str) -> str:
    """Return an address as httpx understands it, which refuses more than aiohttp does."""
    return str(httpx.URL(url))


def _host(url: str) -> str:
    try:
        return httpx.URL(url).host
    except httpx.InvalidURL:
        return ""
