from __future__ import annotations

import io

import pytest

from tts_pipeline.emulator.audio import SynthesisError, SynthesisResult, TimedWord
from tts_pipeline.emulator.request import SpeechRequest
from tts_pipeline.emulator.speaker_protocol import (
    pack_answer,
    pack_error,
    pack_frame,
    pack_request,
    read_frames,
    unpack_answer,
    unpack_request,
)


def test_a_request_comes_back_the_same() -> None:
    """Text of any script and every number survive."""
    request = SpeechRequest(
        "m", "你好 \0 😀 \r\n", "Eldric Sage", "Chinese", "pcm", 16_000, 1.3, 0.5, 2, timestamps=True
    )
    assert [unpack_request(each) for each in read_frames(io.BytesIO(pack_request(request)))] == [request]


@pytest.mark.parametrize("words", [None, (), (TimedWord("你好", 0, 300, 0, 2), TimedWord("b", 300, 301, 3, 4))])
def test_an_answer_comes_back_the_same(words: tuple[TimedWord, ...] | None) -> None:
    """No words asked for and no words found are two things."""
    result = SynthesisResult(b"\0\1\2" * 1_000, words)
    head, audio = read_frames(io.BytesIO(pack_answer(result)))
    assert unpack_answer(head, audio) == result


def test_an_error_comes_back_as_one() -> None:
    """A voice that fails says so, and the next frame is the next answer's."""
    head, audio = read_frames(io.BytesIO(pack_error(SynthesisError("no voice"))))
    with pytest.raises(SynthesisError, match="no voice"):
        unpack_answer(head, audio)


@pytest.mark.parametrize("cut", range(9))
def test_a_cut_frame_is_none(cut: int) -> None:
    """The stream may end anywhere: only whole frames are handed on."""
    whole = pack_frame(b"first") + pack_frame(b"12345")
    assert list(read_frames(io.BytesIO(whole[: 9 + cut]))) == [b"first"]
