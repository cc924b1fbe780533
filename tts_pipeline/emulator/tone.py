"""Make cheap audio that differs for each text: a hash of the text chooses an offset in one long tone."""

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
"""70 ms per character, about as long as a voice takes."""


def tone(
    text: str, *, tone_bytes: int | None = None, sample_rate_hz: int = 24_000, response_format: str = "wav"
) -> bytes:
    """Return the audio of the tone mode for a text, which a test can compute as well.

    The same text always gives the same bytes, on any machine and in any process, and another text gives other bytes:
    the first 64 samples spell its hash. Voice, speed, pitch and volume make no difference.

    ``tone_bytes`` counts the samples without the header, rounded down to an even number; None is 70 ms per character.
    The format is ``wav`` or ``pcm``; ``mp3`` is the same sound, compressed, and not cheap.
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
    """Return the tone for a request; if timestamps are requested, with the words spread evenly over the tone."""
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
"""Each byte as eight samples."""


@cache
def _hum(blocks: int) -> memoryview:
    """Return a hum that drifts upwards, computed in integers only, so that it is the same on every machine."""
    import numpy as np

    sample_number = np.arange(blocks * _BLOCK_BYTES // 2, dtype=np.int64)
    phase = sample_number * 600 + sample_number * sample_number // 6_667 & 0xFFFF
    return memoryview(((abs(phase - 0x8000) - 0x4000) * 3 // 8).astype("<i2").tobytes())
