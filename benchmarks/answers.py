"""What the load service answers, told by the service's base URL, and prepared once."""

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
"""How many times longer a slow row takes."""

_SLOW_PLACE = 37
_PATH = re.compile(r"/(\w+)-(\d+)-(\d+)-(\d+)(?:/.*)?")
_ROW = b"row "


@dataclass(frozen=True, slots=True)
class AnswerSpec:
    """How a request is answered.

    Args:
        shape: ``base64`` (Ali JSON with data), ``raw`` (the bytes) or ``url`` (Ali JSON with a URL).
        audio_bytes: Bytes of samples; a WAV header comes before them.
        latency_ms: From a request's last byte to its answer; the fetch of a URL takes none.
        slow_every: One row of so many is ``SLOWER`` times slower, the same ones for everybody; 0 is none.
    """

    shape: str = "base64"
    audio_bytes: int = 20_000
    latency_ms: int = 200
    slow_every: int = 0

    def base_url(self, origin: str) -> str:
        """Return the base URL of a service at ``origin`` that answers so."""
        return f"{origin}/{self.shape}-{self.audio_bytes}-{self.latency_ms}-{self.slow_every}"

    @classmethod
    def from_path(cls, path: str) -> Self | None:
        """Return what a request's path asks for; None where it is no such path."""
        match = _PATH.fullmatch(path)
        if match is None or match[1] not in SHAPES:
            return None
        return cls(match[1], int(match[2]), int(match[3]), int(match[4]))

    def delay_s(self, body: bytes) -> float:
        """Return how long a request waits for its answer."""
        slow = self.slow_every and row_number(body) % self.slow_every == _SLOW_PLACE % self.slow_every
        return self.latency_ms * (SLOWER if slow else 1) / 1_000


def text_of(number: int) -> str:
    """Return the text of a row: distinct, of a usual length, and telling its number to the service."""
    return f"This is row {number:07} of a text that somebody wants to have read aloud."


def row_number(body: bytes) -> int:
    """Return the number of the row whose text is in a request's body; 0 where there is none."""
    place = body.find(_ROW)
    digits = body[place + len(_ROW) : place + len(_ROW) + 7] if place >= 0 else b""
    return int(digits) if digits.isdigit() else 0


@cache
def audio(audio_bytes: int) -> bytes:
    """Return the audio of every answer of a size."""
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
    """Return an answer as it goes over the wire."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
