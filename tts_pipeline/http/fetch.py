"""Fetch audio by its URL: at once, without the key, and only from permitted addresses."""

from __future__ import annotations

import asyncio
import socket
from functools import lru_cache, partial
from urllib.parse import urlsplit

import httpx

from tts_pipeline.catalog.route import Route
from tts_pipeline.errors import FatalError, PermanentError, ServiceError, SuspectError, TransientError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.retry_policy import RetryPolicy
from tts_pipeline.http.address import AddressScope, GuardedResolver, allowed_scopes, is_internal_name, scope_of
from tts_pipeline.http.transport import Timeouts, Transport
from tts_pipeline.wire.audio_content import with_https
from tts_pipeline.wire.redirect import MAX_REDIRECTS, REDIRECTS, refuse_page
from tts_pipeline.wire.response import ParsedResponse, Response

_REFUSAL_CODES = frozenset({"RefusedAddress", "InvalidUrl"})


class Fetcher:
    """Fetches what a service's answers point to; relative URLs are relative to the service's.

    The service's own place says what may be visited. The retry policy retries the fetch alone, not the attempt that
    was paid for. The clock tells whether a URL has expired.
    """

    def __init__(
        self, service_url: str, timeouts: Timeouts, retry_policy: RetryPolicy, clock: Clock, route: Route | None = None
    ) -> None:
        self._route = Route() if route is None else route
        self._internal_hosts: dict[str, bool] = {}
        self._service_url = service_url
        self._retry_policy = retry_policy
        self._clock = clock
        self._allowed_scopes: frozenset[AddressScope] | None = None
        # A transport of its own: it has no key, and it cannot connect to where its resolver does not lead.
        self._max_fetch_s = timeouts.exchange_s
        proxies = self._route.proxy_hosts
        self._transport = Transport(
            timeouts, route=self._route, make_resolver=lambda: GuardedResolver(self._is_allowed, proxies)
        )

    async def fetch(self, reading: ParsedResponse, *, was_redirected: bool = False) -> Response:
        """Fetch the URL of a reading; return the answer with the audio as its body.

        Where the request itself was redirected there, it may be no audio's address at all.

        Raises:
            TransientError: ``LostUrl``: not there any more, expired, or not reachable after several tries. Retried by a
                new attempt; this one has been billed.
            PermanentError: ``RefusedUrl`` (an address, scheme or redirect that is not followed) or ``AnswerTooLarge``.
            SuspectError: What fails so for every audio there: a certificate that is not trusted, a host that is none
                (another purchase would end the same way), or a page in place of audio after a redirect.
        """
        if self._allowed_scopes is None:
            self._allowed_scopes = allowed_scopes(await _addresses_of(self._service_url))
        url = _join_url(self._service_url, reading.url or "")
        try:
            async with asyncio.timeout(self._max_fetch_s):
                return await self._retry_policy.retry_fetch(partial(self._follow, url, was_redirected=was_redirected))
        except TimeoutError:
            timeout = TransientError("its URL took too long, redirects and repeated tries included", code="Timeout")
            raise self._lost_url_error(timeout, reading) from None
        except TransientError as error:
            raise self._lost_url_error(error, reading) from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def _follow(self, first_url: str, *, was_redirected: bool) -> Response:
        url = first_url
        for _ in range(MAX_REDIRECTS + 1):
            self._check_url(url)
            if self._route.proxy_for(url) is not None:
                await self._check_name(url)
            try:
                reply = await self._transport.exchange("GET", url, {})
            except PermanentError as error:
                raise (_refused_url_error(url, error.message) if error.code in _REFUSAL_CODES else error) from None
            except FatalError as error:  # of the audio's host, and the attempt has been answered, so billed
                message = f"the audio could not be fetched: {error.message}"
                raise SuspectError(message, code=error.code, hint=error.hint) from None
            if reply.status not in REDIRECTS or "location" not in reply.headers:
                if was_redirected:
                    refuse_page(first_url, reply)
                if not 200 <= reply.status < 300:
                    raise TransientError(f"its URL answered with status {reply.status}", code="LostUrl")
                return reply
            url = _join_url(url, reply.headers["location"])
        raise _refused_url_error(url, f"it is the end of more than {MAX_REDIRECTS} redirects")

    def _check_url(self, url: str) -> None:
        """Refuse what the resolver never sees: other schemes, and hosts that are addresses already."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _refused_url_error(url, "it is neither http nor https")
        scope = _scope_of_host(parts.hostname)
        if scope is not None and scope not in (self._allowed_scopes or ()):
            raise _refused_url_error(url, "it is an address inside a private network")

    async def _check_name(self, url: str) -> None:
        """Refuse a name inside a private network where a proxy looks it up; what it means there, only that knows.

        Such a proxy's network need not know names outside: one that is not found here is the proxy's to judge.
        """
        host, service_host = urlsplit(url).hostname or "", urlsplit(self._service_url).hostname or ""
        if host == service_host or _scope_of_host(host) is not None:
            return
        if host not in self._internal_hosts:
            addresses = await _addresses_of(url)
            self._internal_hosts[host] = (is_internal_name(host) and not is_internal_name(service_host)) or (
                bool(addresses) and not any(map(self._is_allowed, addresses))
            )
        if self._internal_hosts[host] or host in self._route.proxy_hosts:
            raise _refused_url_error(url, "it is a name inside a private network")

    def _is_allowed(self, address: str) -> bool:
        return self._allowed_scopes is not None and scope_of(address) in self._allowed_scopes

    def _lost_url_error(self, error: ServiceError, reading: ParsedResponse) -> TransientError:
        has_expired = reading.url_expires_at is not None and self._clock.utc_us() >= reading.url_expires_at * 1_000_000
        reason = "its URL had expired" if has_expired else error.message
        return TransientError(f"the audio could not be fetched: {reason}", code="LostUrl")


def _join_url(base: str, target: str) -> str:
    try:
        parsed = httpx.URL(target)
        return with_https(str(parsed if parsed.is_absolute_url else httpx.URL(base).join(parsed)))
    except (httpx.InvalidURL, ValueError):
        raise _refused_url_error(base, "it redirects to an invalid URL") from None


def _refused_url_error(url: str, reason: str) -> PermanentError:
    # The attempt has been answered, so it has been billed; never the whole URL, its query is a signature.
    parts = urlsplit(url)
    return PermanentError(
        f"the audio's URL leads to {parts.scheme}://{parts.hostname or ''}, which is not visited: {reason}",
        code="RefusedUrl",
    )


@lru_cache(maxsize=256)
def _scope_of_host(host: str) -> AddressScope | None:
    """Classify a host that is an address; None for a name, which the resolver judges."""
    try:
        return scope_of(host)
    except ValueError:
        return None


async def _addresses_of(url: str) -> list[str]:
    """Find where a service is; nothing for a name that is not known."""
    host = urlsplit(url).hostname or ""
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]) for *_, address in infos]
