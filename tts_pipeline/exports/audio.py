"""Convert the audio of one row to an export's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tts_pipeline.audio.clip_limits import check_length, check_rate_and_channels
from tts_pipeline.audio.convert import convert, target_format
from tts_pipeline.config import MAX_CLIP_S, AudioSettings
from tts_pipeline.errors import PermanentError, TransientError
from tts_pipeline.models import Audio

AUDIO_COLUMNS = ("audio_format", "sample_rate_hz", "channels", "duration_ms", "segments")
"""The columns that describe a row's audio."""


def audio_of(row: Mapping[str, Any], data: bytes = b"") -> Audio:
    """Return a row's audio; without ``data``, only its description."""
    return Audio(data, row["audio_format"], row["sample_rate_hz"], row["channels"], row["duration_ms"])


def format_of(row: Mapping[str, Any], settings: AudioSettings) -> tuple[str, int]:
    """Return the format and sample rate of a row's exported audio; those of the row if it cannot be converted."""
    try:
        return target_format(audio_of(row), settings)
    except PermanentError:
        return row["audio_format"], row["sample_rate_hz"]


def convert_row(row: Mapping[str, Any], data: bytes, settings: AudioSettings) -> tuple[Audio, int | None]:
    """Return a row's audio in the format of an export, and the decoder's count of samples in each channel.

    The count is None if no decoder here reads the format. Decoded audio is measured, whatever the row states.

    Raises:
        ServiceError: The audio cannot be converted, or is not a clip of speech (see ``audio/clip_limits``).
    """
    max_s = MAX_CLIP_S * max(1, row["segments"] or 1)  # joined audio is as long as all of its segments
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
