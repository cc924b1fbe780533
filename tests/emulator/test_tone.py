from __future__ import annotations

import io
import subprocess
import sys
import time

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.emulator.request import SpeechRequest
from tts_pipeline.emulator.tone import speak_tone, tone


@given(st.lists(st.text(min_size=1, max_size=50), unique=True, min_size=2, max_size=8))
def test_different_texts_give_different_bytes(texts: list[str]) -> None:
    """Whose audio it is can be told from the bytes."""
    assert len({tone(text, tone_bytes=4_800) for text in texts}) == len(texts)


def test_no_two_of_many_short_tones_are_alike() -> None:
    """Also texts whose tones begin at the same place of the sound are told apart."""
    texts = [f"text {number}" for number in range(5_000)]
    assert len({tone(text, tone_bytes=2_000) for text in texts}) == len(texts)


def test_the_same_text_gives_the_same_bytes_in_another_process() -> None:
    """A test can compute anew what a service has answered."""
    program = (
        "import hashlib; from tts_pipeline.emulator.tone import tone; print(hashlib.sha256(tone('Hello')).hexdigest())"
    )
    import hashlib

    digest = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
    assert digest == hashlib.sha256(tone("Hello")).hexdigest()


@pytest.mark.parametrize("rate_hz", [16_000, 24_000])
def test_a_tone_is_a_playable_wav(rate_hz: int) -> None:
    """70 ms a character at the rate asked for, heard but not clipped."""
    samples, found_hz = soundfile.read(io.BytesIO(tone("0123456789", sample_rate_hz=rate_hz)), dtype="int16")
    assert (found_hz, len(samples)) == (rate_hz, rate_hz * 700 // 1_000)
    assert 1_000 < abs(samples.astype(int)).max() < 30_000


def test_tone_bytes_are_the_bytes_of_the_samples() -> None:
    """The header is not counted, and an odd byte is dropped."""
    assert len(tone("x", tone_bytes=48_001)) == 48_000 + 44
    assert tone("x", tone_bytes=48_000, response_format="pcm") == tone("x", tone_bytes=48_000)[44:]
    assert len(tone("x", tone_bytes=2)) == 46
    assert len(tone("x" * 600, tone_bytes=9_000_000)) == 9_000_044


def test_mp3_is_compressed() -> None:
    """Also a tone can be had as mp3."""
    data = tone("Hello", response_format="mp3")
    assert soundfile.info(io.BytesIO(data)).format == "MP3"


def test_words_cover_the_tone() -> None:
    """Words asked for are spread over the audio, each at its place in the text."""
    text = "Hello 你好 world"
    result = speak_tone(SpeechRequest("m", text, "Cherry", "English", timestamps=True), None)
    assert result.words is not None
    assert [word.text for word in result.words] == ["Hello", "你", "好", "world"]
    assert all(text[word.begin_index : word.end_index] == word.text for word in result.words)
    assert result.words[-1].end_ms == 14 * 70
    assert speak_tone(SpeechRequest("m", text, "Cherry", "English"), None).words is None


def test_a_tone_is_cheap() -> None:
    """48 KB take far less than the 0.6 ms that 1,500 answers a second leave for everything."""
    tone("warm", tone_bytes=48_000)
    began = time.process_time()
    for number in range(1_000):
        tone(f"text {number}", tone_bytes=48_000)
    assert (time.process_time() - began) / 1_000 < 0.000_2
