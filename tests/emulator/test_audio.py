from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from tts_pipeline.emulator.audio import encode, resample, wav_header

SAMPLES = (10_000 * np.sin(np.arange(22_050) / 20)).astype(np.int16)


def test_wav_has_exactly_the_samples() -> None:
    """What libsndfile reads back is what was written."""
    samples, rate_hz = soundfile.read(io.BytesIO(encode(SAMPLES, 24_000, "wav")), dtype="int16")
    assert rate_hz == 24_000
    assert np.array_equal(samples, SAMPLES)


def test_pcm_has_no_header() -> None:
    """Headerless samples are the wav without its 44 bytes."""
    wav = encode(SAMPLES, 24_000, "wav")
    assert wav == wav_header(44_100, 24_000) + encode(SAMPLES, 24_000, "pcm")
    assert len(wav_header(44_100, 24_000)) == 44


@pytest.mark.parametrize("rate_hz", [24_000, 16_000])
def test_mp3_is_mono_at_the_rate_asked_for(rate_hz: int) -> None:
    """The compressed sound keeps rate and length (within the codec's frames)."""
    info = soundfile.info(io.BytesIO(encode(SAMPLES, rate_hz, "mp3")))
    assert (info.format, info.channels, info.samplerate) == ("MP3", 1, rate_hz)
    assert abs(info.frames - len(SAMPLES)) < 3_000


@pytest.mark.parametrize("rate_hz", [24_000, 16_000])
def test_resampling_keeps_the_duration(rate_hz: int) -> None:
    """One second stays one second, to the sample."""
    assert abs(len(resample(SAMPLES, 22_050, rate_hz)) - rate_hz) <= 1


def test_the_same_rate_changes_nothing() -> None:
    """There is nothing to do from a rate to itself."""
    assert resample(SAMPLES, 22_050, 22_050) is SAMPLES
