"""Fetch audio from the URL in an answer: at once, without the key, and only from where a service may send us."""

from __future__ import annotations

import asyncio
import socket
from functools import lru_cache, partial
from urllib.parse import urlsplit

import httpx

from tts_pipeline.catalog.route import Route
from tts_pipeline.client.address import GuardedResolver, Reach, is_name_inside, reach_of, visitable
from tts_pipeline.client.clock import Clock
from tts_pipeline.client.retry import Patience
from tts_pipeline.client.transport import Bounds, Transport
from tts_pipeline.errors import FatalError, PermanentError, ServiceError, SuspectError, TransientError
from tts_pipeline.wire.payload import with_https
from tts_pipeline.wire.reading import ParsedResponse, Response
from tts_pipeline.wire.redirect import MAX_REDIRECTS, REDIRECTS, refuse_page

_REFUSALS = frozenset({"RefusedAddress", "InvalidUrl"})


class Fetcher:
    """Fetches what a service's answers point to.

    Args:
        service_url: Whose answers; relative URLs are relative to it, and where it is says what may be visited.
        bounds: Timeouts, the longest fetch with its redirects and repeated tries, and the size cap.
        patience: Retries the fetch alone, not the attempt that was paid for.
        clock: Tells whether a URL has expired.
        route: Whom it trusts and through which proxies it goes; None is certifi's list, and none.
    """

    def __init__(
        self, service_url: str, bounds: Bounds, patience: Patience, clock: Clock, route: Route | None = None
    ) -> None:
        self._route = Route() if route is None else route
        self._inside: dict[str, bool] = {}
        self._service_url = service_url
        self._patience = patience
        self._clock = clock
        self._visitable: frozenset[Reach] | None = None
        # A transport of its own: it has no key, and it cannot connect to where its resolver does not lead.
        self._longest_s = bounds.exchange_s
        proxies = self._route.proxy_hosts
        self._transport = Transport(
            bounds, route=self._route, make_resolver=lambda: GuardedResolver(self._may_visit, proxies)
        )

    async def fetch(self, reading: ParsedResponse, *, was_redirected: bool = False) -> Response:
        """Fetch what a reading's URL points to.

        Args:
            reading: With a URL.
            was_redirected: Whether the request itself was redirected there: then it may be no audio's address at all.

        Returns:
            The answer with the audio as its body.

        Raises:
            TransientError: ``LostUrl``: not there any more, expired, or not reachable after several tries. Retried by a
                new attempt; this one has been billed.
            PermanentError: ``RefusedUrl`` (an address, scheme or redirect that is not followed) or ``AnswerTooLarge``.
            SuspectError: What fails so for every audio there: a certificate that is not trusted, a host that is none
                (another purchase would end the same way), or a page in place of audio after a redirect.
        """
        if self._visitable is None:
            self._visitable = visitable(await _addresses_of(self._service_url))
        url = _joined(self._service_url, reading.url or "")
        try:
            async with asyncio.timeout(self._longest_s):
                return await self._patience.fetch(partial(self._follow, url, was_redirected=was_redirected))
        except TimeoutError:
            late = TransientError("its URL took too long, redirects and repeated tries included", code="Timeout")
            raise self._lost(late, reading) from None
        except TransientError as error:
            raise self._lost(error, reading) from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def _follow(self, start: str, *, was_redirected: bool) -> Response:
        url = start
        for _ in range(MAX_REDIRECTS + 1):
            self._check(url)
            if self._route.proxy_for(url) is not None:
                await self._check_name(url)
            try:
                reply = await self._transport.exchange("GET", url, {})
            except PermanentError as error:
                raise (_refused(url, error.message) if error.code in _REFUSALS else error) from None
            except FatalError as error:  # of the audio's host, and the attempt has been answered, so billed
                raise _unreachable(error) from None
            if reply.status not in REDIRECTS or "location" not in reply.headers:
                if was_redirected:
                    refuse_page(start, reply)
                return _found(reply)
            url = _joined(url, reply.headers["location"])
        raise _refused(url, f"it is the end of more than {MAX_REDIRECTS} redirects")

    def _check(self, url: str) -> None:
        """Refuse what the resolver never sees: other schemes, and hosts that are addresses already."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _refused(url, "it is neither http nor https")
        reach = _reach_of_host(parts.hostname)
        if reach is not None and reach not in (self._visitable or ()):
            raise _refused(url, "it is an address inside a private network")

    async def _check_name(self, url: str) -> None:
        """Refuse a name inside a private network where a proxy looks it up; what it means there, only that knows.

        Such a proxy's network need not know names outside: one that is not found here is the proxy's to judge.
        """
        host, own = urlsplit(url).hostname or "", urlsplit(self._service_url).hostname or ""
        if host == own or _reach_of_host(host) is not None:
            return
        if host not in self._inside:
            found = await _addresses_of(url)
            self._inside[host] = (is_name_inside(host) and not is_name_inside(own)) or (
                bool(found) and not any(map(self._may_visit, found))
            )
        if self._inside[host] or host in self._route.proxy_hosts:
            raise _refused(url, "it is a name inside a private network")

    def _may_visit(self, address: str) -> bool:
        return self._visitable is not None and reach_of(address) in self._visitable

    def _lost(self, error: ServiceError, reading: ParsedResponse) -> TransientError:
        expired = reading.url_expires_at is not None and self._clock.utc_us() >= reading.url_expires_at * 1_000_000
        reason = "its URL had expired" if expired else error.message
        return TransientError(f"the audio could not be fetched: {reason}", code="LostUrl")


def _found(reply: Response) -> Response:
    if 200 <= reply.status < 300:
        return reply
    raise TransientError(f"its URL answered with status {reply.status}", code="LostUrl")


def _unreachable(error: FatalError) -> SuspectError:
    return SuspectError(f"the audio could not be fetched: {error.message}", code=error.code, hint=error.hint)


def _joined(base: str, target: str) -> str:
    try:
        whole = httpx.URL(target)
        return with_https(str(whole if whole.is_absolute_url else httpx.URL(base).join(whole)))
    except (httpx.InvalidURL, ValueError):
        raise _refused(base, "it redirects to what is no URL") from None


def _refused(url: str, reason: str) -> PermanentError:
    # The attempt has been answered, so it has been billed; never the whole URL, its query is a signature.
    parts = urlsplit(url)
    return PermanentError(
        f"the audio's URL leads to {parts.scheme}://{parts.hostname or ''}, which is not visited: {reason}",
        code="RefusedUrl",
    )


@lru_cache(maxsize=256)
def _reach_of_host(host: str) -> Reach | None:
    """Classify a host that is an address; None for a name, which the resolver judges."""
    try:
        return reach_of(host)
    except ValueError:
        return None


async def _addresses_of(url: str) -> list[str]:
    """Find where a service is; nothing for a name that is not known."""
    host = urlsplit(url).hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]) for *_, address in found]
