"""The boundary that translates the HTTP stack's exceptions."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import aiohttp
import pytest
from aiohttp.streams import EofStream

from tts_pipeline.errors import PermanentError, ServiceError, TransientError
from tts_pipeline.http.errors import HTTP_EXCEPTIONS, RefusedAddressError, map_exception
from tts_pipeline.http.url import InvalidUrlError


def tree(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for leaf in root.__subclasses__():
        yield from tree(leaf)


AIOHTTP = sorted(set(tree(aiohttp.ClientError)), key=lambda kind: kind.__name__)
NEVER_SENT = {"ConnectionFailed", "InvalidUrl"}


def made(kind: type[Exception]) -> Exception:
    """Make an exception without its own, often demanding, constructor."""
    error = kind.__new__(kind)
    if isinstance(error, aiohttp.ClientConnectorError):
        error._os_error = ConnectionRefusedError(111, "Connection refused")
    return error


@pytest.mark.parametrize(
    "kind", [InvalidUrlError, *AIOHTTP, OSError, ssl.SSLError, socket.gaierror, TimeoutError, EOFError, EofStream]
)
def test_every_exception_of_the_stack_has_a_translation(kind: type[Exception]) -> None:
    """No exception that the HTTP stack raises about a request passes the boundary unchanged."""
    assert issubclass(kind, HTTP_EXCEPTIONS)
    error = map_exception(made(kind), host="api.example")
    assert isinstance(error, TransientError | PermanentError)
    assert error.may_be_billed == (error.code not in NEVER_SENT)


@pytest.mark.parametrize("kind", AIOHTTP)
def test_what_was_never_written_is_never_billed(kind: type[Exception]) -> None:
    """A disconnect may come before or after the request: the sender knows, and in doubt it may be billed."""
    assert not map_exception(made(kind), host="api.example", may_be_sent=False).may_be_billed
    if kind in (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.SocketTimeoutError):
        assert map_exception(made(kind), host="api.example").may_be_billed


def test_a_refused_address_is_permanent() -> None:
    """The refusal of a resolver is not a failure of the network."""
    error = made(aiohttp.ClientConnectorDNSError)
    assert isinstance(error, aiohttp.ClientConnectorError)
    error._os_error = RefusedAddressError(0, "inside a private network")
    translated: ServiceError = map_exception(error, host="audio.example")
    assert (type(translated), translated.code, translated.may_be_billed) == (PermanentError, "RefusedAddress", False)
    assert "inside a private network" in translated.message


@pytest.mark.parametrize(
    ("beneath", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)"), "Connection refused"),
        (OSError(113, "Connect call failed ('10.0.0.1', 9)"), "No route to host"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, "certificate verify failed"), "certificate verify failed"),
        (OSError(), "OSError"),
    ],
)
def test_a_failed_connection_is_told_in_the_systems_words(beneath: OSError, words: str) -> None:
    """The message has the text of the system, not of a library."""
    error = aiohttp.ClientConnectorError.__new__(aiohttp.ClientConnectorError)
    error._os_error = beneath
    assert map_exception(error, host="api.example").message == f"no connection to api.example: {words}"
