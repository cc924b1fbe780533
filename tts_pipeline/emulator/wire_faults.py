"""Apply faults of transport: an answer sent twice, late, slowly, compressed, or not as HTTP. Pure."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, cycle

Step = bytes | float
"""The bytes to write next, or the seconds to wait before them."""

_DRIP_S = 0.01
_LATE_S = 0.03
_CHUNKED = b"transfer-encoding: chunked"
_BOMB_BYTES = 1024 * 1024 * 1024


def _drip(data: bytes) -> Iterator[Step]:
    for offset in range(len(data)):
        yield data[offset : offset + 1]
        yield _DRIP_S


def _broken_chunk(head: bytes, body: bytes) -> list[Step]:
    half = len(body) // 2
    return [_with_framing(head, _CHUNKED) + b"%x\r\n" % half + body[:half] + b"\r\nno size\r\n"]


def _trailers(head: bytes, body: bytes) -> list[Step]:
    chunks = b"%x;size=all\r\n%b\r\n" % (len(body), body) if body else b""
    return [_with_framing(head, _CHUNKED) + chunks + b"0\r\nx-trailer: 1\r\n\r\n"]


def _endless_trailers(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_framing(head, _CHUNKED) + b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    yield from cycle((b"x-trailer: " + 9_000 * b"x" + b"\r\n", 0.0))


def _bomb(head: bytes) -> bytes:
    bomb = zlib.compressobj(9, wbits=31)
    million = bytes(1024 * 1024)
    data = b"".join(bomb.compress(million) for _ in range(_BOMB_BYTES // len(million))) + bomb.flush()
    return _with_coding(head, b"gzip", data)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, 1)


def _with_coding(head: bytes, coding: bytes, body: bytes) -> bytes:
    return _with_framing(_with_header(head, b"content-encoding: " + coding), b"content-length: %d" % len(body)) + body


def _with_framing(head: bytes, framing: bytes) -> bytes:
    """Return a head that states the length of its body in another way."""
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"content-length:", b"transfer-"))]
    return _with_header(b"\r\n".join(lines), framing)


def _with_header(head: bytes, line: bytes) -> bytes:
    return head[:-2] + line + b"\r\n\r\n"


_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"

WIRE_FAULTS: Mapping[str, Callable[[bytes, bytes], Iterable[Step]]] = {
    "twice": lambda head, body: [2 * (head + body)],
    "late": lambda head, body: [head + body, _LATE_S, head + body],
    "half_late": lambda head, body: [head + body + head[:20], _LATE_S, head[20:] + body],
    "drip_head": lambda head, body: _drip(head + body),
    "drip_body": lambda head, body: chain([head], _drip(body)),
    "interim": lambda head, body: [_INTERIM, head + body],
    "endless_interim": lambda _head, _body: cycle((99 * b"HTTP/1.1 102 Processing\r\n\r\n", 0.0)),
    "long_header": lambda head, body: [_with_header(head, b"x-long: " + 20_000 * b"x") + body],
    "huge_head": lambda head, body: [_with_header(head, b"x-long: " + 70_000 * b"x") + body],
    "broken_head": lambda head, body: [_with_header(head, b"no header") + body],
    "no_http": lambda _head, body: [body],
    "broken_chunk": _broken_chunk,
    "trailers": _trailers,
    "endless_trailers": _endless_trailers,
    "gzip": lambda head, body: [_with_coding(head, b"gzip", _gzip(body))],
    "deflate": lambda head, body: [_with_coding(head, b"deflate", zlib.compress(body, 1))],
    "gzip_cut": lambda head, body: [_with_coding(head, b"gzip", _gzip(body)[:-9])],
    "gzip_twice": lambda head, body: [_with_coding(head, b"gzip, gzip", _gzip(_gzip(body)))],
    "bomb": lambda head, _body: [_bomb(head)],
}
"""Each fault by its name in a rule: it turns an answer's head and body into pieces on the wire and pauses."""
