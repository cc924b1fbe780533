"""Cheap audio that is distinct for each text: a hash chooses where in one long tone it starts."""

from __future__ import annotations

import hashlib
import struct
from functools import cache

import regex

from tts_pipeline.emulator.audio import SynthesisResult, TimedWord, encode, wav_header
from tts_pipeline.emulator.request import SpeechRequest

_OFFSETS = 1 << 19
_LOUDNESS_OF_MARK = 1_000
_SAMPLES_PER_CHARACTER_AT_24K = 1_680
"""70 ms a character, about what a voice takes."""


def tone(
    text: str, *, tone_bytes: int | None = None, sample_rate_hz: int = 24_000, response_format: str = "wav"
) -> bytes:
    """Return the audio that the tone mode answers for a text, so that a test can compute it anew.

    The same text always gives the same bytes, on any machine and in any process, and another text gives others: the
    first 64 samples spell its hash. Voice, speed, pitch and volume make no difference.

    ``tone_bytes`` are of samples (an odd one is cut off), header not counted; None is 70 ms a character. The format is
    ``wav`` or ``pcm``; ``mp3`` is the same sound, compressed, and not cheap.
    """
    if tone_bytes is None:
        tone_bytes = len(text) * _SAMPLES_PER_CHARACTER_AT_24K * sample_rate_hz // 24_000 * 2
    size = tone_bytes // 2 * 2
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    start = int.from_bytes(digest, "big") % _OFFSETS * 2
    mark = b"".join([_MARKS[byte] for byte in digest])[:size]
    data = mark + _hum((start + size) // _BLOCK_BYTES + 1)[start + len(mark) : start + size]
    if response_format == "pcm":
        return data
    if response_format == "mp3":
        import numpy as np

        return encode(np.frombuffer(data, np.int16), sample_rate_hz, "mp3")
    return wav_header(size, sample_rate_hz) + data


def speak_tone(request: SpeechRequest, tone_bytes: int | None) -> SynthesisResult:
    """Return the tone for a request, with its words spread evenly over it when they are asked for."""
    audio = tone(
        request.text,
        tone_bytes=tone_bytes,
        sample_rate_hz=request.sample_rate_hz,
        response_format=request.response_format,
    )
    if not request.timestamps:
        return SynthesisResult(audio)
    samples = tone_bytes // 2 if tone_bytes else len(request.text) * _SAMPLES_PER_CHARACTER_AT_24K
    rate_hz = request.sample_rate_hz if tone_bytes else 24_000
    return SynthesisResult(audio, _even_words(request.text, samples * 1_000 // rate_hz))


_WORD = regex.compile(r"\p{Han}|[\w\p{M}--\p{Han}]+", regex.V1)


def _even_words(text: str, duration_ms: int) -> tuple[TimedWord, ...]:
    each_ms = duration_ms / len(text)
    return tuple(
        TimedWord(match.group(), int(match.start() * each_ms), int(match.end() * each_ms), *match.span())
        for match in _WORD.finditer(text)
    )


_BLOCK_BYTES = 1 << 22

_MARKS = tuple(
    struct.pack("<8h", *(_LOUDNESS_OF_MARK if byte >> bit & 1 else -_LOUDNESS_OF_MARK for bit in range(8)))
    for byte in range(256)
)
"""A byte, spelt as eight samples."""


@cache
def _hum(blocks: int) -> memoryview:
    """A hum that drifts upwards, in whole numbers only, so that it is the same on every machine; prepared once."""
    import numpy as np

    sample_number = np.arange(blocks * _BLOCK_BYTES // 2, dtype=np.int64)
    phase = sample_number * 600 + sample_number * sample_number // 6_667 & 0xFFFF
    return memoryview(((abs(phase - 0x8000) - 0x4000) * 3 // 8).astype("<i2").tobytes())
