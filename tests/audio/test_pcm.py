"""Samples of every size, order and coding become WAVs that others decode to the same sound."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from tts_pipeline.audio.measure import make_pcm_playable, make_playable
from tts_pipeline.audio.pcm import PcmFormat
from tts_pipeline.errors import TransientError, UnreadableError

FORMATS = {
    "RAW PCM_16": PcmFormat(16_000, 2),
    "RAW PCM_24": PcmFormat(16_000, 2, 24),
    "RAW PCM_32": PcmFormat(16_000, 2, 32),
    "RAW PCM_S8": PcmFormat(16_000, 2, 8),
    "RAW PCM_U8": PcmFormat(16_000, 2, 8, "unsigned"),
    "RAW FLOAT": PcmFormat(16_000, 2, 32, "float"),
    "RAW DOUBLE": PcmFormat(16_000, 2, 64, "float"),
    "RAW ULAW": PcmFormat(16_000, 2, 8, "mulaw"),
    "RAW ALAW": PcmFormat(16_000, 2, 8, "alaw"),
}


@pytest.mark.parametrize("is_big_endian", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_samples_of_every_kind_are_heard_right(name: str, is_big_endian: bool) -> None:
    """libsndfile writes them without a header, and reads from our WAV what it wrote."""
    tone = np.sin(np.arange(1_601) / 9)[:, None] * (0.5, 0.25)
    file, subtype = io.BytesIO(), name.split()[1]
    endian = "BIG" if is_big_endian else "LITTLE"
    soundfile.write(file, tone, 16_000, format="RAW", subtype=subtype, endian=endian)
    audio, flags = make_pcm_playable(
        file.getvalue(), FORMATS[name]._replace(is_big_endian=is_big_endian), complete=True
    )
    file.seek(0)
    expected = soundfile.read(file, samplerate=16_000, channels=2, format="RAW", subtype=subtype, endian=endian)[0]
    assert np.array_equal(soundfile.read(io.BytesIO(audio.data))[0], expected)
    assert (audio.format, audio.sample_rate_hz, audio.channels, audio.duration_ms, flags) == ("wav", 16_000, 2, 100, ())
    assert make_playable(audio.data, complete=True) == (audio, ())


@pytest.mark.parametrize("form", [PcmFormat(16_000, 1, 24, "mulaw"), PcmFormat(16_000, 1, 16, "float"), PcmFormat(1)])
def test_samples_that_cannot_be_are_refused(form: PcmFormat) -> None:
    """No such samples, or no such rate."""
    with pytest.raises(UnreadableError):
        make_pcm_playable(bytes(96), form, complete=True)


def test_samples_end_with_a_whole_one() -> None:
    """In all channels; else they were cut."""
    with pytest.raises(TransientError):
        make_pcm_playable(bytes(96 + 2), PcmFormat(16_000, 2), complete=True)
