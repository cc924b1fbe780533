"""Frozen value types that all floors share: utterances, segments, audio, answers, speech, rejects, prices.

Types that are built for every request are structs: a struct of a dozen fields is built in 0.2 us, a named tuple in 1,
a frozen dataclass in 5. The fields of those that a journal holds have the ranges of the tables' columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

ParameterValue = str | int | float | bool | dict[str, Any] | list[Any]
"""Value of a voice parameter. ``True`` is a boolean, never the number 1; objects and lists are those of JSON."""

Parameters = Mapping[str, ParameterValue]
"""The voice parameters that are set, by the service's own names (``voice``, ``speed``, ...)."""

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Count16 = Annotated[int, Meta(ge=0, le=2**15 - 1)]
Count32 = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Take = Annotated[int, Meta(ge=-(2**31) + 1, le=2**31 - 1)]
"""The user chooses the take, and may choose a negative one."""

Reported = Annotated[int, Meta(ge=-(2**63) + 1, le=2**63 - 1)]
"""A service may report any number."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One input row: a text to speak, and its voice parameters.

    Args:
        utterance_id: Unique together with ``take``.
        text: The text to speak; an empty one becomes a reject.
        parameters: The voice parameters of this row; unset ones are absent, never None.
        take: Distinguishes several readings of one text.
    """

    utterance_id: str
    text: str
    parameters: Parameters = field(default_factory=dict)
    take: int = 0

    @property
    def voice(self) -> str | None:
        """The requested voice, an object as JSON; None when left to the service."""
        voice = self.parameters.get("voice")
        if voice is None or type(voice) is str:
            return voice
        return json.dumps(voice, ensure_ascii=False) if isinstance(voice, dict | list) else str(voice)


class Segment(Struct, frozen=True, gc=False):
    """A piece of an utterance that fits the model's input limit.

    Args:
        index: Index among the utterance's segments, from 0.
        text: The text that is sent, exactly ``utterance.text[start:end]``.
        start: Index of the first character in the utterance's text.
        end: Index after the last character.
    """

    index: int
    text: str
    start: int
    end: int


class Word(Struct, frozen=True, gc=False):
    """One timed word; ``text_start`` and ``text_end`` are its half-open range in the utterance's text, if known."""

    text: str
    start_ms: Count
    end_ms: Count
    text_start: Count32 | None
    text_end: Count32 | None


class Usage(Struct, frozen=True, gc=False):
    """The usage that the service reported for one attempt; None for counts that it did not report."""

    characters_reported: Reported | None = None
    input_tokens: Reported | None = None
    output_tokens: Reported | None = None
    total_tokens: Reported | None = None


HOUR_MS = 3_600_000


class Audio(Struct, frozen=True, gc=False):
    """Playable audio, and the facts that its bytes state.

    Args:
        data: A complete file: headerless PCM is wrapped as WAV, a wrong WAV header is corrected.
        format: ``wav``, ``mp3``, ``flac``, ``ogg``, ``aac``, ... as identified from the bytes, not as requested.
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
        """Show all fields but the bytes."""
        fields_text = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__[1:])
        return f"Audio({len(self.data)} bytes, {fields_text})"


class Answer(Struct, frozen=True, gc=False):
    """The result of a successful attempt: one segment's audio, paid for.

    Args:
        segment: Index of the segment, from 0.
        audio: The received audio, wrapped or corrected so that it plays.
        words: Timed words, with ranges in the *segment's* text; None without timestamps.
        usage: The usage that the service reported.
        request_id: The service's request id; None when it sent none.
        quality: Quality flags so far, such as ``unverified_length``.
    """

    segment: int
    audio: Audio
    words: tuple[Word, ...] | None = None
    usage: Usage = Usage()
    request_id: str | None = None
    quality: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CachedAudio:
    """Audio that was bought before for an equal request, and need not be bought again.

    Args:
        answer: The answer to that request, with ranges in the text of the request. Its audio and words may also be
            those of a whole utterance, joined from several segments.
        origin: For people: the utterance that the audio was bought for, and where it is kept.
        segments: Number of segments that the text was spoken in.
    """

    answer: Answer
    origin: str
    segments: int = 1


@dataclass(frozen=True, slots=True)
class History:
    """The record of an utterance from earlier invocations, or from before a crash.

    Args:
        answers: Answers that are already paid for, by the index of their segment; these are not bought again.
        boundaries: The (start, end) of each segment as first planned, so that a later version that would cut elsewhere
            still fits the answers already paid for; None for an utterance that was never begun.
        segment_attempts: Number of requests that were sent for each segment, by its index.
        characters_billed: Confirmed characters of these attempts.
        cost: Confirmed cost of these attempts; None without a price.
    """

    answers: Mapping[int, Answer] = field(default_factory=dict)
    boundaries: tuple[tuple[int, int], ...] | None = None
    segment_attempts: Mapping[int, int] = field(default_factory=dict)
    characters_billed: int = 0
    cost: Decimal | None = None


class Speech(Struct, frozen=True, gc=False):
    """The result of an utterance that succeeded.

    Args:
        utterance: The utterance that was spoken.
        audio: The audio of the whole utterance.
        words: Timed words, with ranges in the utterance's text; None without timestamps.
        language: BCP-47; None when left to the service.
        segments: Number of segments that the text was spoken in.
        attempts: Number of requests that were sent for it, over all known invocations.
        request_id: The service's request id of the last segment; None when it sent none.
        request_key: Hash of exactly what was sent.
        usage: Sum over the successful attempts of its segments.
        characters_counted: Our count of the sent text.
        characters_billed: Confirmed characters of all its attempts.
        cost: Confirmed cost of all its attempts; None without a price.
        currency: Currency of ``cost``; None without a price.
        quality: Quality flags, sorted.
        created_at_us: Microseconds since 1970 UTC.
        deduplicated_from: Origin of the audio when nothing was bought for this utterance; None otherwise.
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
        utterance: The utterance that failed.
        error_class: ``input`` (never sent), ``permanent`` or ``transient`` (attempts used up).
        error_code: The service's code or ours.
        message: The failure, with a hint; never the whole text.
        attempts: Number of requests that were sent for it.
        cost: Confirmed cost of its attempts; None without a price.
        currency: Currency of ``cost``; None without a price.
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
    """The price of a model on a service, with its period and its source.

    Either ``per_10k_characters`` or the two ``per_1m_*`` prices are set, never both.

    Args:
        price_id: Stable name, stored with every attempt.
        currency: ISO 4217.
        basis: ``list`` (the maker's published price) or ``user``.
        per_10k_characters: Price of 10,000 billed characters.
        per_1m_input_tokens: Price of 1,000,000 tokens of text.
        per_1m_output_tokens: Price of 1,000,000 tokens of audio.
        effective_from: First day of the price; None has no beginning.
        effective_until: First day after the price; None has no end.
        source: Where the figure was read, and when.
        timezone: The time zone of these days: the vendor's, by its IANA name.
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
    timezone: str = field(default="UTC", repr=False)  # a call of an earlier version is found by its prices' repr

    @property
    def begin(self) -> datetime | None:
        """The instant from which the price applies; None has no beginning."""
        return self._midnight(self.effective_from)

    @property
    def end(self) -> datetime | None:
        """The first instant after the price; None has no end."""
        return self._midnight(self.effective_until)

    def applies_at(self, at: datetime) -> bool:
        """Return whether the price applies at an instant."""
        return (self.begin is None or self.begin <= at) and (self.end is None or at < self.end)

    def _midnight(self, day: date | None) -> datetime | None:
        return None if day is None else datetime.combine(day, time(), ZoneInfo(self.timezone)).astimezone(UTC)


UtteranceKey = tuple[str, int]
"""``(utterance_id, take)``: identifies an utterance within a dataset."""
