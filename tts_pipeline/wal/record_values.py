"""What records may say that are read back: a checksum tells what a disk damaged, and not what somebody else wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from types import UnionType
from typing import Any, get_type_hints

import pyarrow as pa

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.models import Audio, CachedAudio, Usage, Word
from tts_pipeline.schema import MONEY, REJECTS, SPEECH, TIMESTAMP, WORD_TIMESTAMPS, Column

_MAX = {pa.int16(): 2**15 - 1, pa.int32(): 2**31 - 1, pa.int64(): 2**63 - 1, TIMESTAMP: 2**63 - 1}
_MAX_BY_NAME = {
    **dict.fromkeys(("segment", "number", "http_status"), _MAX[pa.int16()]),
    **dict.fromkeys(("take", "text_start", "text_end"), _MAX[pa.int32()]),
}
_SIGNED = frozenset({"take", *Usage._fields})
"""A take is the user's own, and what a service reports may be anything."""


class MalformedRecordError(ValueError):
    """A record says what nothing of ours can have written."""


def check_fields(record: Attempt | Settlement | Usage | Word | Audio) -> None:
    """Make sure that a record's fields are of their types, and fit the tables.

    Raises:
        MalformedRecordError: One is not, or does not.
    """
    for name, expected_type, maximum in _FIELDS[type(record)]:
        value = getattr(record, name)
        if not isinstance(value, expected_type) or (value.__class__ is bool and expected_type is not bool):
            raise MalformedRecordError(name)
        if value.__class__ is int and not (-maximum if name in _SIGNED else 0) <= value <= maximum:
            raise MalformedRecordError(name)


def _fields_of(record_type: type[Any]) -> list[tuple[str, type | UnionType, int]]:
    return [
        (name, kind, _MAX_BY_NAME.get(name, _MAX[pa.int64()])) for name, kind in get_type_hints(record_type).items()
    ]


_FIELDS = {made: _fields_of(made) for made in (Attempt, Settlement, Usage, Word, Audio)}


def check_cached(cached: CachedAudio) -> None:
    """Make sure that what is kept of an answer can be true; its audio is measured by whoever takes it.

    Raises:
        MalformedRecordError: It cannot.
    """
    answer, audio = cached.answer, cached.answer.audio
    check_fields(audio)
    check_fields(answer.usage)
    for word in answer.words or ():
        check_fields(word)
    is_valid = audio.sample_rate_hz and audio.channels and cached.segments.__class__ is int and cached.segments > 0
    if not is_valid or not all(map(_is_text, (cached.origin, answer.request_id or "", *answer.quality))):
        raise MalformedRecordError("answer")


def check_speech(values: Mapping[str, Any]) -> None:
    """Make sure that what a record says of a speech fits the speech table.

    Raises:
        MalformedRecordError: Something does not.
    """
    _check(_SPEECH, values)
    if not values["segments"] or not values["sample_rate_hz"] or not values["channels"]:
        raise MalformedRecordError("segments")


def check_reject(values: Mapping[str, Any]) -> None:
    """Make sure that what a record says of a reject fits the rejects table.

    Raises:
        MalformedRecordError: Something does not.
    """
    _check(_REJECTS, values)


def _check(checks: Sequence[tuple[str, bool, Callable[[Any], bool]]], values: object) -> None:
    if not isinstance(values, dict):
        raise MalformedRecordError("values")
    for name, nullable, is_valid in checks:
        value = values.get(name)
        if not (nullable if value is None else is_valid(value)):
            raise MalformedRecordError(name)


def _column_check(column: Column) -> Callable[[Any], bool]:
    if column.type in _MAX:
        maximum = _MAX[column.type]
        is_signed = column.name in _SIGNED
        return lambda value: value.__class__ is int and (-maximum if is_signed else 0) <= value <= maximum
    by_type = {pa.string(): _is_text, MONEY: _is_amount, WORD_TIMESTAMPS: _are_words}
    return by_type.get(column.type, _are_texts)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_amount(value: Any) -> bool:
    try:
        amount = Decimal(value)
        return amount.is_finite() and amount >= 0
    except (InvalidOperation, TypeError, ValueError):
        return False


def _are_words(value: Any) -> bool:
    try:
        for word in value:
            check_fields(Word(**word))
    except (TypeError, MalformedRecordError):
        return False
    return isinstance(value, list)


def _column_checks(columns: Sequence[Column], excluded: Sequence[str]) -> list[tuple[str, bool, Callable[[Any], bool]]]:
    return [(column.name, column.nullable, _column_check(column)) for column in columns if column.name not in excluded]


_ROW_COLUMNS = ("utterance_id", "take", "text", "service", "model", "audio", "audio_sha256", "invocation_id", "input")
"""Columns that other places tell."""

_SPEECH = _column_checks(SPEECH, _ROW_COLUMNS)
_REJECTS = _column_checks(REJECTS, _ROW_COLUMNS)
