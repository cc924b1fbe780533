"""Real files of every format, written by libsndfile: a second of a tone with a little noise."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import soundfile

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "wav float": ("WAV", "FLOAT"),
    "wav mu-law": ("WAV", "ULAW"),
    "wav adpcm": ("WAV", "IMA_ADPCM"),
    "wav extensible": ("WAVEX", "PCM_24"),
    "wav rf64": ("RF64", "PCM_16"),
    "mp3": ("MP3", None),
    "flac": ("FLAC", None),
    "ogg vorbis": ("OGG", "VORBIS"),
    "ogg opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", None),
    "au": ("AU", None),
    "caf": ("CAF", None),
}
"""Our name (its first word is what ``identify`` says) -> libsndfile's format and subtype."""


@cache
def sample(name: str, *, sample_rate_hz: int = 24_000, channels: int = 1, seconds: float = 1.0) -> bytes:
    """Return a whole file of a format."""
    times = np.arange(int(sample_rate_hz * seconds)) / sample_rate_hz
    noise = np.random.default_rng(7).normal(0, 0.02, len(times))
    tone = np.sin(2 * np.pi * 220 * times) * 0.3 + noise
    file = io.BytesIO()
    kind, subtype = FORMATS[name]
    soundfile.write(file, np.stack([tone] * channels, axis=1), sample_rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


def pcm(seconds: float = 1.0, sample_rate_hz: int = 24_000) -> bytes:
    """Return headerless 16-bit mono samples."""
    return sample("wav", sample_rate_hz=sample_rate_hz, seconds=seconds)[44:]


def kind_of(name: str) -> str:
    """Return what ``identify`` says of a sample."""
    return name.partition(" ")[0]
