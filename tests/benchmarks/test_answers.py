"""What the load service answers, as a value."""

from __future__ import annotations

import base64

import orjson
import pytest

from benchmarks.answers import SHAPES, SLOWER, AnswerSpec, answer, audio, row_number, text_of

ORIGIN = "http://127.0.0.1:1"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_base_url_tells_how_to_answer(shape: str) -> None:
    """The path of a request to a base URL gives back what the base URL was made of."""
    answering = AnswerSpec(shape, 48_000, 200, 100)
    path = answering.base_url(ORIGIN).removeprefix(ORIGIN)
    assert AnswerSpec.from_path(f"{path}/v1/audio/speech") == answering


@pytest.mark.parametrize("path", ["/", "/v1/audio/speech", "/gif-1-2-3/v1/audio/speech", "/raw-1-2/v1/audio/speech"])
def test_other_paths_are_not_answered(path: str) -> None:
    """A path that says nothing of an answer is told apart."""
    assert AnswerSpec.from_path(path) is None


def test_a_request_tells_its_row() -> None:
    """The service knows a row by its text, however the request's body is written."""
    for number in (0, 37, 1_234_567):
        body = orjson.dumps({"voice": "Cherry", "input": text_of(number)})
        assert row_number(body) == number
    assert row_number(b"{}") == 0


def test_texts_are_distinct() -> None:
    """No two rows have one text, or one of them would not be bought."""
    assert len({text_of(number) for number in range(1_000)}) == 1_000


def test_one_row_in_so_many_is_slow() -> None:
    """Slow rows are slow by their number, so for everybody."""
    answering = AnswerSpec(latency_ms=100, slow_every=100)
    delays = [answering.delay_s(text_of(number).encode()) for number in range(1_000)]
    assert delays.count(0.1 * SLOWER) == 10
    assert delays.count(0.1) == 990
    assert AnswerSpec(latency_ms=100).delay_s(text_of(37).encode()) == 0.1


def test_every_shape_has_the_same_audio() -> None:
    """What is decoded from an answer is the audio, in each shape."""
    head, body = answer("base64", 2_000, ORIGIN).split(b"\r\n\r\n", 1)
    assert f"Content-Length: {len(body)}".encode() in head
    assert base64.b64decode(orjson.loads(body)["output"]["audio"]["data"]) == audio(2_000)
    assert answer("raw", 2_000, ORIGIN).endswith(audio(2_000))
    assert f"{ORIGIN}/audio/2000".encode() in answer("url", 2_000, ORIGIN)
