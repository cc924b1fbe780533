"""Audio is brought to the format and rate of the dataset."""

from __future__ import annotations

import numpy as np
import pytest

from tests.builders import wrap_pcm
from tests.sounds import adts_file, decode, encode_samples, playable_audio, sample, voice
from tts_pipeline.audio.convert import check_settings, convert
from tts_pipeline.config import AudioSettings
from tts_pipeline.errors import ConfigurationError, PermanentError, TransientError
from tts_pipeline.models import Audio

NAMES = ["wav", "flac", "mp3", "ogg"]


@pytest.mark.parametrize("rate_hz", [None, 8_000, 16_000, 24_000, 44_100])
@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg vorbis"])
def test_every_format_becomes_every_other(name: str, target: str, rate_hz: int | None) -> None:
    """The result has the wanted format and rate, lasts as long, and its bytes say so themselves."""
    before = playable_audio(sample(name, seconds=0.75))
    after = convert(before, AudioSettings(target, rate_hz))
    assert playable_audio(after.data) == after
    assert (after.format, after.sample_rate_hz, after.channels) == (target, rate_hz or 24_000, 1)
    assert after.duration_ms == before.duration_ms


@pytest.mark.parametrize("name", ["wav", "wav float", "flac", "mp3", "ogg opus"])
def test_what_is_so_already_is_the_same_object(name: str) -> None:
    """Not one byte changes, so nothing is lost by asking for what is there."""
    audio = playable_audio(sample(name))
    assert convert(audio, AudioSettings()) is audio
    assert convert(audio, AudioSettings(audio.format)) is audio
    assert convert(audio, AudioSettings(audio.format, 24_000)) is audio
    assert convert(audio, AudioSettings(sample_rate_hz=24_000)) is audio


def test_wav_and_flac_carry_the_same_samples() -> None:
    """There and back is the file that was there."""
    wav = encode_samples(voice(0.5))
    assert convert(convert(wav, AudioSettings("flac")), AudioSettings("wav")) == wav


def test_another_rate_alone_keeps_the_format() -> None:
    """As received but for the rate."""
    audio = convert(playable_audio(sample("mp3")), AudioSettings(sample_rate_hz=16_000))
    assert (audio.format, audio.sample_rate_hz, audio.duration_ms) == ("mp3", 16_000, 1000)


def test_a_rate_of_the_service_that_the_format_cannot_carry() -> None:
    """MP3 has no 20 kHz: it becomes the next higher rate, and says so."""
    audio = convert(encode_samples(voice(0.5, 20_000), 20_000), AudioSettings("mp3"))
    assert (audio.sample_rate_hz, audio.duration_ms) == (22_050, 500)


def test_channels_are_kept() -> None:
    """Stereo stays stereo, each side on its own."""
    audio = convert(encode_samples(np.stack([voice(0.3), -voice(0.3, seed=3)], axis=1)), AudioSettings("flac", 16_000))
    left, right = decode(audio).samples.T
    assert audio.channels == 2
    assert not np.allclose(left, right, atol=0.01)


def test_aac_can_only_be_kept() -> None:
    """As received it stays; any other wish is an error that names the way out."""
    audio = playable_audio(adts_file(10))
    assert convert(audio, AudioSettings()) is audio
    for settings in (AudioSettings("wav"), AudioSettings(sample_rate_hz=16_000)):
        with pytest.raises(PermanentError) as exc_info:
            convert(audio, settings)
        assert exc_info.value.code == "UnsupportedAudio"


@pytest.mark.parametrize("data", [b"RIFF????WAVE", wrap_pcm(b"", 24_000)])
def test_what_has_no_sound_is_transient(data: bytes) -> None:
    """Undecodable, or a header only."""
    with pytest.raises(TransientError) as exc_info:
        convert(Audio(data, "wav", 24_000, 1, 0), AudioSettings("flac"))
    assert exc_info.value.code == "MalformedAudio"


@pytest.mark.parametrize(
    "settings",
    [
        AudioSettings(),
        AudioSettings("wav", 192_000),
        AudioSettings("flac", 8_000),
        AudioSettings("ogg", 37_800),
        AudioSettings("mp3", 44_100),
        AudioSettings(sample_rate_hz=16_000),
    ],
)
def test_settings_that_can_be_met_pass(settings: AudioSettings) -> None:
    """And whatever passes is met by a conversion."""
    check_settings(settings)
    assert convert(encode_samples(voice(0.1)), settings).sample_rate_hz == (settings.sample_rate_hz or 24_000)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (AudioSettings("flacc"), ["'flacc'", "Did you mean 'flac'", "as-received"]),
        (AudioSettings("aac"), ["'aac'"]),
        (AudioSettings("mp3", 96_000), ["mp3", "96000", "44100"]),
        (AudioSettings("mp3", 23_000), ["22050", "24000"]),
        (AudioSettings(sample_rate_hz=23_000), ["as-received", "24000"]),
        (AudioSettings("ogg", 200_001), ["8000 to 192000"]),
        (AudioSettings("flac", 700_000), ["8000 to 655350"]),
        (AudioSettings("flac", 7_999), ["8000 to"]),
        (AudioSettings("wav", 0), ["8000 to"]),
        (AudioSettings("wav", -16_000), ["8000 to"]),
    ],
)
def test_settings_that_cannot_be_met_are_refused(settings: AudioSettings, words: list[str]) -> None:
    """Before anything is bought, naming what is allowed. As received may be MP3, so its rates hold there."""
    with pytest.raises(ConfigurationError) as exc_info:
        check_settings(settings)
    assert all(word in str(exc_info.value) for word in words), str(exc_info.value)
