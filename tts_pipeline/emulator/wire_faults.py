"""Faults of transport: an answer twice, late, slow, compressed, or not HTTP at all. Pure."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping

Step = bytes | float
"""What is written next, or the seconds to wait before."""

_DRIP_S = 0.01
_LATE_S = 0.03
_BOMB_BYTES = 1024 * 1024 * 1024


def _twice(head: bytes, body: bytes) -> Iterator[Step]:
    yield 2 * (head + body)


def _late(head: bytes, body: bytes) -> Iterator[Step]:
    yield head + body
    yield _LATE_S
    yield head + body


def _half_late(head: bytes, body: bytes) -> Iterator[Step]:
    yield head + body + head[:20]
    yield _LATE_S
    yield head[20:] + body


def _drip_head(head: bytes, body: bytes) -> Iterator[Step]:
    yield from _drip(head + body)


def _drip_body(head: bytes, body: bytes) -> Iterator[Step]:
    yield head
    yield from _drip(body)


def _drip(data: bytes) -> Iterator[Step]:
    for at in range(len(data)):
        yield data[at : at + 1]
        yield _DRIP_S


def _interim(head: bytes, body: bytes) -> Iterator[Step]:
    yield b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    yield head + body


def _endless_interim(_head: bytes, _body: bytes) -> Iterator[Step]:
    while True:
        yield 99 * b"HTTP/1.1 102 Processing\r\n\r\n"
        yield 0.0


def _long_header(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_header(head, b"x-long: " + 20_000 * b"x") + body


def _huge_head(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_header(head, b"x-long: " + 70_000 * b"x") + body


def _broken_head(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_header(head, b"no header") + body


def _no_http(_head: bytes, body: bytes) -> Iterator[Step]:
    yield body


def _broken_chunk(head: bytes, body: bytes) -> Iterator[Step]:
    half = len(body) // 2
    yield _with_framing(head, b"transfer-encoding: chunked") + b"%x\r\n" % half + body[:half] + b"\r\nno size\r\n"


def _trailers(head: bytes, body: bytes) -> Iterator[Step]:
    chunks = b"%x;size=all\r\n%b\r\n" % (len(body), body) if body else b""
    chunks += b"0\r\nx-trailer: 1\r\n\r\n"
    yield _with_framing(head, b"transfer-encoding: chunked") + chunks


def _endless_trailers(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_framing(head, b"transfer-encoding: chunked") + b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    while True:
        yield b"x-trailer: " + 9_000 * b"x" + b"\r\n"
        yield 0.0


def _gzip(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_coding(head, b"gzip", gzip.compress(body, 1))


def _deflate(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_coding(head, b"deflate", zlib.compress(body, 1))


def _gzip_cut(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_coding(head, b"gzip", gzip.compress(body, 1)[:-9])


def _gzip_twice(head: bytes, body: bytes) -> Iterator[Step]:
    yield _with_coding(head, b"gzip, gzip", gzip.compress(gzip.compress(body, 1), 1))


def _bomb(head: bytes, _body: bytes) -> Iterator[Step]:
    bomb = zlib.compressobj(9, wbits=31)
    million = bytes(1024 * 1024)
    data = b"".join(bomb.compress(million) for _ in range(_BOMB_BYTES // len(million))) + bomb.flush()
    yield _with_coding(head, b"gzip", data)


def _with_coding(head: bytes, coding: bytes, body: bytes) -> bytes:
    return _with_framing(_with_header(head, b"content-encoding: " + coding), b"content-length: %d" % len(body)) + body


def _with_framing(head: bytes, framing: bytes) -> bytes:
    """Return a head that says in another way how long its body is."""
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"content-length:", b"transfer-"))]
    return _with_header(b"\r\n".join(lines), framing)


def _with_header(head: bytes, line: bytes) -> bytes:
    return head[:-2] + line + b"\r\n\r\n"


WIRE_FAULTS: Mapping[str, Callable[[bytes, bytes], Iterator[Step]]] = {
    function.__name__[1:]: function
    for function in (
        *(_twice, _late, _half_late, _drip_head, _drip_body, _interim, _endless_interim, _long_header, _huge_head),
        *(_broken_head, _no_http, _broken_chunk, _trailers, _endless_trailers),
        *(_gzip, _deflate, _gzip_cut, _gzip_twice, _bomb),
    )
}
"""Each by its name in a rule: from the head and the body of an answer to what is written, and when."""
