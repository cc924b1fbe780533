"""Audio of one row in an export's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tts_pipeline.audio.clip_limits import check_length, check_rate_and_channels
from tts_pipeline.audio.convert import convert, target_format
from tts_pipeline.config import MAX_CLIP_S, AudioSettings
from tts_pipeline.errors import PermanentError, TransientError
from tts_pipeline.models import Audio

AUDIO_COLUMNS = ("audio_format", "sample_rate_hz", "channels", "duration_ms", "segments")
"""What a row says of its audio."""


def audio_of(row: Mapping[str, Any], data: bytes = b"") -> Audio:
    """Return a row's audio; without its bytes, only what is said of it."""
    return Audio(data, row["audio_format"], row["sample_rate_hz"], row["channels"], row["duration_ms"])


def format_of(row: Mapping[str, Any], settings: AudioSettings) -> tuple[str, int]:
    """Return the format and the sample rate that a row's audio will have; its own where it cannot be converted."""
    try:
        return target_format(audio_of(row), settings)
    except PermanentError:
        return row["audio_format"], row["sample_rate_hz"]


def convert_row(row: Mapping[str, Any], data: bytes, settings: AudioSettings) -> tuple[Audio, int | None]:
    """Return a row's audio as an export is to have it, and the samples in each channel as a decoder counts them.

    The number is None where no decoder of ours reads the format. The row's word is not believed of audio that is
    decoded.

    Raises:
        ServiceError: It cannot be converted, or is no clip of speech (see ``audio/bounds``).
    """
    max_s = MAX_CLIP_S * max(1, row["segments"] or 1)  # what was joined is as long as all of its segments
    audio = convert(audio_of(row, data), settings, max_s)
    return audio, _frames(audio, max_s)


def _frames(audio: Audio, max_s: float) -> int | None:
    from tts_pipeline.audio.samples import UNKNOWN_FRAMES, make_decodable, open_sound_file

    try:
        with open_sound_file(make_decodable(audio), audio.format) as file:
            check_rate_and_channels(audio.format, file.samplerate, file.channels)
            if file.frames >= UNKNOWN_FRAMES:
                return None
            check_length(audio.format, file.frames, file.samplerate, max_s)
            return int(file.frames)
    except TransientError:
        return None
