"""The state of a socket: whether something arrived that nobody has read, asked without releasing Python's lock.

``select.poll`` and ``fcntl.ioctl`` release the interpreter's lock (GIL) during the call. Another thread then takes it,
and the event loop waits up to 5 ms to get it back. Measured with 256 requests in flight (2026-11): these calls, of
1 us each, took a tenth of the CPU of a row, and a third of its context switches.
"""

from __future__ import annotations

import ctypes
import select
import socket

_LIBC = ctypes.PyDLL(None)  # PyDLL holds the lock, CDLL releases it


class _PollRequest(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


_poll = _LIBC.poll
_poll.argtypes = (ctypes.POINTER(_PollRequest), ctypes.c_ulong, ctypes.c_int)
_recv = _LIBC.recv
_recv.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
_recv.restype = ctypes.c_ssize_t
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT


class SocketState:
    """Shows what arrived at an open socket, and leaves it there."""

    def __init__(self, file_descriptor: int) -> None:
        self._file_descriptor = file_descriptor
        self._request = _PollRequest(file_descriptor, select.POLLIN, 0)
        self._peeked_byte = ctypes.create_string_buffer(1)

    def has_event(self) -> bool:
        """Return whether bytes, the peer's end of the connection, or an error arrived."""
        return bool(_poll(self._request, 1, 0))

    def has_bytes(self) -> bool:
        """Return whether bytes arrived; the peer's end alone is none."""
        return bool(_recv(self._file_descriptor, self._peeked_byte, 1, _PEEK) > 0)
