from __future__ import annotations

import base64
import json

import pytest

from tts_pipeline.emulator.audio import TimedWord
from tts_pipeline.emulator.rules import SHAPES, Rule
from tts_pipeline.emulator.shapes import _RENDERERS, NEEDS_URL, AnswerContent, render_answer, with_wav_length
from tts_pipeline.emulator.tone import tone

AUDIO = tone("Hello", tone_bytes=30_000)
URL = "http://127.0.0.1:1/emulator/audio/x.wav?Expires=99"
WORDS = (TimedWord("Hello", 0, 300, 0, 5), TimedWord("you", 350, 620, 7, 10))
ANSWER = AnswerContent("r-1", "Hello, you", AUDIO, "audio/wav", None, 99, 10, WORDS)
ANSWER_BY_URL = AnswerContent("r-1", "Hello, you", AUDIO, "audio/wav", URL, 99, 10, None)


def test_every_shape_can_be_had() -> None:
    """What a rule may name is what can be answered."""
    assert set(_RENDERERS) == set(SHAPES)
    assert set(SHAPES) > NEEDS_URL


@pytest.mark.parametrize("shape", ["ali_data", "bare_fields"])
def test_json_with_data_carries_the_audio_and_the_words(shape: str) -> None:
    """The audio is base64, the words are in the sentence."""
    output = json.loads(render_answer(ANSWER, shape).body)["output"]
    assert base64.b64decode(output["audio"]["data"], validate=True) == AUDIO
    assert output["sentence"]["words"][1] == {
        "text": "you",
        "begin_time": 350,
        "end_time": 620,
        "begin_index": 7,
        "end_index": 10,
    }


def test_bare_fields_are_bare() -> None:
    """Hardly a field is there: no status, no usage, no id."""
    body = json.loads(render_answer(AnswerContent("r", "x", AUDIO, "audio/wav", None, 0, 1, None), "bare_fields").body)
    assert list(body) == ["output"]
    assert list(body["output"]) == ["audio"]


def test_json_strings() -> None:
    """A URL, a data URI, or base64 alone."""
    assert json.loads(render_answer(ANSWER_BY_URL, "json_string_url").body) == URL
    assert base64.b64decode(json.loads(render_answer(ANSWER, "json_string_base64").body), validate=True) == AUDIO
    head, data = json.loads(render_answer(ANSWER, "json_string_data_uri").body).split(",")
    assert (head, base64.b64decode(data, validate=True)) == ("data:audio/wav;base64", AUDIO)


def test_urls() -> None:
    """In Ali's JSON, in an object, or as a redirect."""
    audio = json.loads(render_answer(ANSWER_BY_URL, "ali_url").body)["output"]["audio"]
    assert audio == {"data": "", "url": URL, "id": "audio_r-1", "expires_at": 99}
    assert json.loads(render_answer(ANSWER_BY_URL, "audio_url_object").body) == {
        "audio": {"url": URL},
        "usage": {"characters": 10},
    }
    redirect = render_answer(ANSWER_BY_URL, "redirect")
    assert (redirect.status, redirect.headers, redirect.body) == (302, {"Location": URL}, b"")


@pytest.mark.parametrize(
    ("shape", "label"), [("raw", "audio/wav"), ("raw_mislabelled", "audio/mpeg"), ("raw_unlabelled", None)]
)
def test_raw_bytes_are_the_audio(shape: str, label: str | None) -> None:
    """Under the right label, a wrong one, or none."""
    delivery = render_answer(ANSWER, shape)
    assert (delivery.body, delivery.content_type) == (AUDIO, label)


def test_answers_without_audio() -> None:
    """A 200 with nothing to hear in it."""
    assert json.loads(render_answer(ANSWER, "no_audio").body)["output"]["audio"] is None
    assert render_answer(ANSWER, "empty").body == b""
    data = json.loads(render_answer(ANSWER, "bad_base64").body)["output"]["audio"]["data"]
    with pytest.raises(ValueError, match="base64"):
        base64.b64decode(data, validate=True)


def test_rules_change_how_it_goes_out() -> None:
    """A cut and a body without length go with every shape."""
    cut = render_answer(ANSWER, "raw", Rule("cut", after_bytes=5, ends="connection"))
    assert (cut.cut, cut.cut_after, cut.framing) == (True, 5, "connection")


@pytest.mark.parametrize(("length", "whole"), [(0x7FFFFFBF, 0x7FFFFFE3), (0xFFFFFFFF, 0xFFFFFFFF), (0, 36)])
def test_a_wav_header_can_lie(length: int, whole: int) -> None:
    """Only the two lengths change; what is no WAV does not."""
    lying = with_wav_length(AUDIO, length)
    assert int.from_bytes(lying[40:44], "little") == length
    assert int.from_bytes(lying[4:8], "little") == whole
    assert (lying[:4], lying[8:40], lying[44:]) == (AUDIO[:4], AUDIO[8:40], AUDIO[44:])
    assert with_wav_length(AUDIO[44:], length) == AUDIO[44:]
    assert with_wav_length(AUDIO, None) == AUDIO


@pytest.mark.parametrize(
    ("form", "field"), [("characters", "alignment"), ("arrays", "word_timestamps"), ("objects", "words")]
)
@pytest.mark.parametrize("shape", ["ali_data", "bare_fields"])
def test_other_word_times_are_beside_the_output(shape: str, form: str, field: str) -> None:
    """Then there is no sentence."""
    body = json.loads(render_answer(ANSWER, shape, Rule("shape", timestamps=form)).body)
    assert field in body
    assert "sentence" not in body["output"]
