"""Fetch audio by its URL: immediately, without the key, and only from permitted addresses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from urllib.parse import urlsplit

from tts_pipeline.catalog.route import Route
from tts_pipeline.errors import FatalError, PermanentError, ServiceError, SuspectError, TransientError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.retry_policy import RetryPolicy
from tts_pipeline.http.address import AddressScope, GuardedResolver, allowed_scopes, is_internal_name, scope_of
from tts_pipeline.http.connection import OnResponse
from tts_pipeline.http.timeouts import Timeouts
from tts_pipeline.http.transport import Transport
from tts_pipeline.http.url import join_url, origin_of_plain
from tts_pipeline.wire.audio_content import with_https
from tts_pipeline.wire.redirect import MAX_REDIRECTS, REDIRECTS, refuse_page
from tts_pipeline.wire.response import ParsedResponse, Response

_REFUSAL_CODES = frozenset({"RefusedAddress", "InvalidUrl"})
_NO_HEADERS: Mapping[str, str] = {}

_MAX_ORIGINS = 256
"""Origins that are remembered as visited directly; further ones are checked for each URL."""


class Fetcher:
    """Fetches the audio that a service's answers refer to; a relative URL is relative to the service's URL.

    The service's own address decides which addresses may be visited. The retry policy retries the fetch alone, not the
    attempt, which is paid for. The clock decides whether a URL has expired.
    """

    def __init__(
        self, service_url: str, timeouts: Timeouts, retry_policy: RetryPolicy, clock: Clock, route: Route | None = None
    ) -> None:
        self._route = Route() if route is None else route
        self._internal_hosts: dict[str, bool] = {}
        self._open_origins: set[str] = set()
        self._service_url = service_url
        self._retry_policy = retry_policy
        self._clock = clock
        self._allowed_scopes: frozenset[AddressScope] | None = None
        # A separate transport: it has no key, and it connects only to addresses that its resolver returns.
        self._max_fetch_s = timeouts.exchange_s
        proxies = self._route.proxy_hosts
        self._transport = Transport(
            timeouts, route=self._route, make_resolver=lambda: GuardedResolver(self._is_allowed, proxies)
        )

    async def fetch(
        self, reading: ParsedResponse, on_response: OnResponse | None = None, *, was_redirected: bool = False
    ) -> Response:
        """Fetch the URL of a parsed answer; return the response with the audio as its body.

        If the request itself was redirected to the URL (``was_redirected``), the URL may not lead to audio at all.
        ``on_response`` may read the first answer, whatever it is, before this coroutine goes on; see ``Transport``.

        Raises:
            TransientError: ``LostUrl``: the audio is gone, its URL has expired, or it was not reachable after several
                tries. A new attempt is made; this one has been billed.
            PermanentError: ``RefusedUrl`` (an address, scheme or redirect that is not followed) or ``AnswerTooLarge``.
            SuspectError: A failure that every audio at this host would share, so that another purchase would end the
                same way: an untrusted certificate, an unknown host, or a page in place of audio after a redirect.
        """
        if self._allowed_scopes is None:
            self._allowed_scopes = allowed_scopes(await _addresses_of(self._service_url))
        deadline_s = asyncio.get_running_loop().time() + self._max_fetch_s
        url = reading.url or ""
        if origin_of_plain(url) not in self._open_origins:
            url = _join_url(self._service_url, url)
            await self._check(url)
        # Nearly every fetch ends with its first answer: it takes no timer (the transport has one) and no retry policy.
        outcome = await self._try_get(url, on_response)
        if isinstance(outcome, Response) and 200 <= outcome.status < 300 and not was_redirected:
            return outcome
        try:
            async with asyncio.timeout_at(deadline_s):
                await asyncio.sleep(0)  # a deadline that has passed ends the fetch here, before another request
                tries = partial(self._follow, url, iter((outcome,)), was_redirected=was_redirected)
                return await self._retry_policy.retry_fetch(tries)
        except TimeoutError:
            timeout = TransientError("its URL took too long, redirects and repeated tries included", code="Timeout")
            raise self._lost_url_error(timeout, reading) from None
        except TransientError as error:
            raise self._lost_url_error(error, reading) from None

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def _follow(
        self, first_url: str, first_outcomes: Iterator[Response | TransientError], *, was_redirected: bool
    ) -> Response:
        """Follow redirects to the audio; the outcome of the first request may be known."""
        url = first_url
        outcome = next(first_outcomes, None) or await self._try_get(url)
        for _ in range(MAX_REDIRECTS):
            if (location := _location_of(outcome)) is None:
                break
            url = _join_url(url, location)
            await self._check(url)
            outcome = await self._try_get(url)
        if isinstance(outcome, TransientError):
            raise outcome
        if _location_of(outcome) is not None:
            raise _refused_url_error(url, f"it comes after more than {MAX_REDIRECTS} redirects")
        if was_redirected:
            refuse_page(first_url, outcome)
        if not 200 <= outcome.status < 300:
            raise TransientError(f"its URL answered with status {outcome.status}", code="LostUrl")
        return outcome

    async def _try_get(self, url: str, on_response: OnResponse | None = None) -> Response | TransientError:
        """Send a request to a checked URL, and return its outcome."""
        try:
            return await self._transport.exchange("GET", url, _NO_HEADERS, b"", on_response)
        except TransientError as error:
            return error
        except PermanentError as error:
            raise (_refused_url_error(url, error.message) if error.code in _REFUSAL_CODES else error) from None
        except FatalError as error:  # it concerns the audio's host; the attempt was answered, so it is billed
            message = f"the audio could not be fetched: {error.message}"
            raise SuspectError(message, code=error.code, hint=error.hint) from None

    async def _check(self, url: str) -> None:
        """Refuse a URL that may not be visited; remember the origin of a plain URL that is visited directly.

        The origin alone decides. Checking it again for each URL takes 10 us, while the bare request takes 150 us.
        """
        self._check_url(url)
        if self._route.proxy_for(url) is not None:
            await self._check_name(url)
        elif len(self._open_origins) < _MAX_ORIGINS and (origin := origin_of_plain(url)) is not None:
            self._open_origins.add(origin)

    def _check_url(self, url: str) -> None:
        """Refuse URLs that the resolver never sees: other schemes, and hosts that are IP addresses."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _refused_url_error(url, "it is neither http nor https")
        scope = _scope_of_host(parts.hostname)
        if scope is not None and scope not in (self._allowed_scopes or ()):
            raise _refused_url_error(url, "it is an address inside a private network")

    async def _check_name(self, url: str) -> None:
        """Refuse an internal host name on a route with a proxy: the proxy resolves the name, unseen by our resolver.

        This machine may be unable to resolve public names; a name that is not found here is left to the proxy.
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


def _location_of(outcome: Response | TransientError) -> str | None:
    """Return the target of a redirect; None for any other outcome."""
    if isinstance(outcome, TransientError) or outcome.status not in REDIRECTS:
        return None
    return outcome.headers.get("location")


def _join_url(base: str, target: str) -> str:
    try:
        return with_https(join_url(base, target))
    except ValueError:
        raise _refused_url_error(base, "it redirects to an invalid URL") from None


def _refused_url_error(url: str, reason: str) -> PermanentError:
    # The attempt was answered, so it is billed. The message never holds the whole URL: its query is a signature.
    parts = urlsplit(url)
    return PermanentError(
        f"the audio's URL leads to {parts.scheme}://{parts.hostname or ''}, which is not visited: {reason}",
        code="RefusedUrl",
    )


@lru_cache(maxsize=256)
def _scope_of_host(host: str) -> AddressScope | None:
    """Return the scope of a host that is an IP address; None for a name, which the resolver checks."""
    try:
        return scope_of(host)
    except ValueError:
        return None


async def _addresses_of(url: str) -> list[str]:
    """Return the IP addresses of a URL's host; empty for an unknown name."""
    host = urlsplit(url).hostname or ""
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]) for *_, address in infos]
