"""What arrived at a socket is seen before anything reads it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from tts_pipeline.http.socket_state import SocketState

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client and the server that it is connected to, by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            yield client, server


def _state(client: socket.socket) -> tuple[bool, bool]:
    state = SocketState(client.fileno())
    return state.has_event(), state.has_bytes()


def test_nothing_arrived(pair: Pair) -> None:
    """A silent connection has neither an event nor bytes."""
    assert _state(pair[0]) == (False, False)


def test_bytes_arrived_and_stay(pair: Pair) -> None:
    """Bytes are an event, and looking does not take them away."""
    client, server = pair
    server.sendall(b"late")
    client.recv(1, socket.MSG_PEEK)  # waits for them
    assert _state(client) == _state(client) == (True, True)
    assert client.recv(10) == b"late"
    assert _state(client) == (False, False)


def test_the_end_is_an_event_without_bytes(pair: Pair) -> None:
    """A server may end a connection with its answer."""
    client, server = pair
    server.shutdown(socket.SHUT_WR)
    assert client.recv(1, socket.MSG_PEEK) == b""  # waits for it
    assert _state(client) == (True, False)


def test_a_reset_is_an_event_without_bytes(pair: Pair) -> None:
    """A request must not be written to a connection that is reset."""
    client, server = pair
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    state = SocketState(client.fileno())
    while not state.has_event():  # the reset is on its way
        pass
    assert not state.has_bytes()
