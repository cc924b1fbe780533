"""Classify a redirect of the request: the service at another address, or finished audio. Pure.

RFC 9110, 15.4: 307 and 308 ask for the same request elsewhere; 301, 302 and 303 let it become a GET, and some services
point so to the audio that they made.
"""

from __future__ import annotations

from urllib.parse import SplitResult, quote, urljoin, urlsplit

from tts_pipeline.card import PORTS
from tts_pipeline.errors import FatalError, SuspectError
from tts_pipeline.wire.response import Response

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 5

_METHOD_PRESERVING = frozenset({307, 308})
_HINT = "give the service this address, if it is to be trusted: `service`, base_url of a catalog, or the connection"
_PRINTABLE = "/%:@!$&'()*+,;=-._~[]"


def redirect_url(url: str, response: Response) -> str | None:
    """Return where a redirected request is to be sent again; None where the answer leads to audio, or to nothing.

    Raises:
        FatalError: ``Redirected``: the service is elsewhere, and neither its key nor a text is sent there unasked. Only
            the same host and port is, or https in place of http on their own ports. Not billed.
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
    reason = f"leads on through more than {MAX_REDIRECTS} redirects, last to {_printable_url(url)}"
    return _redirected_error(reason)


def refuse_page(url: str, response: Response) -> None:
    """Refuse a web page, or a door that takes no GET, where a redirect of the request should have led to audio.

    Raises:
        SuspectError: ``Redirected``: alone it is a row's, twice in succession the service's address is wrong.
    """
    media_type = response.headers.get("content-type", "").lower()
    if response.status == 405 or (response.status < 300 and media_type.startswith(("text/html", "application/xhtml"))):
        raise SuspectError(
            f"the service's address redirects to {_printable_url(url)}: use that", code="Redirected", hint=_HINT
        )


def _moved_error(target: str | None, status: int) -> FatalError:
    reason = f"to {_printable_url(target)}: use that" if target else "without an address"
    return _redirected_error(f"redirects {reason}", status)


def _redirected_error(reason: str, status: int | None = None) -> FatalError:
    message = f"the service's address {reason}"
    return FatalError(message, code="Redirected", http_status=status, may_be_billed=False, hint=_HINT)


def _resolve_location(url: str, location: str) -> str | None:
    """Return the address that a ``Location`` means; None where it is none of http or https."""
    # A header is bytes: what is not ASCII in it is what a browser would percent-encode.
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
    """Whether an address is the request's own route: on another host, with another scheme, prefix, slash or query."""
    route = urlsplit(url).path.strip("/").split("/")[-2:]
    return urlsplit(target).path.strip("/").split("/")[-2:] == route


def _printable_url(url: str) -> str:
    """Return an address as it may be shown: without a user and a query, which may hold a key or a signature."""
    parts = urlsplit(url)
    netloc = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=netloc, query="", fragment="").geturl()
