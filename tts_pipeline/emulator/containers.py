"""Containers around an answer's audio that are not one file with a true header. Pure."""

from __future__ import annotations

import struct
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
    """Audio as it is sent.

    Args:
        audio: The bytes.
        content_type: What they are called.
        headers: That tell more of them.
    """

    audio: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def wrap_audio(payload: AudioPayload, sample_rate_hz: int, container: str | None) -> AudioPayload:
    """Return audio in one of the ``CONTAINERS``; None is as it is.

    Args:
        payload: A WAV, or headerless 16-bit samples; other files only where the container is about whole files.
        sample_rate_hz: Of it.
        container: Its name.
    """
    return payload if container is None else _WRAPPERS[container](payload, sample_rate_hz)


def _prefix(junk: bytes) -> Callable[[AudioPayload, int], AudioPayload]:
    return lambda payload, _: AudioPayload(junk + payload.audio, payload.content_type)


def _repeat(count: int) -> Callable[[AudioPayload, int], AudioPayload]:
    return lambda payload, _: AudioPayload(payload.audio * count, payload.content_type)


def _samples(payload: AudioPayload) -> bytes:
    return payload.audio[_HEADER_BYTES:] if payload.audio.startswith(b"RIFF") else payload.audio


def _l16(payload: AudioPayload, rate_hz: int) -> AudioPayload:
    samples = _samples(payload)
    samples = samples[: len(samples) // 2 * 2]
    swapped = bytearray(len(samples))
    swapped[::2], swapped[1::2] = samples[1::2], samples[::2]
    return AudioPayload(bytes(swapped), f"audio/L16;rate={rate_hz};channels=1")


def _pcm_typed(payload: AudioPayload, rate_hz: int) -> AudioPayload:
    return AudioPayload(_samples(payload), f"audio/pcm;rate={rate_hz}")


def _pcm_header(payload: AudioPayload, rate_hz: int) -> AudioPayload:
    return AudioPayload(_samples(payload), "audio/pcm", {"X-Sample-Rate": str(rate_hz)})


def _patch_header(offset: int, value: bytes) -> Callable[[AudioPayload, int], AudioPayload]:
    def patch(payload: AudioPayload, _: int) -> AudioPayload:
        return AudioPayload(payload.audio[:offset] + value + payload.audio[offset + len(value) :], payload.content_type)

    return patch


def _garbage(payload: AudioPayload, _: int) -> AudioPayload:
    return AudioPayload(Random(7).randbytes(len(payload.audio) // 2 * 2), payload.content_type)


def _bomb(_payload: AudioPayload, _rate_hz: int) -> AudioPayload:
    return AudioPayload(bomb(), "audio/flac")


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


_WRAPPERS: Mapping[str, Callable[[AudioPayload, int], AudioPayload]] = {
    "twice": _repeat(2),
    "thrice": _repeat(3),
    "blanks": _prefix(b"\r\n"),
    "zeros": _prefix(bytes(700)),
    "bom": _prefix(b"\xef\xbb\xbf"),
    "l16": _l16,
    "pcm_typed": _pcm_typed,
    "pcm_header": _pcm_header,
    "garbage": _garbage,
    "bomb": _bomb,
    "absurd_rate": _patch_header(24, b"\xff\xff\xff\xff"),
    "absurd_channels": _patch_header(22, b"\xff\xff"),
}
"""Each container by its name in a rule."""
