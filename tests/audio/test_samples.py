"""Files become samples and samples files."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.builders import wrap_pcm
from tests.sounds import (
    FORMATS,
    Waveform,
    decode,
    encode_samples,
    encode_waveform,
    kind_of,
    noise,
    playable_audio,
    sample,
    voice,
)
from tts_pipeline.audio.clip_limits import frames_to_ms
from tts_pipeline.audio.encodings import encoding_of
from tts_pipeline.errors import PermanentError, TransientError
from tts_pipeline.models import Audio

READABLE = [name for name in FORMATS if kind_of(name) in {"wav", "mp3", "flac", "ogg"}]
WRITABLE = ["wav", "flac", "mp3", "ogg"]
LOSSLESS = ["wav", "flac"]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", READABLE)
def test_every_format_is_decoded(name: str, channels: int) -> None:
    """The samples are libsndfile's, one column a channel, whatever the file's own type of sample."""
    data = sample(name, channels=channels, seconds=0.3)
    sound = decode(playable_audio(data))
    truth, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    # The MP3 decoder's last bit depends on where in memory it works.
    np.testing.assert_allclose(sound.samples, truth, atol=2e-7)
    assert (sound.sample_rate_hz, sound.frames, sound.channels) == (rate_hz, len(truth), channels)


@pytest.mark.parametrize("name", WRITABLE)
def test_what_is_written_says_the_truth_of_itself(name: str) -> None:
    """Measured anew, a written file has the very format, rate, channels and duration that are told of it."""
    for seconds in (0.001, 0.5, 7.0):
        audio = encode_samples(voice(seconds), name=name)
        assert playable_audio(audio.data) == audio
        assert audio.duration_ms == round(seconds * 1000)


@given(
    samples=arrays.arrays(np.int16, st.tuples(st.integers(1, 300), st.integers(1, 3))),
    rate_hz=st.sampled_from([8_000, 11_025, 24_000, 48_000]),
    name=st.sampled_from(LOSSLESS),
)
def test_16_bit_samples_come_back_exactly(samples: np.ndarray, rate_hz: int, name: str) -> None:
    """WAV to FLAC and back: every 16-bit sample, in every channel, also the loudest."""
    wav = playable_audio(wrap_pcm(samples.tobytes(), rate_hz, samples.shape[1]))
    back = decode(encode_waveform(decode(wav), encoding_of(name)))
    np.testing.assert_array_equal(back.samples * 32_768, samples)
    assert encode_waveform(back, encoding_of("wav")) == wav


@pytest.mark.parametrize(("name", "error_db"), [("mp3", -25), ("ogg", -25)])
def test_a_lossy_format_is_near_and_not_shifted(name: str, error_db: float) -> None:
    """Sample by sample, so the encoder's delay was taken off again."""
    samples = voice(3.0)[:, None]
    error = decode(encode_samples(samples, name=name)).samples - samples
    assert 10 * np.log10(np.mean(error**2) / np.mean(samples**2)) < error_db


def test_a_long_ogg_is_written_in_pieces() -> None:
    """Two minutes in one call would overflow libvorbis's stack and kill the process."""
    assert encode_samples(np.zeros(3_000_000), name="ogg").duration_ms == 125_000


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_the_sound_and_its_duration(rate_hz: int) -> None:
    """A tone keeps its pitch and its level; the length is the nearest number of samples."""
    times = np.arange(24_000) / 24_000
    tone = np.sin(2 * np.pi * 440 * times).astype(np.float32)[:, None]
    sound = Waveform(tone, 24_000).resampled(rate_hz)
    truth = np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)
    inner = slice(rate_hz // 10, -rate_hz // 10)
    assert (sound.frames, sound.sample_rate_hz) == (rate_hz, rate_hz)
    np.testing.assert_allclose(sound.samples[inner, 0], truth[inner], atol=1e-4)


def test_nothing_is_copied_where_nothing_changes() -> None:
    """The rate or the channels that are there already give the very sound."""
    sound = Waveform(voice(0.1)[:, None], 24_000)
    assert sound.resampled(24_000) is sound
    assert sound.with_channels(1) is sound


def test_channels_are_mixed() -> None:
    """A voice in one channel only is in all of the others, at the mean level."""
    left = np.array([[1.0, 0.0], [0.5, 0.5]], np.float32)
    assert Waveform(left, 24_000).with_channels(1).samples.tolist() == [[0.5], [0.5]]
    assert Waveform(left, 24_000).with_channels(3).samples.tolist() == [[0.5] * 3] * 2


def test_more_channels_than_a_format_takes_are_mixed_down() -> None:
    """MP3 has two channels at the most."""
    assert encode_samples(np.zeros((1000, 3)), name="mp3").channels == 1
    assert encode_samples(np.zeros((1000, 3)), name="flac").channels == 3


def test_beyond_full_scale_is_cut_off() -> None:
    """Louder than a player can play, as float files and lossy ones may be: never wrapped around."""
    file = io.BytesIO()
    soundfile.write(file, np.array([2.0, -3.0, 0.5]), 24_000, format="WAV", subtype="FLOAT")
    sound = decode(playable_audio(file.getvalue()))
    assert sound.samples[:, 0].tolist() == [1.0, -1.0, 0.5]
    assert decode(encode_waveform(sound, encoding_of("wav"))).samples[:, 0].tolist() == [32_767 / 32_768, -1.0, 0.5]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_malformed(wrong: float) -> None:
    """A float file can hold them, and nothing can be done with them."""
    file = io.BytesIO()
    soundfile.write(file, np.array([0.1, wrong, 0.1]), 24_000, format="WAV", subtype="FLOAT")
    with pytest.raises(TransientError) as exc_info:
        decode(playable_audio(file.getvalue()))
    assert exc_info.value.code == "MalformedAudio"


@pytest.mark.parametrize("data", [b"", b"no audio at all", b"RIFF\0\0\0\0WAVE", b"fLaC" + bytes(50)])
def test_what_does_not_decode_is_transient(data: bytes) -> None:
    """Whatever was claimed of the bytes."""
    with pytest.raises(TransientError) as exc_info:
        decode(Audio(data, "wav", 24_000, 1, 1000))
    assert (exc_info.value.code, exc_info.value.may_be_billed) == ("MalformedAudio", True)


def test_a_header_without_sound() -> None:
    """It decodes to nothing."""
    assert decode(Audio(wrap_pcm(b"", 24_000), "wav", 24_000, 1, 0)).frames == 0


def test_a_format_that_cannot_be_read_is_permanent() -> None:
    """AAC is measured and kept, not decoded."""
    with pytest.raises(PermanentError) as exc_info:
        decode(Audio(noise(0.1).tobytes(), "aac", 24_000, 1, 1000))
    assert exc_info.value.code == "UnsupportedAudio"


def test_milliseconds_are_rounded_half_up() -> None:
    """As everywhere: 12 samples at 24 kHz are half a millisecond."""
    assert [frames_to_ms(frames, 24_000) for frames in (0, 11, 12, 24)] == [0, 0, 1, 1]
