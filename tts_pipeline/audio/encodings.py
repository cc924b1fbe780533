"""Audio formats as data: the formats of a dataset, and the sample rates of each.

Measured with libsndfile 1.2.2 (soundfile 0.14.0, 2026-11): all four keep the number of samples, so a duration never
changes by encoding. WAV and FLAC give back the very samples. MP3 has a delay and padding of its own, which LAME notes
in the first frame and decoders take off again; a player that ignores the note hears a little more silence. Ogg counts
samples in its pages. An Ogg file has a random serial number, so two files of one sound differ in some bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tts_pipeline.config import AS_RECEIVED
from tts_pipeline.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Encoding:
    """How one format is written; container, subtype and options are libsndfile's.

    ``rates_hz`` are the only sample rates between the lowest and the highest, in order; empty where all are. Sound of
    more channels than ``max_channels`` is mixed down to one. The options are the quality of a lossy format; empty for
    16-bit samples.
    """

    name: str
    container: str
    subtype: str
    minimum_hz: int
    maximum_hz: int
    rates_hz: tuple[int, ...] = ()
    max_channels: int = 8
    options: Mapping[str, Any] | None = None

    def can_carry(self, rate_hz: int) -> bool:
        """Whether sound of this sample rate can be written without resampling it."""
        return self.minimum_hz <= rate_hz <= self.maximum_hz and (not self.rates_hz or rate_hz in self.rates_hz)

    def rate_for(self, rate_hz: int) -> int:
        """Return the rate itself, or else the next higher one that can be written, or else the highest.

        Higher, so that nothing is lost where the rate was the service's choice.
        """
        if self.can_carry(rate_hz):
            return rate_hz
        return next(
            (rate for rate in self.rates_hz or (self.minimum_hz,) if rate > rate_hz),
            self.maximum_hz,
        )


# Lossy qualities were chosen by what they cost speech of 24 kHz: error at least 26 dB below it, at about 75 kbit/s.
# libsndfile's own choices are MP3 27.5 dB at 68 kbit/s and Vorbis 21 dB at 53. A constant bit rate is no choice: LAME
# quietly lowers the sample rate for the smaller ones, and reaches only 26 dB at 160 kbit/s.
_ENCODINGS: Mapping[str, Encoding] = {
    "wav": Encoding("wav", "WAV", "PCM_16", 1, 1_000_000),
    # Above 655,350 Hz libFLAC refuses.
    "flac": Encoding("flac", "FLAC", "PCM_16", 1, 655_350),
    # LAME takes these only: libsndfile fails for any other.
    "mp3": Encoding(
        "mp3",
        "MP3",
        "MPEG_LAYER_III",
        8_000,
        48_000,
        (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
        max_channels=2,
        options={"bitrate_mode": "VARIABLE", "compression_level": 0.25},
    ),
    # libvorbis kills the process above 200,000 Hz (https://github.com/bastibe/python-soundfile/issues/187).
    "ogg": Encoding("ogg", "OGG", "VORBIS", 8_000, 192_000, options={"compression_level": 0.3}),
}

OUTPUT_FORMATS = (AS_RECEIVED, *_ENCODINGS)
"""What ``AudioSettings.format`` may be."""


def encoding_of(name: str) -> Encoding:
    """Return how a format is written, and thereby whether it can be read here.

    Raises:
        PermanentError: ``UnsupportedAudio``: AAC and the like, which libsndfile neither reads nor writes. Never
            retried; the attempt was answered, so it may have been billed.
    """
    encoding = _ENCODINGS.get(name)
    if encoding is None:
        raise PermanentError(
            f"audio in {name} can only be kept as received: it cannot be decoded here",
            code="UnsupportedAudio",
            hint="ask for another encoding, such as response_format=mp3 or wav",
        )
    return encoding
