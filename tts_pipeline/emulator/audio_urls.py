"""Serve audio URLs: the audio, or a fault of signed URLs."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web

from tts_pipeline.emulator.audio_store import AudioFile
from tts_pipeline.emulator.delivery import Delivery, deliver
from tts_pipeline.emulator.wire_faults import WIRE_FAULTS

_ENDLESS_CHUNK = bytes(65_536)


async def serve_audio(request: web.Request, file: AudioFile | None) -> web.StreamResponse:
    """Answer a request for stored audio; None is what is not, or no more, there."""
    if file is None or file.rule.fetch == "missing":
        return _error_response(404, "NoSuchKey", "The specified key does not exist.")
    if file.expires_at is not None and time.time() >= file.expires_at:
        return _error_response(403, "AccessDenied", "Request has expired.")
    rule = file.rule
    if rule.fetch == "redirect":
        return web.Response(status=302, headers={"Location": rule.location})
    if rule.fetch == "endless":
        return await _endless(request, file.content_type)
    if rule.fetch == "slow":
        await asyncio.sleep(rule.fetch_delay_s)
    half = len(file.audio) // 2
    cut = rule.fetch == "cut"
    wire = rule.fetch if rule.fetch in WIRE_FAULTS else None
    return await deliver(request, Delivery(200, file.audio, file.content_type, cut=cut, cut_after=half, wire=wire))


def _error_response(status: int, code: str, message: str) -> web.Response:
    """Answer as an object store does."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n'
    return web.Response(status=status, text=text, content_type="application/xml")


async def _endless(request: web.Request, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    while True:
        await response.write(_ENDLESS_CHUNK)
