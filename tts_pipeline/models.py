"""Shared value types that one floor hands to the next. Frozen, without I/O.

Those that are made for every request are structs or named tuples: a frozen dataclass of a dozen fields takes 5 us to
make. Those that a journal holds are structs, whose fields have the ranges of the tables' columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

ParameterValue = str | int | float | bool | dict[str, Any] | list[Any]
"""What a voice parameter may be. ``True`` is a boolean, never the number 1; objects and lists are those of JSON."""

Parameters = Mapping[str, ParameterValue]
"""Voice parameters by the service's own names (``voice``, ``speed``, ...), only those that are set."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count16 = Annotated[int, Meta(ge=0, le=2**15 - 1)]
Count32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Take = Annotated[int, Meta(ge=-(2**31) + 1, le=2**31 - 1)]
"""A take is the user's own, and may be negative."""

Reported = Annotated[int, Meta(ge=-(2**63) + 1, le=2**63 - 1)]
"""What a service reports may be anything."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One input row: what is to be said, and how.

    Args:
        utterance_id: Unique together with ``take``.
        text: What is to be said; may be empty, which is a reject.
        parameters: The voice parameters that apply to this row; unset ones are absent, never None.
        take: Tells several readings of one text apart.
    """

    utterance_id: str
    text: str
    parameters: Parameters = field(default_factory=dict)
    take: int = 0

    @property
    def voice(self) -> str | None:
        """The voice asked for, an object as JSON; None when left to the service."""
        voice = self.parameters.get("voice")
        if isinstance(voice, dict | list):
            return json.dumps(voice, ensure_ascii=False)
        return None if voice is None else str(voice)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of an utterance that fits the model's input limit.

    Args:
        index: Place among the utterance's segments, from 0.
        text: What is sent, exactly ``utterance.text[start:end]``.
        start: Place of the first character in the utterance's text.
        end: Place after the last character.
    """

    index: int
    text: str
    start: int
    end: int


class Word(Struct, frozen=True, gc=False):
    """One timed piece of text; ``text_start`` and ``text_end`` are places in the utterance's text (half open)."""

    text: str
    start_ms: Count
    end_ms: Count
    text_start: Count32 | None
    text_end: Count32 | None


class Usage(Struct, frozen=True, gc=False):
    """What the service says one attempt consumed; None where it said nothing."""

    characters_reported: Reported | None = None
    input_tokens: Reported | None = None
    output_tokens: Reported | None = None
    total_tokens: Reported | None = None


HOUR_MS = 3_600_000


class Audio(NamedTuple):
    """Playable audio and what its bytes say of themselves.

    Args:
        data: A complete file: headerless PCM is wrapped as WAV, a lying WAV header is mended.
        format: ``wav``, ``mp3``, ``flac``, ``ogg``, ``aac``, ... as found in the bytes, not as asked for.
        sample_rate_hz: Samples per second and channel.
        channels: 1 is mono.
        duration_ms: Measured from the bytes, rounded to the nearest millisecond.
    """

    data: bytes
    format: str
    sample_rate_hz: int
    channels: int
    duration_ms: int

    def __repr__(self) -> str:
        """Show all but the bytes."""
        fields_text = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields[1:], self[1:], strict=True))
        return f"Audio({len(self.data)} bytes, {fields_text})"


class Answer(NamedTuple):
    """One segment's audio, paid for: what a successful attempt brought.

    Args:
        segment: Place of the segment, from 0.
        audio: As received, but wrapped or mended so that it plays.
        words: Timed words, places relative to the *segment's* text; None where there are none.
        usage: What the service reported.
        request_id: The service's; None when none came.
        quality: Flags found so far, such as ``unverified_length``.
    """

    segment: int
    audio: Audio
    words: tuple[Word, ...] | None = None
    usage: Usage = Usage()
    request_id: str | None = None
    quality: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CachedAudio:
    """Audio for exactly one request that was bought before, and need not be bought again.

    Args:
        answer: What it brought, with places relative to the text of that request. Audio and words may also be those of
            a whole utterance, joined from several segments.
        origin: Where it came from, for people: the utterance it was bought for, and where that is kept.
        segments: How many segments the text was said in.
    """

    answer: Answer
    origin: str
    segments: int = 1


@dataclass(frozen=True, slots=True)
class History:
    """What is known of an utterance from earlier invocations, or from before a crash.

    Args:
        answers: Segments that are already paid for, by their place; not to be bought again.
        boundaries: The (start, end) of each segment as first planned; None when it was never begun, so that a
            later version that would cut elsewhere still fits the answers already paid for.
        segment_attempts: Requests that were sent for each segment, by its place.
        characters_billed: Confirmed, over those attempts.
        cost: Confirmed, over those attempts; None without a price.
    """

    answers: Mapping[int, Answer] = field(default_factory=dict)
    boundaries: tuple[tuple[int, int], ...] | None = None
    segment_attempts: Mapping[int, int] = field(default_factory=dict)
    characters_billed: int = 0
    cost: Decimal | None = None


class Speech(NamedTuple):
    """The result of an utterance.

    Args:
        utterance: What was said.
        audio: The whole of it.
        words: Timed words with places in the utterance's text; None where there are none.
        language: BCP-47; None when left to the service.
        segments: How many segments it was said in.
        attempts: How many requests were sent for it, over all invocations known.
        request_id: The last segment's.
        request_key: Hash of exactly what was sent.
        usage: Summed over the segments' successful attempts.
        characters_counted: Our count over the text sent.
        characters_billed: Confirmed, over all its attempts.
        cost: Of all its confirmed attempts; None without a price.
        currency: Of ``cost``; None without a price.
        quality: Flags, sorted.
        created_at_us: Microseconds since 1970 UTC.
        deduplicated_from: Where the audio was taken from when this utterance bought nothing.
    """

    utterance: Utterance
    audio: Audio
    words: tuple[Word, ...] | None
    language: str | None
    segments: int
    attempts: int
    request_id: str | None
    request_key: str
    usage: Usage
    characters_counted: int
    characters_billed: int
    cost: Decimal | None
    currency: str | None
    quality: tuple[str, ...]
    created_at_us: int
    deduplicated_from: str | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """An utterance that failed for good.

    Args:
        utterance: What was to be said.
        error_class: ``input`` (never sent), ``permanent`` or ``transient`` (attempts used up).
        error_code: The service's code or ours.
        message: What happened, with a hint; never the whole text.
        attempts: How many requests were sent for it.
        cost: Of its confirmed attempts; None without a price.
        currency: Of ``cost``.
        failed_at_us: Microseconds since 1970 UTC.
    """

    utterance: Utterance
    error_class: str
    error_code: str
    message: str
    attempts: int
    cost: Decimal | None
    currency: str | None
    failed_at_us: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs on a service, from when to when, and who says so.

    Exactly one of ``per_10k_characters`` and the two ``per_1m_*`` prices is set. Money is decimal.

    Args:
        price_id: Stable name, stored with every attempt.
        currency: ISO 4217.
        basis: ``list`` (the maker's published price) or ``user``.
        per_10k_characters: By billed characters.
        per_1m_input_tokens: By token, text in.
        per_1m_output_tokens: By token, audio out.
        effective_from: First day (UTC) it holds; None is always.
        effective_until: First day (UTC) it no longer holds; None is open.
        source: Where the figure was read, and when.
    """

    price_id: str
    currency: str
    basis: Literal["list", "user"]
    per_10k_characters: Decimal | None = None
    per_1m_input_tokens: Decimal | None = None
    per_1m_output_tokens: Decimal | None = None
    effective_from: date | None = None
    effective_until: date | None = None
    source: str = ""


UtteranceKey = tuple[str, int]
"""``(utterance_id, take)``: what names an utterance within a dataset."""
