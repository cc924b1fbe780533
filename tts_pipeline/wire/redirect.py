"""Classify a redirect: it leads to the service at another address, or to finished audio. Pure.

RFC 9110, 15.4: 307 and 308 request the same request elsewhere; 301, 302 and 303 turn it into a GET, and some services
use them to point to finished audio.
"""

from __future__ import annotations

from urllib.parse import SplitResult, quote, urljoin, urlsplit

from tts_pipeline.card import PORTS
from tts_pipeline.errors import FatalError, SuspectError
from tts_pipeline.wire.response import Response

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5

_METHOD_PRESERVING = frozenset({307, 308})
_HINT = "if you trust this address, give it to the service: in `service`, base_url of a catalog, or the connection"
_PRINTABLE = "/%:@!$&'()*+,;=-._~[]"


def redirect_url(url: str, response: Response) -> str | None:
    """Return the URL to send a redirected request to; None when the answer leads to audio, or nowhere.

    Raises:
        FatalError: ``Redirected``: the service is elsewhere. Its key and texts go only to the same host and port, or to
            https in place of http on their default ports. Not billed.
    """
    target = _resolve_location(url, response.headers.get("location", ""))
    if response.status not in _METHOD_PRESERVING:
        if target is not None and _is_same_route(url, target):
            raise _moved_error(target, response.status)
        return None
    if target is None or not _is_trusted(urlsplit(url), urlsplit(target)):
        raise _moved_error(target, response.status)
    return target


def too_many_redirects_error(url: str) -> FatalError:
    """Return the error for a request that was redirected too often."""
    reason = f"leads through more than {MAX_REDIRECTS} redirects, last to {_printable_url(url)}"
    return _redirected_error(reason)


def refuse_page(url: str, response: Response) -> None:
    """Refuse a web page, or a URL that takes no GET, where a redirect should have led to audio.

    Raises:
        SuspectError: ``Redirected``: once, it concerns the row; twice in succession, the service's address is wrong.
    """
    media_type = response.headers.get("content-type", "").lower()
    if response.status == 405 or (response.status < 300 and media_type.startswith(("text/html", "application/xhtml"))):
        raise SuspectError(f"the service's address redirects to {_printable_url(url)}", code="Redirected", hint=_HINT)


def _moved_error(target: str | None, status: int) -> FatalError:
    reason = f"to {_printable_url(target)}" if target else "without an address"
    return _redirected_error(f"redirects {reason}", status)


def _redirected_error(reason: str, status: int | None = None) -> FatalError:
    message = f"the service's address {reason}"
    return FatalError(message, code="Redirected", http_status=status, may_be_billed=False, hint=_HINT)


def _resolve_location(url: str, location: str) -> str | None:
    """Return the address of a ``Location``; None when it is neither http nor https."""
    # A header is bytes: a browser percent-encodes those that are not ASCII.
    encoded = quote(location.strip().encode("latin-1", "replace"), safe=_PRINTABLE + "?#")
    try:
        parts = urlsplit(urljoin(url, encoded)) if encoded else None
        if parts is None or parts.scheme not in PORTS or not parts.hostname or not _port(parts):
            return None
    except ValueError:
        return None
    return parts._replace(fragment="").geturl()


def _port(parts: SplitResult) -> int:
    return PORTS[parts.scheme] if parts.port is None else parts.port


def _is_trusted(old: SplitResult, new: SplitResult) -> bool:
    if new.username is not None or new.password is not None or old.hostname != new.hostname:
        return False
    ports = (_port(old), _port(new))
    if (old.scheme, new.scheme) == ("http", "https"):
        return ports == (PORTS["http"], PORTS["https"])
    return old.scheme == new.scheme and ports[0] == ports[1]


def _is_same_route(url: str, target: str) -> bool:
    """Return whether an address has the request's route, whatever its host, scheme, prefix, slash or query."""
    route = urlsplit(url).path.strip("/").split("/")[-2:]
    return urlsplit(target).path.strip("/").split("/")[-2:] == route


def _printable_url(url: str) -> str:
    """Return an address that is safe to show: without user and query, which may hold a key or a signature."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc, query="", fragment="").geturl()
