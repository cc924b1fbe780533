"""The audio of several segments becomes one file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import wrap_pcm
from tests.sounds import decode, encode_samples, playable_audio, voice
from tts_pipeline.audio.convert import convert
from tts_pipeline.audio.join import join
from tts_pipeline.config import AudioSettings
from tts_pipeline.errors import TransientError
from tts_pipeline.models import Audio


@given(
    lengths=st.lists(st.integers(1, 2_000), min_size=2, max_size=6),
    pause_ms=st.integers(0, 400),
    rate_hz=st.sampled_from([8_000, 22_050, 24_000]),
)
def test_as_wav_nothing_is_added_and_nothing_lost(lengths: list[int], pause_ms: int, rate_hz: int) -> None:
    """The samples are those of the pieces with zeros between, and each begins where it is said to."""
    parts = [np.full(length, place + 1, np.int16) for place, length in enumerate(lengths)]
    silence = np.zeros((pause_ms * rate_hz + 500) // 1000, np.int16)
    whole, starts_ms = join([playable_audio(wrap_pcm(part.tobytes(), rate_hz)) for part in parts], pause_ms)
    truth = np.concatenate([piece for part in parts for piece in (silence, part)][1:])
    samples = decode(whole).samples[:, 0] * 32_768
    np.testing.assert_array_equal(samples, truth)
    assert playable_audio(whole.data) == whole
    for place, start_ms in enumerate(starts_ms):
        assert abs(start_ms - int(np.argmax(samples == place + 1)) * 1000 / rate_hz) <= 0.5


def test_a_single_piece_is_the_same_object() -> None:
    """Nothing to join and nothing to change; what is to change is converted."""
    audio = encode_samples(voice(0.2))
    assert join([audio], 300) == (audio, (0,))
    assert join([audio], 300)[0] is audio
    settings = AudioSettings("flac", 16_000)
    assert join([audio], 300, settings) == (convert(audio, settings), (0,))


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg"])
def test_the_format_is_the_first_ones(name: str) -> None:
    """Every format is joined as samples and lasts as long as its pieces and pauses."""
    whole, starts_ms = join([encode_samples(voice(0.5), name=name), encode_samples(voice(0.25), name=name)], 200)
    assert (whole.format, whole.sample_rate_hz, whole.channels) == (name, 24_000, 1)
    assert (whole.duration_ms, starts_ms) == (950, (0, 700))
    assert playable_audio(whole.data) == whole


def test_pieces_that_differ_are_brought_to_the_first() -> None:
    """Another format, rate and number of channels: as heard, one after the other."""
    stereo = encode_samples(np.stack([voice(0.5, 48_000)] * 2, axis=1), 48_000, "flac")
    whole, starts_ms = join([encode_samples(voice(0.5, 16_000), 16_000), stereo], 0)
    first, second = np.split(decode(whole).samples[:, 0], 2)
    assert (whole.format, whole.sample_rate_hz, whole.channels) == ("wav", 16_000, 1)
    assert (whole.duration_ms, starts_ms) == (1000, (0, 500))
    np.testing.assert_allclose(first, second, atol=0.02)


def test_joined_and_converted_in_one() -> None:
    """A lossy whole is encoded once, so it is what comes of converting the whole of the decoded pieces."""
    pieces = [encode_samples(voice(0.5, seed=seed), name="mp3") for seed in (1, 2)]
    lossless, _ = join(pieces, 100, AudioSettings("wav"))
    whole, starts_ms = join(pieces, 100, AudioSettings("mp3", 16_000))
    assert (whole.format, whole.sample_rate_hz, whole.duration_ms) == ("mp3", 16_000, 1100)
    assert starts_ms == (0, 600)
    truth = decode(lossless).resampled(16_000).samples
    error = decode(whole).samples - truth
    assert 10 * np.log10(np.mean(error**2) / np.mean(truth**2)) < -20


@pytest.mark.parametrize("bad", [wrap_pcm(b"", 24_000), b"RIFF????WAVE"])
def test_a_piece_without_sound_spoils_the_whole(bad: bytes) -> None:
    """There is no half utterance."""
    with pytest.raises(TransientError) as exc_info:
        join([encode_samples(voice(0.1)), Audio(bad, "wav", 24_000, 1, 0)], 0)
    assert exc_info.value.code == "MalformedAudio"


@settings(max_examples=25)
@given(st.lists(st.sampled_from([0.1, 0.33, 0.5]), min_size=1, max_size=3), st.sampled_from(["mp3", "ogg"]))
def test_lossy_formats_keep_the_duration(seconds: list[float], name: str) -> None:
    """However many pieces, no encoder's delay or padding is left between or around them."""
    whole, _ = join([encode_samples(voice(length), name=name) for length in seconds], 50)
    assert whole.duration_ms == round(1000 * sum(seconds)) + 50 * (len(seconds) - 1)
