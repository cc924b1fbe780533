"""The one boundary where the exceptions of the HTTP stack become ours.

What matters for the bill is whether a request was sent at all. The ``httpx-aiohttp`` transport does not say: a refused
connection, a failed DNS look-up and a disconnect *after* the request was read all arrive as ``httpx.ConnectTimeout``
(0.2.0, measured). Its ``__cause__``, aiohttp's own exception, does. Where nothing proves that a request was never sent,
it may have been billed.
"""

from __future__ import annotations

import os
import socket
import ssl

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from tts_pipeline.client.tls import tls_failure
from tts_pipeline.errors import FatalError, PermanentError, ServiceError, TransientError

FAILURES: tuple[type[Exception], ...] = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    httpx.StreamError,
    aiohttp.ClientError,  # the transport maps only some of aiohttp's exceptions
    HttpProcessingError,
    OSError,  # also ssl.SSLError, socket.gaierror and TimeoutError
    EOFError,
)
"""Everything the HTTP stack raises about a request; anything else is a mistake in a program and passes."""

_BAD_ADDRESS = (httpx.InvalidURL, httpx.UnsupportedProtocol, aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)
_NEVER_SENT = (
    aiohttp.ClientConnectorError,  # refused, DNS, TLS handshake, certificate, proxy not reached
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientHttpProxyError,  # the proxy refused to open the tunnel
    httpx.PoolTimeout,
    httpx.LocalProtocolError,
)
_NUMBERED_OTHERWISE = (ssl.SSLError, socket.gaierror)  # their numbers are not the system's
_NO_SUCH_NAME = frozenset(
    code for name in ("EAI_NONAME", "EAI_NODATA") if (code := getattr(socket, name, None)) is not None
)
"""What a name server says of a name that is none; ``EAI_AGAIN`` is for one that cannot be asked."""
_TIMEOUTS = (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout)  # aiohttp's timeouts are TimeoutErrors


_NAME_HINT = "check the address and this machine's network, then run again"


class RefusedAddressError(OSError):
    """A host name stands for an address that must not be visited; raised by a resolver, so that it never is."""


def translate(error: Exception, *, host: str, was_reached: bool = False) -> ServiceError:
    """Turn an exception of the HTTP stack into ours.

    Args:
        error: One of ``FAILURES``.
        host: Where the request went, for the message; never the whole address, which may carry a signature.
        was_reached: Whether anything was reached before, so that a name that is not known will be again.

    Returns:
        ``FatalError`` with ``UntrustedCertificate``, ``TlsFailed`` or ``UnknownHost`` (never sent);
        ``TransientError`` with code ``ConnectionFailed`` (never sent, so never billed), ``Timeout``,
        ``ConnectionLost`` or ``MalformedBody`` (it may be billed); ``PermanentError`` with ``InvalidUrl`` or
        ``RefusedAddress`` (never sent).
    """
    is_mapped = isinstance(error, httpx.HTTPError) and isinstance(error.__cause__, FAILURES)
    origin = error.__cause__ if is_mapped and isinstance(error.__cause__, Exception) else error
    if failure := tls_failure(_os_error(origin), host) or _unsent(origin, host, was_reached=was_reached):
        return failure
    if isinstance(origin, _TIMEOUTS):
        return TransientError(f"{host} was silent for too long", code="Timeout")
    if isinstance(origin, httpx.DecodingError):
        return TransientError(f"the answer of {host} does not decompress", code="MalformedBody")
    return TransientError(f"the connection to {host} was lost: {_reason(origin)}", code="ConnectionLost")


def _unsent(origin: Exception, host: str, *, was_reached: bool) -> ServiceError | None:
    """Return the error where it is known that no request left; None where one may have."""
    reason, beneath = _reason(origin), _os_error(origin)
    if isinstance(beneath, RefusedAddressError):
        return PermanentError(f"{host} was not visited: {reason}", code="RefusedAddress", may_be_billed=False)
    if isinstance(origin, _BAD_ADDRESS):
        return PermanentError(
            f"the address of {host or 'the service'} is not valid", code="InvalidUrl", may_be_billed=False
        )
    no_connection = f"no connection to {_connecting_to(origin) or host}: {reason}"
    if isinstance(beneath, socket.gaierror) and beneath.errno in _NO_SUCH_NAME and not was_reached:
        return FatalError(no_connection, code="UnknownHost", may_be_billed=False, hint=_NAME_HINT)
    if isinstance(origin, _NEVER_SENT):
        return TransientError(no_connection, code="ConnectionFailed", may_be_billed=False)
    return None


def _os_error(error: BaseException) -> OSError | None:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error
    return error if isinstance(error, OSError) else None


def _connecting_to(error: BaseException) -> str | None:
    """Return the host that was connected to: the service's, or that of a proxy on the way there."""
    return getattr(error, "host", None) if isinstance(error, aiohttp.ClientConnectorError) else None


def _reason(error: BaseException) -> str:
    """Say what happened without the exception's own text, which may hold the whole address."""
    beneath = _os_error(error)
    said = beneath.strerror if beneath is not None else ""
    # asyncio's own words for a refused connection are "Connect call failed ('127.0.0.1', 9)".
    if beneath is not None and beneath.errno and not isinstance(beneath, _NUMBERED_OTHERWISE):
        said = os.strerror(beneath.errno)
    return said or type(beneath or error).__name__
