"""Table of the audio formats of a dataset, and the sample rates of each.

Measured with libsndfile 1.2.2 (soundfile 0.14.0, 2026-11): all four keep the number of samples, so encoding never
changes a duration. WAV and FLAC return exactly the same samples. MP3 adds a delay and padding, which LAME notes in the
first frame and decoders remove; a player that ignores the note plays a little more silence. Ogg counts samples in its
pages. An Ogg file has a random serial number, so two files of one sound differ in some bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tts_pipeline.config import AS_RECEIVED
from tts_pipeline.errors import PermanentError


@dataclass(frozen=True, slots=True)
class Encoding:
    """The way to write one format; container, subtype and options are libsndfile's.

    ``rates_hz`` lists the only possible sample rates between the lowest and the highest, in order; it is empty if all
    are possible. More channels than ``max_channels`` are mixed down to one. ``options`` set the quality of a lossy
    format; None for 16-bit samples.
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
        """Return whether sound of a sample rate can be written without resampling."""
        return self.minimum_hz <= rate_hz <= self.maximum_hz and (not self.rates_hz or rate_hz in self.rates_hz)

    def rate_for(self, rate_hz: int) -> int:
        """Return the rate itself if the format can carry it, else its next higher rate, else its highest.

        The rate goes up so that no sound of the service is lost.
        """
        if self.can_carry(rate_hz):
            return rate_hz
        return next(
            (rate for rate in self.rates_hz or (self.minimum_hz,) if rate > rate_hz),
            self.maximum_hz,
        )


# The lossy qualities keep the error at least 26 dB below speech of 24 kHz, at about 75 kbit/s. libsndfile's defaults
# are 27.5 dB at 68 kbit/s for MP3 and 21 dB at 53 kbit/s for Vorbis. A constant bit rate is unsuitable: LAME silently
# lowers the sample rate for low bit rates, and reaches only 26 dB at 160 kbit/s.
_ENCODINGS: Mapping[str, Encoding] = {
    "wav": Encoding("wav", "WAV", "PCM_16", 1, 1_000_000),
    # libFLAC refuses rates above 655,350 Hz.
    "flac": Encoding("flac", "FLAC", "PCM_16", 1, 655_350),
    # LAME takes only these rates: libsndfile fails for any other.
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
"""Possible values of ``AudioSettings.format``."""


def encoding_of(name: str) -> Encoding:
    """Return the encoding of a format; libsndfile can also read each of these formats.

    Raises:
        PermanentError: ``UnsupportedAudio``: AAC and the like, which libsndfile neither reads nor writes. Never
            retried; may have been billed.
    """
    encoding = _ENCODINGS.get(name)
    if encoding is None:
        raise PermanentError(
            f"audio in {name} can only be kept as received: this package cannot decode it",
            code="UnsupportedAudio",
            hint="request another encoding, such as response_format=mp3 or wav",
        )
    return encoding
