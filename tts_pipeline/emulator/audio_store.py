"""Audio served by URL, for a limited time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from tts_pipeline.emulator.rules import NO_FAULT, Rule

CAPACITY_BYTES = 128 * 1024 * 1024
"""The oldest audio is forgotten beyond this."""


@dataclass(frozen=True, slots=True)
class AudioFile:
    """Audio behind a URL.

    Args:
        audio: The bytes.
        content_type: Of the audio.
        expires_at: When it is served no more, in seconds since 1970 UTC; None is never.
        rule: How the fetch goes wrong.
    """

    audio: bytes
    content_type: str
    expires_at: float | None = None
    rule: Rule = NO_FAULT


class AudioStore:
    """Audio by name.

    Args:
        capacity_bytes: The oldest are forgotten beyond this, but never the newest.
    """

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._by_name: OrderedDict[str, AudioFile] = OrderedDict()

    def put(self, name: str, file: AudioFile) -> None:
        """Keep audio under a name."""
        self._by_name[name] = file
        self._bytes += len(file.audio)
        while self._bytes > self._capacity_bytes and len(self._by_name) > 1:
            _, oldest = self._by_name.popitem(last=False)
            self._bytes -= len(oldest.audio)

    def get(self, name: str) -> AudioFile | None:
        """Return the audio of that name; None when it never was or is forgotten."""
        return self._by_name.get(name)
