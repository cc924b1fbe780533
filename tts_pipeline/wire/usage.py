"""Read what an answer says it consumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tts_pipeline.models import Usage

NO_USAGE = Usage()
"""That of an answer that tells none."""

_MAX = 2**53
"""Beyond this a count is nonsense, and no column could hold it."""

_CHARACTERS = ("characters", "input_characters")
# Older Alibaba models tell the tokens of each kind in *_details only; prompt_ and completion_ are the chat dialect's.
_INPUT = ("input_tokens", "prompt_tokens", ("input_tokens_details", "text_tokens"))
_OUTPUT = ("output_tokens", "completion_tokens", ("output_tokens_details", "audio_tokens"))
_TOTAL = ("total_tokens",)


def usage_of(payload: Mapping[str, Any]) -> Usage:
    """Return the usage of one JSON object; None in every field that it does not tell."""
    told = payload.get("usage") or payload.get("token_usage")
    if told is None and isinstance(payload.get("output"), dict):
        told = payload["output"].get("usage")
    if not isinstance(told, dict) or not told:
        return NO_USAGE
    return Usage(*(_first_count(told, names) for names in (_CHARACTERS, _INPUT, _OUTPUT, _TOTAL)))


def _first_count(told: Mapping[str, Any], names: Sequence[str | tuple[str, str]]) -> int | None:
    for name in names:
        if isinstance(name, str):
            count = told.get(name)
        else:
            details = told.get(name[0])
            count = details.get(name[1]) if isinstance(details, dict) else None
        if count is not None:
            return _counted(count)
    return None


def _counted(count: object) -> int | None:
    if isinstance(count, bool) or not isinstance(count, int | float) or not 0 <= count <= _MAX:
        return None
    return int(count) if count == int(count) else None
