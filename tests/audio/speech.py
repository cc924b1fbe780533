"""Speech of the local service, and sounds made up by numbers, as audio."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tests.audio.waveform import Waveform, encode_waveform
from tests.patience import patience
from tts_pipeline.audio.encodings import encoding_of
from tts_pipeline.audio.measure import make_playable
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.models import Audio

UDHR = Path(__file__).parents[3] / "shared" / "data" / "udhr.parquet"
"""Real text beside the repository; tests skip where it is absent."""

TAGS = {
    "Chinese": "zh", "English": "en", "French": "fr", "German": "de", "Italian": "it", "Japanese": "ja",
    "Korean": "ko", "Portuguese": "pt", "Russian": "ru", "Spanish": "es",
}  # fmt: skip
"""Language type -> BCP-47."""

EUROPEAN = ("English", "French", "German", "Italian", "Portuguese", "Russian", "Spanish")


def audio_of(data: bytes) -> Audio:
    """Return bytes as the client would take them."""
    return make_playable(data, complete=True)[0]


def speak(service: LocalService, text: str, language_type: str = "English", **parameters: Any) -> Audio:
    """Return a text as the local service speaks it."""
    body = {"model": "qwen3-tts-instruct-flash", "input": text, "voice": "Cherry", "language_type": language_type}
    answer = httpx.post(f"{service.url}/v1/audio/speech", json=body | parameters, trust_env=False, timeout=patience(30))
    return audio_of(base64.b64decode(answer.raise_for_status().json()["output"]["audio"]["data"]))


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
