"""Wrap an answer's audio in unusual containers: repeated, padded, headerless, or with a false header. Pure."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random

_HEADER_BYTES = 44
_BOMB_HZ = 8_000
_BOMB_FRAMES = 1_000
_BOMB_BLOCK = 65_535


@dataclass(frozen=True, slots=True)
class AudioPayload:
    """Audio as it is sent, with its content type and the headers that describe it."""

    audio: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


_Wrapper = Callable[[AudioPayload, int], AudioPayload]
"""Wraps audio of a sample rate in Hz in a container."""


def wrap_audio(payload: AudioPayload, sample_rate_hz: int, container: str | None) -> AudioPayload:
    """Return audio in one of the ``CONTAINERS``; None leaves it unchanged.

    The payload is a WAV or headerless 16-bit samples; containers of whole files take other files as well.
    """
    return payload if container is None else _WRAPPERS[container](payload, sample_rate_hz)


def _with_audio(change: Callable[[bytes], bytes]) -> _Wrapper:
    return lambda payload, _: AudioPayload(change(payload.audio), payload.content_type)


def _samples(payload: AudioPayload) -> bytes:
    return payload.audio[_HEADER_BYTES:] if payload.audio.startswith(b"RIFF") else payload.audio


def _l16(payload: AudioPayload, rate_hz: int) -> AudioPayload:
    samples = _samples(payload)
    swapped = array("H", samples[: len(samples) // 2 * 2])
    swapped.byteswap()
    return AudioPayload(swapped.tobytes(), f"audio/L16;rate={rate_hz};channels=1")


def _patch_header(offset: int, value: bytes) -> _Wrapper:
    return _with_audio(lambda audio: audio[:offset] + value + audio[offset + len(value) :])


@cache
def bomb() -> bytes:
    """Return 14 kB of FLAC that decode to 2.3 hours of silence (RFC 9639: every block is one constant)."""
    packed = _BOMB_HZ << 44 | 15 << 36 | _BOMB_FRAMES * _BOMB_BLOCK
    info = struct.pack(">HH6xQ16x", _BOMB_BLOCK, _BOMB_BLOCK, packed)
    return b"fLaC\x80\0\0\x22" + info + b"".join(map(_silent_frame, range(_BOMB_FRAMES)))


def _silent_frame(number: int) -> bytes:
    head = b"\xff\xf8\x70\x00" + chr(number).encode() + (_BOMB_BLOCK - 1).to_bytes(2)
    frame = head + _crc(head, 8, 0x07) + b"\0\0\0"
    return frame + _crc(frame, 16, 0x8005)


def _crc(data: bytes, bits: int, polynomial: int) -> bytes:
    value = 0
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial | 1 << bits if value >> bits - 1 else 0)
    return value.to_bytes(bits // 8)


_WRAPPERS: Mapping[str, _Wrapper] = {
    "twice": _with_audio(lambda audio: 2 * audio),
    "thrice": _with_audio(lambda audio: 3 * audio),
    "blanks": _with_audio(lambda audio: b"\r\n" + audio),
    "zeros": _with_audio(lambda audio: bytes(700) + audio),
    "bom": _with_audio(lambda audio: b"\xef\xbb\xbf" + audio),
    "l16": _l16,
    "pcm_typed": lambda payload, rate_hz: AudioPayload(_samples(payload), f"audio/pcm;rate={rate_hz}"),
    "pcm_header": lambda payload, rate_hz: AudioPayload(
        _samples(payload), "audio/pcm", {"X-Sample-Rate": str(rate_hz)}
    ),
    "garbage": _with_audio(lambda audio: Random(7).randbytes(len(audio) // 2 * 2)),
    "bomb": lambda _payload, _rate_hz: AudioPayload(bomb(), "audio/flac"),
    "absurd_rate": _patch_header(24, b"\xff\xff\xff\xff"),
    "absurd_channels": _patch_header(22, b"\xff\xff"),
}
"""Each container by its name in a rule."""
