"""What fetching an audio URL meets: the audio, or what goes wrong with signed URLs."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from tts_pipeline.emulator.delivery import Delivery, deliver
from tts_pipeline.emulator.store import Stored
from tts_pipeline.emulator.wires import WIRES

_ENDLESS_CHUNK = bytes(65_536)


async def fetch(request: web.Request, stored: Stored | None) -> web.StreamResponse:
    """Answer a request for stored audio; None is what is not, or no more, there."""
    if stored is None or stored.rule.fetch == "missing":
        return _denied(404, "NoSuchKey", "The specified key does not exist.")
    if stored.expires_at is not None and time.time() >= stored.expires_at:
        return _denied(403, "AccessDenied", "Request has expired.")
    rule = stored.rule
    if rule.fetch == "redirect":
        return web.Response(status=302, headers={"Location": rule.location})
    if rule.fetch == "endless":
        return await _endless(request, stored.content_type)
    if rule.fetch == "slow":
        await asyncio.sleep(rule.fetch_delay_s)
    half = len(stored.audio) // 2
    cut = rule.fetch == "cut"
    wire = rule.fetch if rule.fetch in WIRES else None
    return await deliver(request, Delivery(200, stored.audio, stored.content_type, cut=cut, cut_after=half, wire=wire))


def _denied(status: int, code: str, message: str) -> web.Response:
    """Answer as an object store does."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n'
    return web.Response(status=status, text=text, content_type="application/xml")


async def _endless(request: web.Request, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    while True:
        await response.write(_ENDLESS_CHUNK)
