from __future__ import annotations

import io
import subprocess
import sys
from itertools import pairwise

import httpx
import numpy as np
import pytest
import soundfile

from tests.emulator.conftest import Say, audio_of
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.voices import VOICES

TEXTS = {
    "Chinese": "人人生而自由,在尊严和权利上一律平等。",
    "English": "All human beings are born free and equal, in dignity and rights.",
    "German": "Alle Menschen sind frei und gleich an Würde geboren.",
    "Italian": "Tutti gli esseri umani nascono liberi ed eguali.",
    "Portuguese": "Todos os seres humanos nascem livres e iguais em dignidade.",
    "Spanish": "Todos los seres humanos nacen libres, e iguales en dignidad.",
    "Japanese": "すべてのにんげんは、うまれながらにしてじゆうである。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며, 그 존엄과 권리에 있어 동등하다.",
    "French": "Tous les êtres humains naissent libres, et égaux en dignité.",
    "Russian": "Все люди рождаются свободными и равными в своём достоинстве.",
}
WORDS = {
    "Chinese": ["人", "人", "生", "而", "自", "由", "在", "尊", "严", "和", "权", "利", "上", "一律", "平等"],
    "English": ["All", "human", "beings", "are", "born", "free", "and", "equal", "in", "dignity", "and", "rights"],
    "Korean": ["모든", "인간은", "태어날", "때부터", "자유로우며", "그", "존엄과", "권리에", "있어", "동등하다"],
    "Russian": ["Все", "люди", "рождаются", "свободными", "и", "равными", "в", "своём", "достоинстве"],
    "German": ["Alle", "Menschen", "sind", "frei", "und", "gleich", "an", "Würde", "geboren"],
    "Japanese": ["すべてのにんげんは", "うまれながらにしてじゆうである"],
}


def samples_of(answer: httpx.Response) -> tuple[np.ndarray, int]:
    """Return the samples and their rate."""
    samples, rate_hz = soundfile.read(io.BytesIO(audio_of(answer)), dtype="int16")
    return samples, rate_hz


@pytest.mark.parametrize("language", [*TEXTS, "Auto"])
def test_every_language_is_really_spoken(language: str, espeak_service: LocalService, say: Say) -> None:
    """Eleven language types give seconds of sound at 24,000 Hz, mono."""
    answer = say(espeak_service.url, TEXTS.get(language, TEXTS["Russian"]), language_type=language)
    samples, rate_hz = samples_of(answer)
    assert (rate_hz, samples.ndim) == (24_000, 1)
    assert 2 < len(samples) / rate_hz < 12
    assert 500 < np.sqrt(np.mean(samples.astype(float) ** 2)) < 10_000


@pytest.mark.parametrize("language", TEXTS)
def test_words_have_their_places_and_true_order(language: str, espeak_service: LocalService, say: Say) -> None:
    """Each word is the text at its place; times never go back, nor beyond the audio, and sound is found inside them."""
    text = TEXTS[language]
    answer = say(espeak_service.url, text, language_type=language, enable_timestamp=True)
    samples, rate_hz = samples_of(answer)
    words = answer.json()["output"]["sentence"]["words"]
    assert [text[word["begin_index"] : word["end_index"]] for word in words] == [word["text"] for word in words]
    assert all(word["begin_time"] < word["end_time"] for word in words)
    for first, other in pairwise(words):
        assert first["end_time"] <= other["begin_time"]
        assert first["end_index"] <= other["begin_index"]
    assert words[0]["begin_time"] >= 0
    assert words[-1]["end_time"] <= len(samples) * 1_000 / rate_hz
    for word in words:
        part = samples[word["begin_time"] * rate_hz // 1_000 : word["end_time"] * rate_hz // 1_000]
        assert abs(part.astype(int)).max() > 300, word


@pytest.mark.parametrize("language", WORDS)
def test_words_are_the_words_of_the_text(language: str, espeak_service: LocalService, say: Say) -> None:
    """Nothing of the text is missing; what the voice runs together is one word."""
    answer = say(espeak_service.url, TEXTS[language], language_type=language, enable_timestamp=True)
    assert [word["text"] for word in answer.json()["output"]["sentence"]["words"]] == WORDS[language]


def test_a_pause_belongs_to_no_word(espeak_service: LocalService, say: Say) -> None:
    """The silence at a comma is between the words: the times are those of the sound."""
    answer = say(espeak_service.url, "Stop, go.", enable_timestamp=True)
    samples, rate_hz = samples_of(answer)
    stop, go = answer.json()["output"]["sentence"]["words"]
    assert go["begin_time"] - stop["end_time"] > 80
    silence = samples[(stop["end_time"] + 40) * rate_hz // 1_000 : (go["begin_time"] - 20) * rate_hz // 1_000]
    assert abs(silence.astype(int)).max() < 300


def test_no_words_unless_asked(espeak_service: LocalService, say: Say) -> None:
    """Without ``enable_timestamp`` there is no sentence."""
    assert "sentence" not in say(espeak_service.url).json()["output"]


def test_every_voice_name_sounds_different(espeak_service: LocalService, say: Say) -> None:
    """27 names, 27 sounds: length or spectrum tells any two apart."""
    spectra = []
    for voice in VOICES:
        samples, _ = samples_of(say(espeak_service.url, "Hello world, how are you?", voice=voice))
        spectrum = np.abs(np.fft.rfft(samples.astype(float), 1 << 17))[: 1 << 15].reshape(-1, 256).sum(axis=1)
        spectra.append((voice, len(samples), spectrum / spectrum.sum()))
    for index, (voice, length, spectrum) in enumerate(spectra):
        for other, its_length, its_spectrum in spectra[:index]:
            apart = abs(length - its_length) / length + np.abs(spectrum - its_spectrum).sum()
            assert apart > 0.1, (voice, other)


def test_speed_shortens(espeak_service: LocalService, say: Say) -> None:
    """Twice the speed is about half the time."""
    slow, usual, fast = (len(samples_of(say(espeak_service.url, TEXTS["English"], speed=x))[0]) for x in (0.5, 1, 2))
    assert slow > 1.6 * usual
    assert usual > 1.6 * fast


def test_volume_is_an_amplitude(espeak_service: LocalService, say: Say) -> None:
    """Half the volume is about half the amplitude."""
    soft, usual = (np.std(samples_of(say(espeak_service.url, TEXTS["English"], volume=x))[0]) for x in (0.5, 1))
    assert 0.4 < soft / usual < 0.6


def test_pitch_is_a_frequency(espeak_service: LocalService, say: Say) -> None:
    """Twice the pitch is heard about an octave higher."""

    def pitch_hz(pitch: float) -> float:
        samples, rate_hz = samples_of(say(espeak_service.url, "Aaaaaaa.", voice="Aiden", pitch=pitch))
        middle = samples[len(samples) // 4 : len(samples) // 4 + 4_096].astype(float)
        same = np.correlate(middle, middle, "full")[len(middle) :]
        least = rate_hz // 400
        return float(rate_hz / (least + 1 + np.argmax(same[least : rate_hz // 40])))

    assert 1.3 < pitch_hz(1.5) / pitch_hz(1.0) < 1.7


@pytest.mark.parametrize("rate_hz", [24_000, 16_000])
@pytest.mark.parametrize("response_format", ["wav", "mp3", "pcm"])
def test_format_and_rate_are_as_asked(
    response_format: str, rate_hz: int, espeak_service: LocalService, say: Say
) -> None:
    """wav and mp3 carry the rate; pcm is samples alone, of the same length."""
    answer = say(espeak_service.url, response_format=response_format, sample_rate=rate_hz)
    data = audio_of(answer)
    if response_format == "pcm":
        assert data[:4] != b"RIFF"
        frames = len(data) // 2
    else:
        info = soundfile.info(io.BytesIO(data))
        assert (info.format, info.samplerate, info.channels) == (response_format.upper(), rate_hz, 1)
        frames = info.frames
    assert 0.5 < frames / rate_hz < 2


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "...", "   ", "😀", "a" * 600, "9" * 600, "\u202e\u200b", "<b>&amp;</b>"]
)
def test_odd_texts_are_spoken(text: str, espeak_service: LocalService, say: Say) -> None:
    """Whatever the text, an answer with audio comes back, words in place."""
    answer = say(espeak_service.url, text, enable_timestamp=True)
    assert answer.status_code == 200
    words = answer.json()["output"]["sentence"]["words"]
    assert [text[word["begin_index"] : word["end_index"]] for word in words] == [word["text"] for word in words]
    assert len(audio_of(answer)) > 44


def test_a_zero_does_not_end_a_text(espeak_service: LocalService, say: Say) -> None:
    """What comes after it is spoken too, and found in its place."""
    answer = say(espeak_service.url, "Hello\0there world", enable_timestamp=True)
    words = answer.json()["output"]["sentence"]["words"]
    assert [(word["text"], word["begin_index"]) for word in words] == [("Hello", 0), ("there", 6), ("world", 12)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads what is loaded from /proc")
def test_the_library_is_not_loaded_by_the_service() -> None:
    """espeak-ng stays in its own process: importing everything else, and starting, does not load it."""
    pytest.importorskip("espeakng_loader")
    program = (
        "import tts_pipeline.emulator.serve, tts_pipeline.emulator.local_service, tts_pipeline.emulator.espeak;"
        "print('espeak-ng' in open('/proc/self/maps').read())"
    )
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True).stdout == b"False\n"
