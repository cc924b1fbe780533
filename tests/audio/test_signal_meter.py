"""Clips that are measured together have the measures of each alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sounds import Waveform, noise, voice
from tts_pipeline.audio.samples import open_stream
from tts_pipeline.audio.signal_meter import SignalMeter
from tts_pipeline.audio.signal_stats import SignalStats, measure_signal
from tts_pipeline.audio.wav import Wav, read_canonical, wav_header
from tts_pipeline.models import Audio

Integers = npt.NDArray[np.int16]
RATES_HZ = (8_000, 11_025, 22_050, 24_000, 48_000)


def clip_of(samples: Integers, rate_hz: int = 24_000) -> Wav:
    data = samples.astype("<i2").tobytes()
    wav = read_canonical(wav_header(len(data), (1, rate_hz, 1, 16)) + data)
    assert wav is not None
    assert wav.is_mono_16_bit
    return wav


def alone(clip: Wav) -> SignalStats:
    """Measure a clip as any other audio is."""
    with open_stream(Audio(clip.data, "wav", clip.sample_rate_hz, 1, 0)) as stream:
        return measure_signal(stream)


def check(clips: Sequence[Wav]) -> None:
    meter = SignalMeter()
    for _ in range(2):  # the second time in memory that was used before
        assert meter.measure(clips) == [alone(clip) for clip in clips]


def to_integers(samples: npt.ArrayLike, amplitude: float = 32_767) -> Integers:
    return np.clip(np.asarray(samples) * amplitude, -32_768, 32_767).astype(np.int16)


_SOUNDS = st.builds(
    lambda make, seconds, amplitude, length: np.resize(to_integers(make(seconds), amplitude), length),
    st.sampled_from([voice, noise]),
    st.floats(0.2, 4.0),
    st.sampled_from([0.5, 30, 3_000, 32_767, 300_000]),  # silent to clipped
    st.integers(1, 150_000),
)
_CONSTANTS = st.builds(
    lambda value, length: np.full(length, value, np.int16),
    st.sampled_from([0, 1, -1, 32_765, 32_766, 32_767, -32_766, -32_768]),
    st.integers(1, 30_000),
)
_SHORT = st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=700).map(lambda values: np.array(values, np.int16))
_CLIPS = st.lists(st.builds(clip_of, st.one_of(_SOUNDS, _CONSTANTS, _SHORT), st.sampled_from(RATES_HZ)), max_size=17)


@settings(max_examples=60, deadline=None)
@given(_CLIPS)
def test_together_as_alone(clips: list[Wav]) -> None:
    """Bit for bit, in their order: sounds, silence, direct current, clipped, of one sample, at any rate."""
    check(clips)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(_SOUNDS, _CONSTANTS, _SHORT), min_size=2, max_size=16), st.sampled_from(RATES_HZ))
def test_clips_of_one_voice(sounds: list[Integers], rate_hz: int) -> None:
    """All at the same rate, as a service sends them: none gets a part of its neighbour."""
    check([clip_of(samples, rate_hz) for samples in sounds])


@pytest.mark.parametrize("length", [1, 119, 120, 121, 479, 480, 481, 959, 960, 23_999, 24_000, 24_001, 36_000, 500_000])
def test_lengths_around_a_frame_a_window_and_a_group(length: int) -> None:
    """5 ms, 20 ms and a second: a clip of such a length, beside others and alone."""
    loud = clip_of(np.full(700, 32_767, np.int16))
    clip = clip_of(np.resize(to_integers(voice(3)), length))
    check([clip])
    check([loud, clip, loud, clip])


def test_a_clipped_neighbour_is_no_flaw() -> None:
    """Full scale at the end of one clip and at the start of the next make no run, and each counts its own samples."""
    start, end = np.zeros((2, 4_800), np.int16)
    start[:2] = end[-2:] = 32_767
    clipped = np.full(4_800, -32_768, np.int16)
    shares = [stats.clipped_share for stats in SignalMeter().measure(list(map(clip_of, (end, start, clipped, end))))]
    assert shares == [0.0, 0.0, 1.0, 0.0]


def test_a_waveform_has_the_same_measures() -> None:
    """Decoded samples, too: the same sound in another container gets the same flags."""
    integers = to_integers(voice(2))
    floats = Waveform((integers / np.float32(32_768)).astype(np.float32)[:, np.newaxis], 24_000)
    assert SignalMeter().measure([clip_of(integers)]) == [measure_signal(floats.stream)]


def test_no_clips() -> None:
    """A turn may have none."""
    assert SignalMeter().measure([]) == []
