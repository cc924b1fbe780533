"""Deliver an answer whole or cut, with a length, in chunks, or ended by the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import chain, repeat

import orjson
from aiohttp import web

from tts_pipeline.emulator.wire_faults import WIRE_FAULTS

_CHUNK_BYTES = 4_093
"""A prime, so that the pieces that a client receives end in the middle of words, frames and samples."""
_POLL_S, _POLLS = 0.02, 100
"""How long a connection stays open after an answer with a wire fault, unless its reader closes it."""
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Delivery:
    """An answer, ready to be written.

    A content type of None sends no such header. The framing is ``length``, ``chunks``, or ``connection`` (the body ends
    with the connection). ``cut_after`` counts bytes of the body; None cuts before the first byte of the answer.
    ``wire`` is one of ``WIRE_FAULTS``.
    """

    status: int
    body: bytes
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: str = "length"
    cut: bool = False
    cut_after: int | None = None
    wire: str | None = None


async def deliver(request: web.Request, delivery: Delivery) -> web.StreamResponse:
    """Write an answer, or return it for aiohttp to write."""
    if delivery.wire is not None:
        return await _play_wire(request, delivery, delivery.wire)
    if delivery.content_type is None or delivery.framing != "length" or delivery.cut:
        return _write(request, delivery)
    headers = {"Content-Type": delivery.content_type, **delivery.headers}
    return web.Response(status=delivery.status, body=delivery.body, headers=headers)


def _write(request: web.Request, delivery: Delivery) -> web.StreamResponse:
    """Write an answer that aiohttp would not write, such as a body without a content type, and close the connection."""
    transport = request.transport
    if transport is not None and not (delivery.cut and delivery.cut_after is None):
        body = delivery.body[: delivery.cut_after] if delivery.cut else delivery.body
        transport.write(_head(delivery))
        transport.write(_chunked(body, is_complete=not delivery.cut) if delivery.framing == "chunks" else body)
    if transport is not None:
        transport.close()
    return web.StreamResponse(status=delivery.status)


async def _play_wire(request: web.Request, delivery: Delivery, wire: str) -> web.StreamResponse:
    """Write an answer with a wire fault; the connection stays open for a while, and looks usable."""
    transport = request.transport
    head = _head(replace(delivery, framing="length"), connection="keep-alive")
    steps = chain(WIRE_FAULTS[wire](head, delivery.body), repeat(_POLL_S, _POLLS))
    for step in steps:
        if transport is None or transport.is_closing():
            break
        if isinstance(step, bytes):
            transport.write(step)
        else:
            await asyncio.sleep(step)
    if transport is not None:
        transport.abort()
    return web.StreamResponse(status=delivery.status)


def _head(delivery: Delivery, *, connection: str = "close") -> bytes:
    headers = {"Connection": connection, **delivery.headers}
    if delivery.content_type is not None:
        headers["Content-Type"] = delivery.content_type
    if delivery.framing == "length":
        headers["Content-Length"] = str(len(delivery.body))
    elif delivery.framing == "chunks":
        headers["Transfer-Encoding"] = "chunked"
    lines = [f"HTTP/1.1 {delivery.status} {_REASONS.get(delivery.status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _chunked(body: bytes, *, is_complete: bool) -> bytes:
    pieces = [body[start : start + _CHUNK_BYTES] for start in range(0, len(body), _CHUNK_BYTES)]
    encoded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return encoded + b"0\r\n\r\n" if is_complete else encoded


def json_delivery(value: object, status: int = 200) -> Delivery:
    """Return an answer with a value as JSON."""
    return Delivery(status, orjson.dumps(value))
