"""Prepare the answers of the load service, whose base URL describes them."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Self

from tts_pipeline.emulator.tone import tone

SHAPES = ("base64", "raw", "url")
SLOWER = 30
"""The factor on the latency of a slow row."""

_SLOW_PLACE = 37
_PATH = re.compile(r"/(\w+)-(\d+)-(\d+)-(\d+)(?:/.*)?")
_ROW = b"row "


@dataclass(frozen=True, slots=True)
class AnswerSpec:
    """The shape, size and latency of answers.

    Args:
        shape: ``base64`` (Ali JSON with data), ``raw`` (the bytes) or ``url`` (Ali JSON with a URL).
        audio_bytes: Bytes of samples; a WAV header precedes them.
        latency_ms: From a request's last byte to its answer; the fetch of a URL has no latency.
        slow_every: One row of so many is ``SLOWER`` times slower, the same rows for all clients; 0 is none.
    """

    shape: str = "base64"
    audio_bytes: int = 20_000
    latency_ms: int = 200
    slow_every: int = 0

    def base_url(self, origin: str) -> str:
        """Return the base URL of a service at ``origin`` that gives these answers."""
        return f"{origin}/{self.shape}-{self.audio_bytes}-{self.latency_ms}-{self.slow_every}"

    @classmethod
    def from_path(cls, path: str) -> Self | None:
        """Return the answer that a request's path describes; None for another path."""
        match = _PATH.fullmatch(path)
        if match is None or match[1] not in SHAPES:
            return None
        return cls(match[1], int(match[2]), int(match[3]), int(match[4]))

    def delay_s(self, body: bytes) -> float:
        """Return the latency of the answer to a request."""
        slow = self.slow_every and row_number(body) % self.slow_every == _SLOW_PLACE % self.slow_every
        return self.latency_ms * (SLOWER if slow else 1) / 1_000


def text_of(number: int) -> str:
    """Return the text of a row: distinct, of a usual length, with the row's number for the service."""
    return f"This is row {number:07} of a text that somebody wants to have read aloud."


def row_number(body: bytes) -> int:
    """Return the number of the row whose text is in a request's body; 0 if the body has none."""
    place = body.find(_ROW)
    digits = body[place + len(_ROW) : place + len(_ROW) + 7] if place >= 0 else b""
    return int(digits) if digits.isdigit() else 0


@cache
def audio(audio_bytes: int) -> bytes:
    """Return the audio of all answers of one size."""
    return tone("benchmark", tone_bytes=audio_bytes)


@cache
def answer(shape: str, audio_bytes: int, origin: str) -> bytes:
    """Return a whole HTTP answer, head and body."""
    audio_data = audio(audio_bytes)
    if shape == "raw":
        return http_answer(audio_data, "audio/wav")
    url = f"{origin}/audio/{audio_bytes}"
    audio_json = {"url": url} if shape == "url" else {"data": base64.b64encode(audio_data).decode()}
    payload = {"status_code": 200, "request_id": "benchmark", "output": {"finish_reason": "stop", "audio": audio_json}}
    return http_answer(json.dumps(payload).encode())


def http_answer(body: bytes, content_type: str = "application/json", status: str = "200 OK") -> bytes:
    """Return the bytes of an HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
