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

from tts_pipeline.errors import PermanentError, ServiceError, TransientError

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
_TIMEOUTS = (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout)  # aiohttp's timeouts are TimeoutErrors


class RefusedAddressError(OSError):
    """A host name stands for an address that must not be visited; raised by a resolver, so that it never is."""


def translate(error: Exception, *, host: str) -> ServiceError:
    """Turn an exception of the HTTP stack into ours.

    Args:
        error: One of ``FAILURES``.
        host: Where the request went, for the message; never the whole address, which may carry a signature.

    Returns:
        ``TransientError`` with code ``ConnectionFailed`` (never sent, so never billed), ``Timeout``,
        ``ConnectionLost`` or ``MalformedBody`` (it may be billed); ``PermanentError`` with ``InvalidUrl`` or
        ``RefusedAddress`` (never sent).
    """
    is_mapped = isinstance(error, httpx.HTTPError) and isinstance(error.__cause__, FAILURES)
    origin = error.__cause__ if is_mapped and isinstance(error.__cause__, Exception) else error
    reason = _reason(origin)
    if isinstance(_os_error(origin), RefusedAddressError):
        return PermanentError(f"{host} was not visited: {reason}", code="RefusedAddress", may_be_billed=False)
    if isinstance(origin, _BAD_ADDRESS):
        return PermanentError(
            f"the address of {host or 'the service'} is not valid", code="InvalidUrl", may_be_billed=False
        )
    if isinstance(origin, _NEVER_SENT):
        return TransientError(f"no connection to {host}: {reason}", code="ConnectionFailed", may_be_billed=False)
    if isinstance(origin, _TIMEOUTS):
        return TransientError(f"{host} was silent for too long", code="Timeout")
    if isinstance(origin, httpx.DecodingError):
        return TransientError(f"the answer of {host} does not decompress", code="MalformedBody")
    return TransientError(f"the connection to {host} was lost: {reason}", code="ConnectionLost")


def _os_error(error: BaseException) -> OSError | None:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error
    return error if isinstance(error, OSError) else None


def _reason(error: BaseException) -> str:
    """Say what happened without the exception's own text, which may hold the whole address."""
    beneath = _os_error(error)
    said = beneath.strerror if beneath is not None else ""
    # asyncio's own words for a refused connection are "Connect call failed ('127.0.0.1', 9)".
    if beneath is not None and beneath.errno and not isinstance(beneath, _NUMBERED_OTHERWISE):
        said = os.strerror(beneath.errno)
    return said or type(beneath or error).__name__
