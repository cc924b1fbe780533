from __future__ import annotations

from typing import Any

import pytest

from tts_pipeline.emulator.request import RefusalError, SpeechRequest, parse_request

GOOD: dict[str, Any] = {"model": "qwen3-tts-flash", "input": "Hello"}


def test_unset_parameters_have_their_usual_values() -> None:
    """A text and a model are enough: wav, 24,000 Hz, the usual voice, the language of the script."""
    assert parse_request(GOOD) == SpeechRequest("qwen3-tts-flash", "Hello", "Cherry", "English")


def test_every_parameter_of_both_services_is_taken() -> None:
    """One request may carry all of them, whole numbers and tenths alike; unknown ones are ignored."""
    parameters = {
        "voice": "Eldric Sage",
        "language_type": "Korean",
        "response_format": "pcm",
        "sample_rate": 16000,
        "volume": 0.1,
        "speed": 2,
        "pitch": 1.7,
        "instructions": "Speak slowly.",
        "optimize_instructions": False,
        "enable_timestamp": True,
        "something": "else",
    }
    request = parse_request(GOOD | {"model": "qwen3-tts-instruct-flash"} | parameters)
    assert request == SpeechRequest(
        "qwen3-tts-instruct-flash", "Hello", "Eldric Sage", "Korean", "pcm", 16_000, 2, 1.7, 0.1, timestamps=True
    )


@pytest.mark.parametrize(
    ("wrong", "status", "code", "part"),
    [
        ({"model": "qwen9"}, 404, "ModelNotFound", "qwen9"),
        ({"model": 3}, 400, "InvalidParameter", "'model'"),
        ({"input": None}, 400, "InvalidParameter", "'input'"),
        ({"input": ""}, 400, "InvalidParameter", "Range of input length should be [1, 600]"),
        ({"input": "字" * 601}, 400, "InvalidParameter", "Range of input length should be [1, 600]"),
        ({"voice": "Bob"}, 400, "InvalidParameter", "'voice'"),
        ({"voice": None}, 400, "InvalidParameter", "'voice'"),
        ({"voice": ["Cherry"]}, 400, "InvalidParameter", "'voice'"),
        ({"language_type": "Klingon"}, 400, "InvalidParameter", "'language_type'"),
        ({"response_format": "ogg"}, 400, "InvalidParameter", "'response_format'"),
        ({"sample_rate": "24000"}, 400, "InvalidParameter", "'sample_rate'"),
        ({"sample_rate": 44100}, 400, "InvalidParameter", "'sample_rate'"),
        ({"volume": 0}, 400, "InvalidParameter", "'volume'"),
        ({"volume": 2.1}, 400, "InvalidParameter", "'volume'"),
        ({"speed": 1.25}, 400, "InvalidParameter", "steps of 0.1"),
        ({"speed": True}, 400, "InvalidParameter", "'speed'"),
        ({"pitch": "1"}, 400, "InvalidParameter", "'pitch'"),
        ({"pitch": float("inf")}, 400, "InvalidParameter", "'pitch'"),
        ({"instructions": 1}, 400, "InvalidParameter", "'instructions'"),
        ({"optimize_instructions": "false"}, 400, "InvalidParameter", "'optimize_instructions'"),
        ({"enable_timestamp": 1}, 400, "InvalidParameter", "'enable_timestamp'"),
    ],
)
def test_what_is_wrong_is_refused(wrong: dict[str, Any], status: int, code: str, part: str) -> None:
    """Each value of a wrong type or out of its range is refused by name."""
    with pytest.raises(RefusalError) as exc_info:
        parse_request(GOOD | wrong)
    assert (exc_info.value.status, exc_info.value.code) == (status, code)
    assert part in exc_info.value.message


def test_600_characters_pass() -> None:
    """The limit counts characters, whatever they are charged for."""
    assert len(parse_request(GOOD | {"input": "字" * 600}).text) == 600
