"""Translate the exceptions of the HTTP stack into errors of this package; this is the only such boundary.

The bill depends on whether a request was sent at all. aiohttp's exceptions do not always tell: a connection that was
closed before the request was written and a disconnect after the request was read are both ``ServerDisconnectedError``.
The sender knows. A request that was not provably unsent may have been billed.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from http import HTTPStatus

import aiohttp
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError, LineTooLong, TransferEncodingError
from aiohttp.streams import EofStream

from tts_pipeline.errors import FatalError, PermanentError, ServiceError, TransientError, UnreadableError
from tts_pipeline.http.connection import UnsolicitedResponseError
from tts_pipeline.http.response_head import HeadTooLargeError
from tts_pipeline.http.tls import tls_failure
from tts_pipeline.http.url import InvalidUrlError
from tts_pipeline.wire.failure import INVALID_HTTP

HTTP_EXCEPTIONS: tuple[type[Exception], ...] = (
    InvalidUrlError,
    aiohttp.ClientError,
    HttpProcessingError,
    OSError,  # also ssl.SSLError, socket.gaierror and TimeoutError
    EOFError,
    EofStream,  # a connection that was closed before its answer was awaited
)
"""All exceptions that the HTTP stack raises about a request; any other exception is a bug and is not caught."""

_INVALID_URL_ERRORS = (InvalidUrlError, aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)
_UNSENT_ERRORS = (
    aiohttp.ClientConnectorError,  # refused, DNS, TLS handshake, certificate, proxy not reached
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.ClientHttpProxyError,  # the proxy refused to open the tunnel
)
_NON_ERRNO_ERRORS = (ssl.SSLError, socket.gaierror)  # their ``errno`` is no error number of the system
_UNKNOWN_NAME_CODES = frozenset(
    code for name in ("EAI_NONAME", "EAI_NODATA") if (code := getattr(socket, name, None)) is not None
)
"""The codes for a name that does not exist; ``EAI_AGAIN`` means that the name server did not answer."""
_UNREADABLE_HINT = "ask the operator of the service, or of a proxy before it: its answers cannot be read"
_TRANSIENT_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_LOGIN_HINT = "put its login into the proxy's address, http://user:password@proxy.example:3128, in HTTPS_PROXY"
_PROXY_HINT = 'have the proxy let this host through, or reach it straight: NO_PROXY, or proxy = "none" of the service'
_NAME_HINT = "check the address and this machine's network, then run again"


class RefusedAddressError(OSError):
    """A host name resolves to an address that must not be visited; the resolver raises this before any connection."""


def map_exception(
    error: Exception,
    *,
    host: str,
    proxy: str | None = None,
    was_reached: bool = False,
    may_be_sent: bool = True,
) -> ServiceError:
    """Translate one of ``HTTP_EXCEPTIONS``.

    The message names the host, never the whole URL, which may carry a signature. ``was_reached``: the host was reached
    before, so an unknown name is a transient failure. ``may_be_sent`` is False if surely no byte of the request was
    written.

    Returns:
        ``FatalError`` with ``UntrustedCertificate``, ``TlsFailed``, ``UnknownHost`` or ``ProxyRefused`` (never sent);
        ``TransientError`` with code ``ConnectionFailed`` (never sent, so never billed), ``Timeout``,
        ``ConnectionLost``, ``InvalidHttpAnswer`` or ``DoubtfulAnswer`` (it may be billed); ``UnreadableError`` with
        ``HeadTooLarge`` (it may be billed: the next answer would be no shorter); ``PermanentError`` with ``InvalidUrl``
        or ``RefusedAddress`` (never sent).
    """
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _proxy_error(getattr(error, "status", 0), host, proxy)
    # The host of the connection: the service's, or a proxy's on the way there.
    target = (getattr(error, "host", None) if isinstance(error, aiohttp.ClientConnectorError) else None) or host
    if failure := tls_failure(_os_error(error), target) or _unsent_error(error, target, was_reached=was_reached):
        return failure
    if not may_be_sent:
        return TransientError(
            f"no connection to {host}: {_reason(error)}", code="ConnectionFailed", may_be_billed=False
        )
    if isinstance(error, TimeoutError):  # aiohttp's are too
        return TransientError(f"{host} took too long", code="Timeout")
    if isinstance(error, UnsolicitedResponseError):
        return TransientError(
            f"{host} sent more than one answer to one request: none of them is used", code="DoubtfulAnswer"
        )
    return _unreadable_error(error, host) or TransientError(
        f"the connection to {host} was lost: {_reason(error)}", code="ConnectionLost"
    )


def _unsent_error(error: Exception, host: str, *, was_reached: bool) -> ServiceError | None:
    """Return the error if surely no request was sent; None if a request may have been sent."""
    reason, os_error = _reason(error), _os_error(error)
    if isinstance(os_error, RefusedAddressError):
        return PermanentError(f"{host} was not visited: {reason}", code="RefusedAddress", may_be_billed=False)
    if isinstance(error, _INVALID_URL_ERRORS):
        return PermanentError(
            f"the address of {host or 'the service'} is not valid", code="InvalidUrl", may_be_billed=False
        )
    proxy = "the proxy " if isinstance(error, aiohttp.ClientProxyConnectionError) else ""
    no_connection = f"no connection to {proxy}{host}: {reason}"
    if isinstance(os_error, socket.gaierror) and os_error.errno in _UNKNOWN_NAME_CODES and not was_reached:
        return FatalError(no_connection, code="UnknownHost", may_be_billed=False, hint=_NAME_HINT)
    if isinstance(error, _UNSENT_ERRORS):
        return TransientError(no_connection, code="ConnectionFailed", may_be_billed=False)
    return None


def _unreadable_error(error: BaseException, host: str) -> ServiceError | None:
    """Return the error of an answer that the HTTP library refused; None for an answer that was only cut."""
    refusals = [cause for cause in _causes(error) if isinstance(cause, HttpProcessingError | HeadTooLargeError)]
    if any(isinstance(each, HeadTooLargeError | LineTooLong) for each in refusals):
        return UnreadableError(f"the head of {host}'s answer is too large", code="HeadTooLarge", hint=_UNREADABLE_HINT)
    if not refusals or isinstance(refusals[-1], ContentLengthError | TransferEncodingError):
        return None  # the connection ended before the body did
    return TransientError(f"the answer of {host} is not HTTP", code=INVALID_HTTP, hint=_UNREADABLE_HINT)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _proxy_error(status: int, host: str, proxy: str | None) -> ServiceError:
    """Return the error of a proxy that opened no tunnel: fatal for a refusal, transient for a trouble of its own."""
    message = f"the proxy {proxy or ''} opens no connection to {host}: it answered with status {status}"
    if not 400 <= status < 500 or status in _TRANSIENT_STATUSES:
        return TransientError(message, code="ConnectionFailed", may_be_billed=False)
    hint = _LOGIN_HINT if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED else _PROXY_HINT
    return FatalError(message, code="ProxyRefused", may_be_billed=False, hint=hint)


def _os_error(error: BaseException) -> OSError | None:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error
    return error if isinstance(error, OSError) else None


def _reason(error: BaseException) -> str:
    """Describe an exception without its own text, which may hold the whole URL."""
    os_error = _os_error(error)
    reason = os_error.strerror if os_error is not None else ""
    # asyncio's own text for a refused connection is "Connect call failed ('127.0.0.1', 9)".
    if os_error is not None and os_error.errno and not isinstance(os_error, _NON_ERRNO_ERRORS):
        reason = os.strerror(os_error.errno)
    return reason or type(os_error or error).__name__
