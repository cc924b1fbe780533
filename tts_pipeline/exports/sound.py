"""The audio of one row as an export is to have it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tts_pipeline.audio.convert import target_of
from tts_pipeline.config import AudioSettings
from tts_pipeline.errors import PermanentError, TransientError
from tts_pipeline.models import Audio

COLUMNS = ("audio_format", "sample_rate_hz", "channels", "duration_ms")
"""What a row says of its audio."""

_UNKNOWN_FRAMES = 1 << 62
"""libsndfile tells a length near 2**63 where a header has none."""


def audio_of(row: Mapping[str, Any], data: bytes = b"") -> Audio:
    """Return a row's audio; without its bytes, only what is said of it."""
    return Audio(data, row["audio_format"], row["sample_rate_hz"], row["channels"], row["duration_ms"])


def format_of(row: Mapping[str, Any], wanted: AudioSettings) -> tuple[str, int]:
    """Return the format and the sample rate that a row's audio will have; its own where it cannot be converted."""
    try:
        return target_of(audio_of(row), wanted)
    except PermanentError:
        return row["audio_format"], row["sample_rate_hz"]


def frames_of(audio: Audio) -> int | None:
    """Return the samples in each channel, as a decoder counts them; None where none of ours reads the format."""
    from tts_pipeline.audio.samples import opened

    try:
        with opened(audio.data, audio.format) as file:
            return int(file.frames) if file.frames < _UNKNOWN_FRAMES else None
    except TransientError:
        return None
