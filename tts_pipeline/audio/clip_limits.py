"""Limits of a speech clip (length, sample rate, channels), beyond which it is damaged or a decompression bomb.

The header is checked before decoding, and the length again during it, because a header may lie.
"""

from __future__ import annotations

from tts_pipeline.config import (
    MAX_CHANNELS,
    MAX_CLIP_S,
    MAX_SAMPLE_RATE_HZ,
    MAX_SERVICE_SAMPLE_RATE_HZ,
    MIN_SAMPLE_RATE_HZ,
)
from tts_pipeline.errors import TransientError, UnreadableError


def malformed_error(message: str) -> TransientError:
    """Return the error for audio that is cut or does not decode: retried; may have been billed."""
    return TransientError(message, code="MalformedAudio")


def no_sound_error(name: str) -> TransientError:
    """Return the error for a file that has only a header."""
    return malformed_error(f"the {name} has a header but no sound")


def frames_to_ms(frames: int, rate_hz: int) -> int:
    """Return the duration of frames in milliseconds, rounded half up."""
    return (frames * 1000 + rate_hz // 2) // rate_hz


def check_rate_and_channels(name: str, rate_hz: int, channels: int) -> None:
    """Refuse a sample rate and a number of channels that no speech has.

    Raises:
        UnreadableError: ``ImplausibleAudio``. Never retried; may have been billed.
    """
    if not is_plausible_rate(rate_hz) or not 0 < channels <= MAX_CHANNELS:
        raise UnreadableError(
            f"the {name} claims {channels} channels at {rate_hz} samples a second, which no speech has",
            code="ImplausibleAudio",
            hint=f"1 to {MAX_CHANNELS} channels at {MIN_SAMPLE_RATE_HZ} to {MAX_SAMPLE_RATE_HZ} are accepted",
        )


def check_length(name: str, frames: int, rate_hz: int, max_s: float = MAX_CLIP_S) -> None:
    """Refuse a clip that is longer than any speech that a request can order.

    ``max_s`` applies at the usual rates; at a higher rate the same number of samples is accepted.

    Raises:
        UnreadableError: ``ClipTooLong``. Never retried; may have been billed.
    """
    if frames > max_s * min(rate_hz, MAX_SERVICE_SAMPLE_RATE_HZ):
        raise UnreadableError(
            f"the {name} lasts {frames / rate_hz:.0f} s or more, and the longest accepted clip is {max_s:.0f} s",
            code="ClipTooLong",
            hint="a few bytes of compressed silence can decode to hours: listen to the service's audio",
        )


def is_plausible_rate(rate_hz: int) -> bool:
    """Return whether speech can have a sample rate."""
    return MIN_SAMPLE_RATE_HZ <= rate_hz <= MAX_SAMPLE_RATE_HZ
