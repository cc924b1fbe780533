"""Keep audio for a limited time, and serve it by URL, whole or with a fault of signed URLs."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from aiohttp import web

from tts_pipeline.emulator.delivery import Delivery, deliver
from tts_pipeline.emulator.rules import NO_FAULT, Rule
from tts_pipeline.emulator.wire_faults import WIRE_FAULTS

CAPACITY_BYTES = 128 * 1024 * 1024
"""Beyond this size the oldest audio is dropped."""

_ENDLESS_CHUNK = bytes(65_536)


@dataclass(frozen=True, slots=True)
class AudioFile:
    """Audio behind a URL; ``expires_at`` is in seconds since 1970 UTC, None is never; ``rule`` has the fetch fault."""

    audio: bytes
    content_type: str
    expires_at: float | None = None
    rule: Rule = NO_FAULT


class AudioStore:
    """Audio by name; beyond ``capacity_bytes`` it drops the oldest, but never the newest."""

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._by_name: dict[str, AudioFile] = {}

    def put(self, name: str, file: AudioFile) -> None:
        """Keep audio under a name."""
        self._by_name[name] = file
        self._bytes += len(file.audio)
        while self._bytes > self._capacity_bytes and len(self._by_name) > 1:
            oldest = self._by_name.pop(next(iter(self._by_name)))
            self._bytes -= len(oldest.audio)

    def get(self, name: str) -> AudioFile | None:
        """Return the audio of a name; None if it is unknown or was dropped."""
        return self._by_name.get(name)


async def serve_audio(request: web.Request, file: AudioFile | None) -> web.StreamResponse:
    """Answer a request for stored audio; None is audio that the store does not have."""
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
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>\n'
    return web.Response(status=status, text=text, content_type="application/xml")


async def _endless(request: web.Request, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    while True:
        await response.write(_ENDLESS_CHUNK)
