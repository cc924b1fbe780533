"""Parse the usage that an answer reports, under every vendor's field names.

Read 2026-11: ``usage`` of Alibaba Model Studio and of OpenAI; ``usageMetadata`` of the Gemini API, also in a 200
without audio; ``extra_info.usage_characters`` of MiniMax T2A; ``x-amzn-requestcharacters`` of Amazon Polly. From
memory, not looked up: ``usage.processedCharactersCount`` of Inworld, ``billable_characters_count`` of Speechify,
``consumedCharacterCount`` of Murf, ``input_character_length`` of DeepInfra, and the headers ``character-cost`` of
ElevenLabs and ``dg-char-count`` of Deepgram.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import astuple

from tts_pipeline.models import Usage

NO_USAGE = Usage()
"""The usage of an answer that reports none."""


class InvalidUsage(Usage, frozen=True):
    """Usage with an invalid count (negative, a fraction, or too large for a column), which is None."""


_INVALID = -1
_MAX_COUNT = 2**53
"""A larger count is invalid, and too large for any column."""

_USAGE_NAMES = ("usage", "token_usage", "usageMetadata", "usage_metadata", "extra_info", "billing")
_HOLDERS = (None, "output", "data", "result", "response", "metadata", "meta", "error", "message")
"""Objects that may hold the usage: the answer itself, and those one level down."""

_BARE_CHARACTERS = (
    *("usage_characters", "billed_characters", "billable_characters_count", "consumedCharacterCount"),
    *("character_count", "characterCount", "input_character_length"),
)
"""Counts in the answer itself, without an object around them."""
_CHARACTERS = (
    *("characters", "input_characters", *_BARE_CHARACTERS, "characters_count", "processedCharactersCount"),
    *("billedCharacters", "total_characters", "request_characters"),
)
# Older Alibaba models report the tokens of each kind only in *_details; prompt_ and completion_ are the chat dialect's.
_INPUT_TOKENS = ("input_tokens", "prompt_tokens", "promptTokenCount")
_OUTPUT_TOKENS = ("output_tokens", "completion_tokens", "candidatesTokenCount")
_TOTAL_TOKENS = ("total_tokens", "totalTokenCount")
_HEADERS = (
    *("character-cost", "x-amzn-requestcharacters", "dg-char-count", "x-character-count", "x-characters"),
    *("x-usage-characters", "x-billed-characters"),
)
_HEADER_NAMES, _USAGE_NAME_SET, _BARE_NAMES = map(frozenset, (_HEADERS, _USAGE_NAMES, _BARE_CHARACTERS))


def usage_of(payload: Mapping[str, Any]) -> Usage:
    """Return the usage of one JSON object; counts that it does not report are None."""
    result = NO_USAGE
    for fields in _usage_objects(payload):
        usage = _make_usage(_counts_of(fields))
        result = usage if result is NO_USAGE else merge_usage(result, usage)
        if result.characters_reported is not None:  # true in the first object of nearly every answer
            return result
    if _BARE_NAMES.isdisjoint(payload):
        return result
    count = _first_count(payload, _BARE_CHARACTERS)
    return result if count is None else merge_usage(result, _make_usage((count, None, None, None)))


def usage_in_headers(headers: Mapping[str, str]) -> Usage:
    """Return the characters that headers (with lower-case names) report; ``NO_USAGE`` itself without any."""
    if _HEADER_NAMES.isdisjoint(headers):  # true for nearly every answer
        return NO_USAGE
    texts = {name: headers[name].strip() for name in _HEADERS if name in headers}
    numbers = {
        name: int(text) for name, text in texts.items() if text.isdecimal() and len(text) <= len(str(_MAX_COUNT))
    }
    return _make_usage((_first_count(numbers, _HEADERS), None, None, None)) if numbers else NO_USAGE


def merge_usage(first: Usage, other: Usage) -> Usage:
    """Return a usage, completed by the fields of another."""
    fields = (
        value if value is not None else later for value, later in zip(astuple(first), astuple(other), strict=True)
    )
    return (InvalidUsage if isinstance(first, InvalidUsage) or isinstance(other, InvalidUsage) else Usage)(*fields)


def _make_usage(counts: Sequence[int | None]) -> Usage:
    if _INVALID in counts:
        return InvalidUsage(*(None if count == _INVALID else count for count in counts))
    return Usage(*counts)


def _usage_objects(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = []
    for name in _HOLDERS:
        if name is not None and name not in payload:
            continue
        holder = payload if name is None else payload[name]
        if isinstance(holder, dict) and not _USAGE_NAME_SET.isdisjoint(holder):
            objects += [holder[name] for name in _USAGE_NAMES if name in holder and isinstance(holder[name], dict)]
    return objects


def _counts_of(fields: Mapping[str, Any]) -> tuple[int | None, int | None, int | None, int | None]:
    """Return the counts in the order of the fields of ``Usage``."""
    return (
        _first_count(fields, _CHARACTERS),
        _first_count(fields, _INPUT_TOKENS, ("input_tokens_details", "text_tokens")),
        _first_count(fields, _OUTPUT_TOKENS, ("output_tokens_details", "audio_tokens")),
        _first_count(fields, _TOTAL_TOKENS),
    )


def _first_count(
    fields: Mapping[str, Any], names: Sequence[str], nested_name: tuple[str, str] | None = None
) -> int | None:
    for name in names:
        if name in fields and (count := fields[name]) is not None:
            return _valid_count(count)
    if nested_name is not None and isinstance(details := fields.get(nested_name[0]), dict):
        return _valid_count(details.get(nested_name[1]))
    return None


def _valid_count(count: object) -> int | None:
    if isinstance(count, bool) or not isinstance(count, int | float):
        return None
    return int(count) if 0 <= count <= _MAX_COUNT and count == int(count) else _INVALID
