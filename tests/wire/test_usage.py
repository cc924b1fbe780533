"""Usage: whichever fields a service tells, as counts that a column can hold."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import astuple

from tts_pipeline.models import Usage
from tts_pipeline.wire.usage import InvalidUsage, usage_in_headers, usage_of


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"usage": {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0, "characters": 195}}, Usage(195, 0, 0, 0)),
        ({"usage": {"characters": 7}}, Usage(7)),
        (
            {"usage": {"input_tokens_details": {"text_tokens": 5}, "output_tokens_details": {"audio_tokens": 90}}},
            Usage(None, 5, 90),
        ),
        ({"usage": {"input_tokens": 6, "input_tokens_details": {"text_tokens": 5}}}, Usage(None, 6)),
        ({"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}, Usage(None, 1, 2, 3)),
        ({"output": {"usage": {"characters": 7}}}, Usage(7)),
        ({"token_usage": {"input_tokens": 1}}, Usage(None, 1)),
        ({"usage": {"characters": 7.0}}, Usage(7)),
        ({"usage": {"characters": True, "input_tokens": "9", "output_tokens": -1, "total_tokens": 2**70}}, Usage()),
        ({"usage": {"characters": 7.5}}, Usage()),
        ({"usage": []}, Usage()),
        ({}, Usage()),
    ],
)
def test_usage(payload: dict[str, Any], expected: Usage) -> None:
    """None for what is not told, or told as nonsense."""
    assert astuple(usage_of(payload)) == astuple(expected)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 2}}, Usage(None, 1, 2)),
        ({"usage_metadata": {"totalTokenCount": 3}}, Usage(None, None, None, 3)),
        ({"extra_info": {"usage_characters": 34, "audio_length": 4067}}, Usage(34)),
        ({"task_id": 1, "usage_characters": 101}, Usage(101)),
        ({"result": {"usage": {"processedCharactersCount": 5}}}, Usage(5)),
        ({"usage": {"input_tokens": 3}, "extra_info": {"usage_characters": 2}}, Usage(2, 3)),
        ({"error": {"message": "m", "usage": {"characters": 4}}}, Usage(4)),
        ({"characters": ["a", "b"], "billed_characters": 2}, Usage(2)),
    ],
)  # fmt: skip
def test_usage_of_other_makers(payload: dict[str, Any], expected: Usage) -> None:
    """Under their names, in their places."""
    assert astuple(usage_of(payload)) == astuple(expected)


@pytest.mark.parametrize(
    ("headers", "characters"),
    [
        ({"character-cost": "35"}, 35),
        ({"dg-char-count": " 7 "}, 7),
        ({"x-amzn-requestcharacters": "0"}, 0),
        ({"character-cost": "9" * 30}, None),
        ({"character-cost": "-1", "x-characters": "4"}, 4),
        ({}, None),
    ],
)
def test_usage_in_headers(headers: dict[str, str], characters: int | None) -> None:
    """A whole number, or nothing."""
    assert usage_in_headers(headers) == Usage(characters)


@pytest.mark.parametrize("count", [-1, 7.5, 2**70, 1e308, -0.5])
def test_a_number_that_is_no_count_is_remembered(count: float) -> None:
    """Wherever it stands, though the field is None: whoever reports it is not believed."""
    for payload in ({"usage": {"characters": count}}, {"characters_count": 1, "usage_characters": count},
                    {"usage": {"output_tokens": count}, "extra_info": {"usage_characters": 7}}):  # fmt: skip
        assert isinstance(usage_of(payload), InvalidUsage)
    assert not isinstance(
        usage_of({"usage": {"characters": 7, "input_tokens": True, "output_tokens": "9"}}), InvalidUsage
    )
