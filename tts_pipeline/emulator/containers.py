"""What stands around the sound of an answer, when it is not one file with a true header. Pure."""

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
class Contained:
    """Audio as it is sent.

    Args:
        audio: The bytes.
        content_type: What they are called.
        headers: That tell more of them.
    """

    audio: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def contain(sent: Contained, sample_rate_hz: int, container: str | None) -> Contained:
    """Return audio in one of the ``CONTAINERS``; None is as it is.

    Args:
        sent: A WAV, or headerless 16-bit samples; other files only where the container is about whole files.
        sample_rate_hz: Of it.
        container: Its name.
    """
    return sent if container is None else _CONTAINED[container](sent, sample_rate_hz)


def _before(junk: bytes) -> Callable[[Contained, int], Contained]:
    return lambda one, _: Contained(junk + one.audio, one.content_type)


def _times(count: int) -> Callable[[Contained, int], Contained]:
    return lambda one, _: Contained(one.audio * count, one.content_type)


def _samples(one: Contained) -> bytes:
    return one.audio[_HEADER_BYTES:] if one.audio.startswith(b"RIFF") else one.audio


def _l16(one: Contained, rate_hz: int) -> Contained:
    samples = _samples(one)
    samples = samples[: len(samples) // 2 * 2]
    swapped = bytearray(len(samples))
    swapped[::2], swapped[1::2] = samples[1::2], samples[::2]
    return Contained(bytes(swapped), f"audio/L16;rate={rate_hz};channels=1")


def _pcm_typed(one: Contained, rate_hz: int) -> Contained:
    return Contained(_samples(one), f"audio/pcm;rate={rate_hz}")


def _pcm_header(one: Contained, rate_hz: int) -> Contained:
    return Contained(_samples(one), "audio/pcm", {"X-Sample-Rate": str(rate_hz)})


def _with_head(place: int, value: bytes) -> Callable[[Contained, int], Contained]:
    def absurd(one: Contained, _: int) -> Contained:
        return Contained(one.audio[:place] + value + one.audio[place + len(value) :], one.content_type)

    return absurd


def _garbage(one: Contained, _: int) -> Contained:
    return Contained(Random(7).randbytes(len(one.audio) // 2 * 2), one.content_type)


def _bomb(_one: Contained, _rate_hz: int) -> Contained:
    return Contained(bomb(), "audio/flac")


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


_CONTAINED: Mapping[str, Callable[[Contained, int], Contained]] = {
    "twice": _times(2),
    "thrice": _times(3),
    "blanks": _before(b"\r\n"),
    "zeros": _before(bytes(700)),
    "bom": _before(b"\xef\xbb\xbf"),
    "l16": _l16,
    "pcm_typed": _pcm_typed,
    "pcm_header": _pcm_header,
    "garbage": _garbage,
    "bomb": _bomb,
    "absurd_rate": _with_head(24, b"\xff\xff\xff\xff"),
    "absurd_channels": _with_head(22, b"\xff\xff"),
}
"""Each container by its name in a rule."""
