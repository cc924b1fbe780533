"""Resample and encode samples for an answer."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    # Only the processes that make sound load numpy, so that the serving process starts sooner.
    import numpy as np
    import numpy.typing as npt

Samples: TypeAlias = "npt.NDArray[np.int16]"
"""Mono samples of 16 bits."""

CONTENT_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "pcm": "audio/pcm"}


class SynthesisError(Exception):
    """The voice failed; nothing was spoken."""


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of the text and its time; ``begin_index`` and ``end_index`` are its half-open range in the text."""

    text: str
    begin_ms: int
    end_ms: int
    begin_index: int
    end_index: int


@dataclass(frozen=True, slots=True)
class SynthesisResult:
    """A spoken text: audio in the requested format, and the words in order; None if they were not requested."""

    audio: bytes
    words: tuple[TimedWord, ...] | None = None


@lru_cache(maxsize=256)
def wav_header(sample_bytes: int, sample_rate_hz: int) -> bytes:
    """Return the header of 44 bytes for mono samples of 16 bits."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", sample_bytes + 36, b"WAVE", b"fmt ", 16),
        *(1, 1, sample_rate_hz, sample_rate_hz * 2, 2, 16),
        *(b"data", sample_bytes),
    )


def encode(samples: Samples, sample_rate_hz: int, response_format: str) -> bytes:
    """Return samples as ``wav``, ``mp3`` or headerless ``pcm``."""
    if response_format == "mp3":
        return _mp3(samples, sample_rate_hz)
    data = samples.tobytes()
    return data if response_format == "pcm" else wav_header(len(data), sample_rate_hz) + data


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """Return the same sound at another sample rate."""
    import soxr

    return samples if from_hz == to_hz else soxr.resample(samples, from_hz, to_hz)


def _mp3(samples: Samples, sample_rate_hz: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format="MP3")
    return file.getvalue()
