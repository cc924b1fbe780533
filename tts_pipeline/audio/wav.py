"""Read, correct and write WAV headers (RIFF, big-endian RIFX, 64-bit RF64).

A streamed header is written before the length is known, and its sizes are placeholders: the actual bytes decide.
Layouts: Microsoft's RIFF/WAVE documents, EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tts_pipeline.audio.clip_limits import check_rate_and_channels, is_plausible_rate
from tts_pipeline.config import MAX_CHANNELS
from tts_pipeline.errors import UnreadableError

PLAIN_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_SIZES = struct.Struct("<4sI32sI")
_LAYOUT = struct.Struct("<4s4sIHHIIHH4s")
_EXTENSIBLE = 0xFFFE
_LINEAR = {1: range(8, 33), 3: (32, 64), 6: (8,), 7: (8,)}
"""Possible bits per sample in PCM, float, A-law and mu-law, whose samples all have the same size."""

_MAX_PADDING_BYTES = 64
_TAGS = (b"TAG", b"ID3", b"APETAGEX")

_PLACEHOLDER = 0x7FFF0000
"""A size from this on is a placeholder (0x7FFFFFBF, 0x7FFFFFFF, 0xFFFFFFFF occur): no answer may be that large."""


class MalformedWavError(ValueError):
    """The bytes are not a whole WAV. Never leaves the package: it becomes ``MalformedAudio``."""


class Wav(NamedTuple):
    """A playable WAV file, the same object as received if its header was right; its bytes determine ``frames``.

    ``is_measured``: the header had no length, so a cut would not show. ``is_linear``: every sample has the same size;
    otherwise only decoding determines their number.
    """

    data: bytes
    sample_rate_hz: int
    channels: int
    frames: int
    is_measured: bool
    is_linear: bool = True

    @property
    def is_mono_16_bit(self) -> bool:
        """Whether the usual file has one channel of 16 bits."""
        return self.channels == 1 and PLAIN_HEADER.size + 2 * self.frames == len(self.data)


@dataclass(frozen=True, slots=True)
class _Format:
    tag: int
    channels: int
    sample_rate_hz: int
    byte_rate: int
    block_bytes: int
    chunk: bytes


@dataclass(slots=True)
class _Chunks:
    """The content of a file's chunks, with declared sizes."""

    format: _Format | None = None
    data_offset: int = 0
    declared_bytes: int = 0
    long_bytes: int = 0
    fact_frames: int | None = None


def wav_header(size: int, sample_format: tuple[int, int, int, int]) -> bytes:
    """Return the header of 44 bytes for ``size`` bytes of samples; the format is tag, sample rate, channels, bits."""
    tag, sample_rate_hz, channels, bits = sample_format
    block = bits // 8 * channels
    rate = (channels, sample_rate_hz, sample_rate_hz * block, block, bits)
    return PLAIN_HEADER.pack(b"RIFF", 36 + size + size % 2, b"WAVE", b"fmt ", 16, tag, *rate, b"data", size)


def read_wav(data: bytes) -> Wav:
    """Return a playable WAV file with correct sizes; the same bytes if its sizes were correct.

    Raises:
        MalformedWavError: The file is cut (shorter than its real sizes say), empty, or not a WAV.
        UnreadableError: ``ImplausibleAudio``: a sample rate or channels that no speech has; ``UnsupportedAudio``: an
            impossible size of samples, or two pieces of sound.
    """
    return read_canonical(data) or _read_chunks(data)


def is_canonical(data: bytes) -> bool:
    """Return whether this is a single file with the usual header and correct sizes."""
    return read_canonical(data) is not None


def end_of_wav(data: bytes) -> int | None:
    """Return the end of a playable file by its own sizes; None if they are missing or contradict each other."""
    order = ">" if data[:4] == b"RIFX" else "<"
    chunks = _scan_chunks(data, order)
    end, riff_bytes = chunks.data_offset + chunks.declared_bytes, _riff_bytes(data, order)
    return riff_bytes if chunks.declared_bytes and end <= riff_bytes <= len(data) else None


def read_canonical(data: bytes) -> Wav | None:
    """Read the usual file (a header of 44 bytes, correct sizes) without scanning its chunks; None for any other."""
    if len(data) <= PLAIN_HEADER.size:
        return None
    riff, size, layout_bytes, length = _SIZES.unpack_from(data)
    layout = _read_layout(layout_bytes)
    if layout is None or riff != b"RIFF" or size != len(data) - 8 or length != len(data) - 44:
        return None
    rate, channels, block = layout
    return None if length % block else Wav(data, rate, channels, length // block, False)


@lru_cache(maxsize=64)
def _read_layout(layout: bytes) -> tuple[int, int, int] | None:
    """Read the part of the usual header that all answers of a voice share: rate, channels, bytes of a frame."""
    wave, fmt, fmt_size, tag, channels, rate, _, block, bits, name = _LAYOUT.unpack(layout)
    if (wave, fmt, fmt_size, tag, name) != (b"WAVE", b"fmt ", 16, 1, b"data"):
        return None
    is_sound = 0 < channels <= MAX_CHANNELS and bits and block * 8 == channels * bits and is_plausible_rate(rate)
    return (rate, channels, block) if is_sound else None


def _read_chunks(data: bytes) -> Wav:
    order = ">" if data[:4] == b"RIFX" else "<"
    chunks = _scan_chunks(data, order)
    wav_format = chunks.format
    if wav_format is None or not chunks.data_offset:
        raise MalformedWavError("the WAV lacks its format or its data")
    length, is_measured = _true_length(data, order, chunks, len(data) - chunks.data_offset)
    if wav_format.tag in _LINEAR:
        length -= length % wav_format.block_bytes
    frames = _count_frames(wav_format, chunks.fact_frames, length)
    if frames <= 0:
        raise MalformedWavError("the WAV has a header but no sound")
    has_true_sizes = data[:4] in {b"RIFF", b"RIFX"} and _riff_bytes(data, order) == len(data)
    if has_true_sizes and chunks.declared_bytes == length:
        file = data
    else:
        fact_frames = None if chunks.fact_frames is None else frames
        file = _mend(memoryview(data)[chunks.data_offset :][:length], order, wav_format.chunk, fact_frames)
    return Wav(file, wav_format.sample_rate_hz, wav_format.channels, frames, is_measured, wav_format.tag in _LINEAR)


def _scan_chunks(data: bytes, order: str) -> _Chunks:
    header = struct.Struct(order + "4sI")
    chunks, offset = _Chunks(), 12
    while offset + 8 <= len(data):
        name, size = header.unpack_from(data, offset)
        body = offset + 8
        if name == b"data":
            chunks.data_offset, chunks.declared_bytes = body, size
            break
        if name == b"fmt ":
            chunks.format = _read_format(data[body : body + size], order)
        elif name == b"fact" and size >= 4 and body + 4 <= len(data):
            chunks.fact_frames = struct.unpack_from(order + "I", data, body)[0]
        elif name == b"ds64" and size >= 16 and body + 16 <= len(data):
            chunks.long_bytes = struct.unpack_from(order + "Q", data, body + 8)[0]
        offset = body + size + (size & 1)
    return chunks


def _read_format(chunk: bytes, order: str) -> _Format:
    if len(chunk) < 16:
        raise MalformedWavError("the WAV's format is cut")
    tag, channels, rate, byte_rate, block, bits = struct.unpack_from(order + "HHIIHH", chunk)
    check_rate_and_channels("wav", rate, channels)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = struct.unpack_from(order + "H", chunk, 24)[0]
    if bits not in _LINEAR.get(tag, (bits,)):
        raise UnreadableError(
            f"the WAV claims samples of {bits} bits in format {tag}, which this package cannot read",
            code="UnsupportedAudio",
        )
    if tag in _LINEAR:
        block = channels * ((bits + 7) // 8)
    if not block:
        raise MalformedWavError("the WAV claims samples of 0 bits")
    return _Format(tag, channels, rate, byte_rate, block, chunk)


def _true_length(data: bytes, order: str, chunks: _Chunks, present_bytes: int) -> tuple[int, bool]:
    """Return the length of the samples in bytes, and whether it is only measured from the actual bytes."""
    declared = chunks.long_bytes if chunks.declared_bytes == 0xFFFFFFFF and chunks.long_bytes else chunks.declared_bytes
    if declared == 0 or declared >= _PLACEHOLDER:
        riff_bytes = _riff_bytes(data, order)
        if declared == 0 and riff_bytes == len(data):
            return 0, False
        if len(data) < riff_bytes < _PLACEHOLDER:
            raise MalformedWavError(f"the WAV is cut: {len(data)} of {riff_bytes} bytes")
        return present_bytes, riff_bytes != len(data)
    if declared > present_bytes:
        raise MalformedWavError(f"the WAV is cut: {present_bytes} of {declared} bytes of samples")
    end = chunks.data_offset + declared + (declared & 1)
    if declared < present_bytes and not _is_chunks(data, order, end) and not _is_padding(data, order, end):
        # The header was written for the first piece of a stream: more samples follow than it says.
        return present_bytes, True
    return declared, False


def _is_padding(data: bytes, order: str, end: int) -> bool:
    """Return whether the data after a consistent file is not sound: a tag, zeros, or a few bytes as a line end."""
    is_whole = _riff_bytes(data, order) == end or data[:4] in {b"RF64", b"BW64"}
    return is_whole and (
        len(data) - end < _MAX_PADDING_BYTES or data.startswith(_TAGS, end) or not any(memoryview(data)[end:])
    )


def _is_chunks(data: bytes, order: str, offset: int) -> bool:
    """Return whether only chunks (LIST, id3, ...) follow the samples; the last chunk may be cut."""
    while offset + 8 <= len(data):
        name, size = struct.unpack_from(order + "4sI", data, offset)
        if not (name.isascii() and name.decode("ascii").isprintable()):
            return False
        if name == b"data":
            raise UnreadableError("the WAV has two pieces of sound", code="UnsupportedAudio")
        offset += 8 + size + (size & 1)
    return True


def _count_frames(wav_format: _Format, fact_frames: int | None, length: int) -> int:
    if wav_format.tag in _LINEAR:
        return length // wav_format.block_bytes
    if fact_frames and length:
        return fact_frames
    return length * wav_format.sample_rate_hz // wav_format.byte_rate if wav_format.byte_rate else 0


def _riff_bytes(data: bytes, order: str) -> int:
    size: int = struct.unpack_from(order + "I", data, 4)[0]
    return size + 8


def _mend(samples: memoryview, order: str, chunk: bytes, fact_frames: int | None) -> bytes:
    """Return a file with correct sizes and only the chunks that players need."""
    length = len(samples)
    fmt, padding = chunk + b"\0" * (len(chunk) & 1), b"\0" * (length & 1)
    fact = b"" if fact_frames is None else struct.pack(order + "4sII", b"fact", 4, fact_frames)
    body = 4 + 8 + len(fmt) + len(fact) + 8 + length + len(padding)
    name = b"RIFX" if order == ">" else b"RIFF"
    head = struct.pack(order + "4sI4s4sI", name, body, b"WAVE", b"fmt ", len(chunk))
    return b"".join((head, fmt, fact, struct.pack(order + "4sI", b"data", length), samples, padding))
