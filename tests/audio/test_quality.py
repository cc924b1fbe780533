"""Good speech has no flag, and bad audio has the right one."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import wrap_pcm
from tests.sounds import (
    EUROPEAN,
    LANGUAGE_TAGS,
    UDHR,
    adts_file,
    articles,
    decode,
    encode_samples,
    noise,
    playable_audio,
    sample,
    speak,
    voice,
)
from tts_pipeline.audio.convert import convert
from tts_pipeline.audio.join import join
from tts_pipeline.audio.quality import FLAGS, THRESHOLDS, assess, badness
from tts_pipeline.config import AudioSettings
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.models import Audio

TEXT = "Everyone has the right to life, liberty and security of person, wherever they live and whoever they are."
RATE_HZ = 24_000


@pytest.fixture(scope="module")
def speech(espeak_service: LocalService) -> Audio:
    """The text, spoken well."""
    return speak(espeak_service, TEXT)


@pytest.fixture
def speech_samples(speech: Audio) -> npt.NDArray[np.float32]:
    """Its samples."""
    return decode(speech).samples[:, 0].copy()


def flags_of(samples: npt.ArrayLike, text: str = TEXT, name: str = "wav") -> tuple[str, ...]:
    return assess(encode_samples(samples, name=name), text, "en")


def test_speech_has_no_flag(speech: Audio) -> None:
    """With its language, and with none given."""
    assert assess(speech, TEXT, "en") == ()
    assert assess(speech, TEXT, None) == ()


@pytest.mark.parametrize("name", ["flac", "mp3", "ogg"])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_the_format_makes_no_difference(speech: Audio, name: str, rate_hz: int) -> None:
    """Speech is judged as heard: converted it has no flag, and silence is silence."""
    settings = AudioSettings(name, rate_hz)
    assert assess(convert(speech, settings), TEXT, "en") == ()
    assert "silent" in assess(convert(encode_samples(np.zeros(48_000)), settings), TEXT, "en")


@pytest.mark.parametrize("text", ["Hi", "Yes.", "42", "BBC", "1948", "50 %", "NATO and UNESCO", "user@example.com"])
def test_short_texts_have_no_flag(espeak_service: LocalService, text: str) -> None:
    """What is spoken is not what is written."""
    assert assess(speak(espeak_service, text), text, "en") == ()


@pytest.mark.skipif(not UDHR.exists(), reason=f"{UDHR} is not there")
@pytest.mark.parametrize("every", [12, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("language_type", EUROPEAN)
def test_real_articles_have_no_flag(espeak_service: LocalService, language_type: str, every: int) -> None:
    """In the seven European languages, at the usual speed; with its language and without."""
    for text in list(articles(language_type))[::every]:
        audio = speak(espeak_service, text, language_type)
        assert assess(audio, text, LANGUAGE_TAGS[language_type]) == (), text
        assert assess(audio, text, None) == (), text


@pytest.mark.parametrize("data", [b"", wrap_pcm(b"", RATE_HZ), wrap_pcm(b"\1\1" * 239, RATE_HZ)])
def test_empty(data: bytes) -> None:
    """No bytes, only a header, or less than 10 ms: that and nothing more is said."""
    assert assess(Audio(data, "wav", RATE_HZ, 1, 0), TEXT, "en") == ("empty",)


@pytest.mark.parametrize("data", [b"no audio", b"RIFF\0\0\0\0WAVE", sample("flac")[:60]])
def test_undecodable(data: bytes) -> None:
    """Whatever the reason, it is a flag and never an error."""
    assert assess(Audio(data, "flac", RATE_HZ, 1, 1000), TEXT, "en") == ("undecodable",)


@pytest.mark.parametrize("level", [0.0, 0.0003])
def test_silent(speech_samples: npt.NDArray[np.float32], level: float) -> None:
    """Digital silence, and what nobody can hear."""
    assert flags_of(noise(5, level=level)) == ("silent",)
    assert flags_of(speech_samples * 0.1) == ()
    assert "silent" in flags_of(speech_samples * 0.001)


def test_clipped(speech_samples: npt.NDArray[np.float32]) -> None:
    """Twenty times too loud; a voice at full scale that is not cut off is none."""
    assert "clipped" in flags_of(np.clip(20 * speech_samples, -1, 1))
    assert flags_of(speech_samples / np.abs(speech_samples).max()) == ()


def test_a_soft_end_is_no_cut() -> None:
    """Between the two is where voices end, at -25 dB and less."""
    buzz = voice(6.875)  # ends within a syllable
    for end_db, flags in ((-17, ("cut_tail",)), (-23, ())):
        tail = np.resize([1.0, -1.0], 240) * np.sqrt(np.mean(buzz**2)) * 1.4 * 10 ** (end_db / 20)
        assert flags_of(np.concatenate([buzz, tail])) == flags


def test_cut_short(speech_samples: npt.NDArray[np.float32]) -> None:
    """Ended within a sound: 40 % missing, and at most places."""
    assert "cut_tail" in flags_of(speech_samples[: len(speech_samples) * 6 // 10])
    flags = [flags_of(speech_samples[: len(speech_samples) * percent // 100]) for percent in range(30, 95)]
    assert sum(bool(row_flags) for row_flags in flags) > 0.8 * len(flags)


def test_too_short(speech_samples: npt.NDArray[np.float32]) -> None:
    """A text that is not all there, though it ends well; silence around it does not make up for it."""
    piece = speech_samples[: len(speech_samples) // 2] * np.linspace(1, 0, len(speech_samples) // 2) ** 2
    assert flags_of(piece) == ("too_short",)
    for silence in (np.zeros(RATE_HZ), noise(1, level=0.0008)):
        assert flags_of(np.concatenate([silence, piece, silence])) == ("too_short",)
    assert flags_of(speech_samples, text=TEXT * 3) == ("too_short",)


@pytest.mark.parametrize(
    ("share", "flags"), [(0.5, ("too_short",)), (0.65, ()), (1.0, ()), (1.5, ()), (2.0, ("too_long",))]
)
def test_the_length_is_compared_with_people_reading_aloud(share: float, flags: tuple[str, ...]) -> None:
    """English has 987 letters a minute; up to 2 s of silence around make no difference."""
    sound = voice(10)
    text = "a" * round(10 / share * 987 / 60)
    assert flags_of(sound, text) == flags
    assert flags_of(np.concatenate([sound, np.zeros(2 * RATE_HZ)]), text) == flags


def test_too_long(speech: Audio, speech_samples: npt.NDArray[np.float32]) -> None:
    """Said twice, or with an endless silence; a second of silence at both ends is none."""
    assert flags_of(np.concatenate([speech_samples, speech_samples])) == ("too_long",)
    assert assess(join([speech, speech], 0)[0], TEXT, "en") == ("too_long",)
    assert flags_of(np.concatenate([speech_samples, np.zeros(10 * RATE_HZ)])) == ("too_long",)
    assert flags_of(np.concatenate([np.zeros(RATE_HZ), speech_samples, np.zeros(RATE_HZ)])) == ()


def test_a_loop(espeak_service: LocalService) -> None:
    """A short text repeated for a minute."""
    short = speak(espeak_service, "Good morning.")
    loop, _ = join([short] * (60_000 // short.duration_ms), 0)
    assert assess(loop, "Good morning.", "en") == ("too_long",)


def test_speed_counts(espeak_service: LocalService) -> None:
    """What was asked to be slow or fast may be so, and only then."""
    for speed, flag in ((0.5, "too_long"), (2.0, "too_short")):
        audio = speak(espeak_service, TEXT, speed=speed)
        assert flag in assess(audio, TEXT, "en")
        assert assess(audio, TEXT, "en", speed=speed) == ()


def coloured(samples: npt.NDArray[np.float32], exponent: float) -> npt.NDArray[np.float32]:
    """Return noise whose power falls with the frequency to a power: 1 is pink."""
    spectrum = np.fft.rfft(samples)
    spectrum /= np.maximum(np.arange(len(spectrum)), 100) ** (exponent / 2)
    shaped = np.fft.irfft(spectrum, len(samples))
    return np.asarray(0.3 * shaped / np.abs(shaped).max(), np.float32)


@pytest.mark.parametrize(
    "sound",
    [
        noise(8),
        noise(8, level=0.005),
        noise(1.2),
        coloured(noise(8), 1),
        np.sin(np.arange(8 * RATE_HZ) / 30) * 0.2,
        np.concatenate([voice(5), noise(3, level=0.02)]),
        np.concatenate([voice(2), noise(2.5), voice(2)]),
    ],
    ids=["white", "soft", "short", "pink", "hum", "after speech", "within speech"],
)
def test_runaway_noise(sound: npt.NDArray[np.float32]) -> None:
    """Steady sound is no speech, whatever its colour and wherever it is."""
    assert "runaway_noise" in flags_of(sound)


def test_a_hiss_in_pauses_is_no_runaway(speech_samples: npt.NDArray[np.float32]) -> None:
    """The noise of a room far below the voice."""
    padded = np.concatenate([speech_samples, np.zeros(3 * RATE_HZ)])
    for level in (0.0008, 0.0015):
        assert flags_of(padded + np.random.default_rng(1).normal(0, level, len(padded))) == ()


def test_noise_that_comes_and_goes_like_syllables_is_no_runaway() -> None:
    """A whisper: its level moves by 10 dB, four times a second."""
    swell = 10 ** (np.sin(2 * np.pi * 4 * np.arange(6 * RATE_HZ) / RATE_HZ) * 5 / 20)
    assert "runaway_noise" not in flags_of(noise(6, level=0.05) * swell)


def test_audio_that_cannot_be_read_is_judged_by_its_length() -> None:
    """AAC is measured, not decoded: it is not undecodable."""
    audio = playable_audio(adts_file(100))
    assert assess(audio, "Everyone has the right to life, liberty and security.", "en") == ()
    assert assess(audio, "Hi", "en") == ("too_long",)
    assert assess(audio, TEXT * 2, "en") == ("too_short",)


@given(st.binary(max_size=300), st.sampled_from(["wav", "mp3", "flac", "ogg", "aac", "?"]), st.text(max_size=20))
def test_never_an_error(data: bytes, name: str, text: str) -> None:
    """Any bytes under any name with any text: known flags, sorted."""
    for given_data in (data, sample("wav", seconds=0.1)[:44] + data, sample("mp3", seconds=0.1) + data):
        flags = assess(Audio(given_data, name, RATE_HZ, 1, 10), text, None)
        assert set(flags) <= set(FLAGS)
        assert flags == tuple(sorted(flags))


def test_it_is_quick() -> None:
    """Ten seconds of WAV in a few milliseconds, since it is done for every row."""
    audio = encode_samples(voice(10))
    assess(audio, TEXT, "en")
    times = []
    for _ in range(20):
        began = time.thread_time()
        assess(audio, TEXT, "en")
        times.append(time.thread_time() - began)
    assert min(times) < 0.006


def test_badness_orders_takes() -> None:
    """No flag is best; the worst flag decides, then the next worst, then how many flags of others there are."""
    ordered: list[tuple[str, ...]] = [
        (),
        ("unverified_length",),
        ("a", "b"),
        tuple(f"flag {number}" for number in range(300)),
        ("clipped",),
        ("clipped", "unverified_length"),
        ("too_long",),
        ("clipped", "too_long"),
        ("too_short",),
        ("cut_tail",),
        ("clipped", "cut_tail", "too_long"),
        ("runaway_noise",),
        ("silent",),
        ("empty",),
        ("undecodable",),
    ]
    scores = [badness(flags) for flags in ordered]
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)
    assert badness(()) == 0
    assert min([("cut_tail",), ("clipped", "too_long")], key=badness) == ("clipped", "too_long")


def test_thresholds_are_data() -> None:
    """They can be read, for the documentation of a dataset."""
    assert THRESHOLDS.silent_below_dbfs == -60
    assert all(f"{name}:" in (type(THRESHOLDS).__doc__ or "") for name in type(THRESHOLDS).__dataclass_fields__)
