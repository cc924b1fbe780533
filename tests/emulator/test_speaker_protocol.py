from __future__ import annotations

import io

import pytest

from tts_pipeline.emulator.audio import SynthesisError, SynthesisResult, TimedWord
from tts_pipeline.emulator.request import SpeechRequest
from tts_pipeline.emulator.speaker_protocol import pack_frame, read_frames


@pytest.mark.parametrize(
    "value",
    [
        SpeechRequest("m", "你好 \0 😀 \r\n", "Eldric Sage", "Chinese", "pcm", 16_000, 1.3, 0.5, 2, timestamps=True),
        SynthesisResult(b"\0\1\2" * 1_000, None),
        SynthesisResult(b"\0\1\2" * 1_000, ()),
        SynthesisResult(b"", (TimedWord("你好", 0, 300, 0, 2), TimedWord("b", 300, 301, 3, 4))),
    ],
)
def test_a_request_and_an_answer_come_back_the_same(value: object) -> None:
    """Text of any script and every number survive; no words asked for and no words found are two things."""
    assert list(read_frames(io.BytesIO(pack_frame(value) + pack_frame("next")))) == [value, "next"]


def test_an_error_comes_back_as_one() -> None:
    """A voice that fails says so, in its own words."""
    (error,) = read_frames(io.BytesIO(pack_frame(SynthesisError("no voice"))))
    assert isinstance(error, SynthesisError)
    assert str(error) == "no voice"


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_cut_frame_is_none(cut: int) -> None:
    """The stream may end anywhere: only whole frames are handed on."""
    whole = pack_frame("first") + pack_frame("12345")
    assert list(read_frames(io.BytesIO(whole[:-cut]))) == ["first"]
