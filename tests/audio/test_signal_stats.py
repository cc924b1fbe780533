"""Measures of a sound."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sounds import Waveform, noise, voice
from tts_pipeline.audio.signal_stats import SignalStats, measure_signal


def measure_samples(samples: npt.ArrayLike, sample_rate_hz: int = 24_000) -> SignalStats:
    columns = np.asarray(samples, np.float32)
    return measure_signal(Waveform(columns.reshape(len(columns), -1), sample_rate_hz).stream)


@pytest.mark.parametrize(("amplitude", "dbfs"), [(1.0, 0), (0.1, -20), (0.001, -60), (0.0, -120)])
def test_levels_are_relative_to_full_scale(amplitude: float, dbfs: float) -> None:
    """A square wave at full scale is 0 dB; digital silence has a level too."""
    signal = measure_samples(amplitude * np.resize([1.0, -1.0], 24_000))
    assert signal.loudest_dbfs == pytest.approx(dbfs, abs=0.1)
    assert signal.loud_dbfs == pytest.approx(dbfs, abs=0.1)
    assert signal.duration_s == 1.0


def test_the_tail_is_the_last_5_ms() -> None:
    """Relative to what is loud in it: soft where it ends softly."""
    loud = np.resize([0.5, -0.5], 24_000)
    assert measure_samples(loud).tail_db == pytest.approx(0, abs=0.1)
    assert measure_samples(np.concatenate([loud, 0.1 * loud[:120]])).tail_db == pytest.approx(-20, abs=0.1)
    assert measure_samples(np.concatenate([loud, 0.1 * loud[:60]])).tail_db > -6


@pytest.mark.parametrize(
    ("samples", "share"),
    [
        ([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], 0.3),
        ([1, 1, 0, 1, 1, 0, 0, 0, 0, 0], 0.0),
        ([0, 0, 0, 0, 0, -1, -1, -1, -1, -1], 0.5),
        ([1, -1, 1, -1, 0, 0, 0, 0, 0, 0], 0.4),
        ([0.999, 0.999, 0.999, 0, 0, 0, 0, 0, 0, 0], 0.0),
    ],
)
def test_clipping_is_three_in_a_row_at_full_scale(samples: list[float], share: float) -> None:
    """One or two are a peak."""
    assert measure_samples(samples).clipped_share == pytest.approx(share)


def test_one_clipped_channel_of_two() -> None:
    """Every channel is looked at, not their mean."""
    both = np.stack([np.ones(1000), np.zeros(1000)], axis=1)
    assert measure_samples(both).clipped_share == 0.5


def test_sounding_is_without_the_silence_around() -> None:
    """From the first to the last loud part, pauses between them included."""
    silence = np.zeros(12_000)
    signal = measure_samples(np.concatenate([silence, noise(0.5), silence, noise(0.5), silence]))
    assert signal.sounding_s(above_db=-40) == pytest.approx(1.5, abs=0.02)
    assert measure_samples(noise(0.01)).sounding_s(above_db=-40) == pytest.approx(0.02)


def test_noise_is_steady_and_a_voice_is_not() -> None:
    """The longest steady stretch is found wherever it is."""
    assert measure_samples(voice(5)).longest_steady_s(within_db=6, above_dbfs=-60) == 0
    for before, after in ((0, 0), (2, 0), (0, 2), (2, 2)):
        sound = np.concatenate([voice(before), noise(3), voice(after)])
        assert measure_samples(sound).longest_steady_s(within_db=6, above_dbfs=-60) == pytest.approx(3.0, abs=0.5)


def test_steady_stretches_do_not_add_up() -> None:
    """What is between them ends each."""
    sound = np.concatenate([noise(1.6), voice(2), noise(1.6), voice(2), noise(1.6)])
    assert measure_samples(sound).longest_steady_s(within_db=6, above_dbfs=-60) < 2


def test_soft_stretches_are_not_steady_sound() -> None:
    """Silence is steady too: only what is loud enough counts."""
    assert measure_samples(noise(3, level=0.0001)).longest_steady_s(within_db=6, above_dbfs=-60) == 0
    assert measure_samples(noise(0.9)).longest_steady_s(within_db=6, above_dbfs=-60) == 0


@given(st.integers(1, 2_000), st.sampled_from([1, 50, 8_000, 48_000]), st.integers(1, 2))
def test_any_length_rate_and_channels_are_measured(frames: int, sample_rate_hz: int, channels: int) -> None:
    """Even one sample, and rates at which 20 ms are none."""
    signal = measure_samples(np.full((frames, channels), 0.5), sample_rate_hz)
    assert signal.loudest_dbfs == pytest.approx(-6.02, abs=0.01)
    assert signal.tail_db == pytest.approx(0, abs=0.01)
