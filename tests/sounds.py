"""Sounds: real files of every format, sounds made up by numbers, what the local service speaks, and samples of all."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import soundfile

from tests.machine import patience
from tts_pipeline.audio.encodings import Encoding, encoding_of
from tts_pipeline.audio.identify import locate_audio
from tts_pipeline.audio.measure import make_pcm_playable, make_playable
from tts_pipeline.audio.pcm import PcmFormat
from tts_pipeline.audio.samples import Samples, SampleStream, encode, open_stream
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.models import Audio

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


class Waveform(NamedTuple):
    """Decoded audio.

    Args:
        samples: Frames x channels. 32-bit floats hold every 16-bit and every 24-bit sample exactly.
        sample_rate_hz: Frames a second.
    """

    samples: Samples
    sample_rate_hz: int

    @property
    def frames(self) -> int:
        """Samples per channel."""
        return len(self.samples)

    @property
    def channels(self) -> int:
        """1 is mono."""
        return int(self.samples.shape[1])

    @property
    def stream(self) -> SampleStream:
        """The sound as a stream of one block."""
        return SampleStream(iter((self.samples,)), self.sample_rate_hz, self.channels)

    def resampled(self, rate_hz: int) -> Waveform:
        """Return the same sound at another sample rate; itself where it has that rate."""
        return self if rate_hz == self.sample_rate_hz else _collect(self.stream.resampled(rate_hz))

    def with_channels(self, channels: int) -> Waveform:
        """Return the same sound in another number of channels; itself where it has that number."""
        return self if channels == self.channels else _collect(self.stream.with_channels(channels))


def _collect(stream: SampleStream) -> Waveform:
    blocks = list(stream.blocks) or [np.empty((0, stream.channels), np.float32)]
    return Waveform(blocks[0] if len(blocks) == 1 else np.concatenate(blocks), stream.sample_rate_hz)


def decode(audio: Audio) -> Waveform:
    """Return the samples of a file; none where it has a header only.

    Raises:
        ServiceError: As ``open_stream`` does.
    """
    with open_stream(audio) as stream:
        return _collect(stream)


def encode_waveform(sound: Waveform, encoding: Encoding) -> Audio:
    """Return a sound as a file."""
    return encode(sound.stream, encoding)


def adts_file(frames: int, *, payload_bytes: int = 93) -> bytes:
    """Return ADTS frames with empty payloads: AAC-LC, 24 kHz, mono."""
    length = 7 + payload_bytes
    header = bytes((0xFF, 0xF1, 0x58, 0x40 | length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC))
    return (header + b"\x21" * payload_bytes) * frames


def measure_bytes(
    data: bytes, *, pcm_sample_rate_hz: int | None = None, complete: bool = True
) -> tuple[Audio, tuple[str, ...]]:
    if data and pcm_sample_rate_hz is not None and locate_audio(data)[1] is None:
        return make_pcm_playable(data, PcmFormat(pcm_sample_rate_hz), complete)
    return make_playable(data, complete=complete)


MEASURED = [name for name in FORMATS if kind_of(name) in {"wav", "mp3", "flac", "ogg"}]


def page_checksum(page: bytes) -> int:
    """Return the checksum of an Ogg page (RFC 3533: polynomial 0x04c11db7, nothing reflected)."""
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    return checksum


UDHR = Path(__file__).parents[2] / "shared" / "data" / "udhr.parquet"
"""Real text beside the repository; tests skip where it is absent."""


LANGUAGE_TAGS = {
    "Chinese": "zh", "English": "en", "French": "fr", "German": "de", "Italian": "it", "Japanese": "ja",
    "Korean": "ko", "Portuguese": "pt", "Russian": "ru", "Spanish": "es",
}  # fmt: skip
"""Language type -> BCP-47."""


EUROPEAN = ("English", "French", "German", "Italian", "Portuguese", "Russian", "Spanish")


def playable_audio(data: bytes) -> Audio:
    """Return bytes as the client would take them."""
    return make_playable(data, complete=True)[0]


def speak(service: LocalService, text: str, language_type: str = "English", **parameters: Any) -> Audio:
    """Return a text as the local service speaks it."""
    body = {"model": "qwen3-tts-instruct-flash", "input": text, "voice": "Cherry", "language_type": language_type}
    answer = httpx.post(f"{service.url}/v1/audio/speech", json=body | parameters, trust_env=False, timeout=patience(30))
    return playable_audio(base64.b64decode(answer.raise_for_status().json()["output"]["audio"]["data"]))


def articles(language_type: str) -> Iterator[str]:
    """Yield the texts of a language that fit a request."""
    table = pq.read_table(UDHR, columns=["text", "language_type"])
    for row in table.to_pylist():
        if row["language_type"] == language_type and len(row["text"]) <= 600:
            yield row["text"]


def encode_samples(samples: npt.ArrayLike, sample_rate_hz: int = 24_000, name: str = "wav") -> Audio:
    """Return samples (-1 to 1; one column a channel) as audio."""
    columns = np.asarray(samples, np.float32)
    return encode_waveform(Waveform(columns.reshape(len(columns), -1), sample_rate_hz), encoding_of(name))


def voice(seconds: float = 1.0, sample_rate_hz: int = 24_000, *, seed: int = 1) -> npt.NDArray[np.float32]:
    """Return something like speech: a buzz with syllables, pauses and a soft end."""
    times = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    buzz = sum(np.sin(2 * np.pi * 120 * n * times + seed * n) / n for n in range(1, 20))
    syllables = np.sin(np.pi * 4 * times) ** 4
    ending = np.clip((seconds - times) / 0.05, 0, 1)
    return np.asarray(0.15 * buzz * syllables * ending, np.float32)


def noise(seconds: float, sample_rate_hz: int = 24_000, *, level: float = 0.1) -> npt.NDArray[np.float32]:
    """Return white noise, the same every time."""
    drawn = np.random.default_rng(7).normal(0, level, round(seconds * sample_rate_hz))
    return np.clip(drawn, -1, 1).astype(np.float32)
