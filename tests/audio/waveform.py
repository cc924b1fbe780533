"""A whole sound in memory, for tests that look at its samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tts_pipeline.audio.encodings import Encoding
from tts_pipeline.audio.samples import Samples, SampleStream, encode, open_stream
from tts_pipeline.models import Audio


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
