"""Define each kind of journal record as a type, which encodes it as JSON and refuses impossible values on reading.

A checksum finds the damage of a disk, but not the forgery of a person. So each field has a type and a range: those of
the tables in which it is published. Unknown fields are ignored, and fields that an earlier version did not write get
their defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, Any, Self

import msgspec

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.models import (
    Answer,
    Audio,
    Count,
    Count16,
    Price,
    Reject,
    Reported,
    Speech,
    Take,
    Usage,
    Word,
)
from tts_pipeline.money import are_consistent_amounts

FORMAT_VERSION = 1

Positive16 = Annotated[int, msgspec.Meta(ge=1, le=2**15 - 1)]
Positive32 = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class MalformedRecordError(ValueError):
    """A record holds values that this package never writes."""


class Record(msgspec.Struct, frozen=True, gc=False, tag_field="kind"):
    """The base of all records; ``kind`` is the first field, in every version."""


class JournalHeader(Record, frozen=True, kw_only=True, tag="open"):
    """The first record: the invocation that writes the journal, its job and its prices."""

    format: int = FORMAT_VERSION
    journal_id: str
    part: int = 0
    invocation_id: str = ""
    service: str = ""
    model: str = ""
    account: str | None = None
    prices: dict[str, Price] = msgspec.field(default_factory=dict)
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    dataset_fingerprint: str = ""
    door: str = ""
    key_id: str = ""
    list_prices: tuple[Price, ...] = ()


class Intent(Record, frozen=True, tag="intent"):
    """An attempt that may be sent; ``boundaries`` are the (start, end) of a long text's segments, stated once."""

    attempt: Attempt
    boundaries: tuple[tuple[Count, Count], ...] | None = None


class AnswerRecord(msgspec.Struct, frozen=True, gc=False):
    """An answer with the format of its audio, but without the audio's bytes, which are the payload beside it."""

    segment: Count16
    words: tuple[Word, ...] | None
    usage: Usage
    request_id: str | None
    quality: tuple[str, ...]
    format: str
    sample_rate_hz: Positive32
    channels: Positive32
    duration_ms: Count

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """Return the record of an answer."""
        audio = answer.audio
        return cls(
            answer.segment,
            answer.words,
            answer.usage,
            answer.request_id,
            answer.quality,
            audio.format,
            audio.sample_rate_hz,
            audio.channels,
            audio.duration_ms,
        )

    def to_answer(self, data: bytes) -> Answer:
        """Return the answer, with the bytes of its audio."""
        audio = Audio(data, self.format, self.sample_rate_hz, self.channels, self.duration_ms)
        return Answer(self.segment, audio, self.words, self.usage, self.request_id, self.quality)


class AnswerSpeech(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """The end of an utterance whose speech is one answer, unchanged; the answer's own record holds all other columns.

    Nearly every utterance ends so. Joined, converted, reused or retaken speech has a ``SpeechRecord``, which holds all
    columns and which earlier versions read.

    ``quality`` None means the flags of the answer. The time is in microseconds.
    """

    request_key: str
    created_at: Count
    language: str | None = None
    currency: str | None = None
    attempts: Count16 = 1
    quality: tuple[str, ...] | None = None

    @classmethod
    def of(cls, speech: Speech, attempt: Attempt, settled: Settled) -> Self | None:
        """Return the end of an utterance; None if its speech differs from the answer, or cost more attempts."""
        settlement, answer = settled.settlement, settled.answer
        if answer is None or speech.segments != 1 or speech.deduplicated_from is not None:
            return None
        if (
            speech.words != answer.words
            or speech.usage != answer.usage
            or speech.request_id != answer.request_id
            or speech.characters_counted != attempt.characters_counted
            or speech.characters_billed != settlement.characters_billed
            or speech.cost != settlement.cost
        ):
            return None
        return cls(
            request_key=speech.request_key,
            created_at=speech.created_at_us,
            language=speech.language,
            currency=speech.currency,
            attempts=speech.attempts,
            quality=None if speech.quality == answer.quality else speech.quality,
        )


class Settled(Record, frozen=True, tag="settled"):
    """The end of an attempt; the payload is the audio of its answer, if it has one.

    ``speech`` is set if the answer is also the end of its utterance, which saves a record of its own. Earlier versions
    ignore it: they read an answer that is paid for.
    """

    settlement: Settlement
    answer: AnswerRecord | None = None
    speech: AnswerSpeech | msgspec.UnsetType = msgspec.UNSET


class Discarded(Record, frozen=True, tag="discarded"):
    """The attempt of an answer that is not kept, because a later answer of the same segment is better."""

    attempt_id: str


class SpeechValues(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The columns of the speech table that a journal holds; times are in microseconds."""

    voice: str | None = None
    language: str | None = None
    audio_format: str
    sample_rate_hz: Positive32
    channels: Positive32
    duration_ms: Count
    timestamps: tuple[Word, ...] | None = None
    timestamps_source: str | None = None
    segments: Positive16
    attempts: Count16
    request_id: str | None = None
    request_key: str
    deduplicated_from: str | None = None
    characters_counted: Count
    characters_reported: Reported | None = None
    characters_billed: Count
    input_tokens: Reported | None = None
    output_tokens: Reported | None = None
    total_tokens: Reported | None = None
    cost: Decimal | None = None
    currency: str | None = None
    quality: tuple[str, ...]
    created_at: Count

    @classmethod
    def of(cls, speech: Speech) -> Self:
        """Return the values of a speech."""
        return cls(
            **_answer_columns(speech, speech.audio),
            voice=speech.utterance.voice,
            language=speech.language,
            segments=speech.segments,
            attempts=speech.attempts,
            request_key=speech.request_key,
            deduplicated_from=speech.deduplicated_from,
            characters_counted=speech.characters_counted,
            characters_billed=speech.characters_billed,
            cost=speech.cost,
            currency=speech.currency,
            quality=speech.quality,
            created_at=speech.created_at_us,
        )

    @classmethod
    def of_answer(cls, speech: AnswerSpeech, attempt: Attempt, settlement: Settlement, answer: AnswerRecord) -> Self:
        """Return the values of a speech that is one answer, unchanged."""
        return cls(
            **_answer_columns(answer, answer),
            voice=attempt.voice,
            language=speech.language,
            segments=1,
            attempts=speech.attempts,
            request_key=speech.request_key,
            characters_counted=attempt.characters_counted,
            characters_billed=settlement.characters_billed,
            cost=settlement.cost,
            currency=speech.currency,
            quality=answer.quality if speech.quality is None else speech.quality,
            created_at=speech.created_at,
        )


def _answer_columns(answer: Speech | AnswerRecord, audio: Audio | AnswerRecord) -> dict[str, Any]:
    """Return the columns that are the service's answer, to one segment or to all."""
    usage, words = answer.usage, answer.words
    return {
        "audio_format": audio.format,
        "sample_rate_hz": audio.sample_rate_hz,
        "channels": audio.channels,
        "duration_ms": audio.duration_ms,
        "timestamps": words,
        "timestamps_source": None if words is None else "service",
        "request_id": answer.request_id,
        "characters_reported": usage.characters_reported,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }


class SpeechRecord(Record, frozen=True, tag="speech"):
    """A finished utterance; its audio is the payload or, without a payload, the answer to the segment ``answer``."""

    utterance_id: str
    take: Take
    values: SpeechValues
    answer: Count16 | None = None


class RejectValues(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The columns of the rejects table that a journal holds; the time is in microseconds."""

    error_class: str
    error_code: str
    message: str
    attempts: Count16
    cost: Decimal | None = None
    currency: str | None = None
    failed_at: Count

    @classmethod
    def of(cls, reject: Reject) -> Self:
        """Return the values of a reject."""
        return cls(
            error_class=reject.error_class,
            error_code=reject.error_code,
            message=reject.message,
            attempts=reject.attempts,
            cost=reject.cost,
            currency=reject.currency,
            failed_at=reject.failed_at_us,
        )


class RejectRecord(Record, frozen=True, tag="reject"):
    """An utterance that failed for good."""

    utterance_id: str
    take: Take
    values: RejectValues


class UnaccountedSpend(Record, frozen=True, tag="lost"):
    """The spending that the missing end of a copied journal may hide; all zero where the copy is complete."""

    claimed_at_us: Count
    characters_upper_bound: Count
    cost_upper_bound: Decimal | None
    currency: str | None

    @property
    def is_nothing(self) -> bool:
        """Whether all spending is accounted for."""
        return not self.characters_upper_bound and not self.cost_upper_bound


AnyRecord = Intent | Settled | Discarded | SpeechRecord | RejectRecord | UnaccountedSpend
"""Every kind of record but the first record of a journal."""

encode_record = msgspec.json.Encoder().encode
"""Encode a record as JSON; money is text."""


def with_speech(settled: bytes, speech: AnswerSpeech) -> bytes:
    """Return an encoded ``Settled`` record with the end of its utterance."""
    return b'%b,"speech":%b}' % (settled[:-1], encode_record(speech))


# msgspec learns a dataclass, here ``Price``, when it first meets it: a process died in which two threads did so at once
# (0.22.0).
msgspec.json.Decoder(JournalHeader)

_DECODER = msgspec.json.Decoder(AnyRecord)
_REFUSALS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_record(data: bytes) -> AnyRecord:
    """Decode a record.

    Raises:
        MalformedRecordError: The record holds impossible values.
    """
    try:
        record: AnyRecord = _DECODER.decode(data)
    except _REFUSALS as error:
        raise MalformedRecordError(str(error)) from None
    if not _has_consistent_amounts(record):
        raise MalformedRecordError("amounts")
    return record


@contextmanager
def refuse_malformed() -> Iterator[None]:
    """Translate the errors of the decoder into a ``MalformedRecordError``."""
    try:
        yield
    except _REFUSALS as error:
        raise MalformedRecordError(str(error)) from None


def _has_consistent_amounts(record: AnyRecord) -> bool:
    """Return whether a record's amounts of characters and of money, confirmed and at most, can both be true."""
    match record:
        case Settled(settlement=end):
            billed = end.characters_billed, end.characters_upper_bound
            return are_consistent_amounts(billed, (end.cost, end.cost_upper_bound))
        case Intent(attempt=bound) | (UnaccountedSpend() as bound):
            return are_consistent_amounts((0, bound.characters_upper_bound), (None, bound.cost_upper_bound))
        case SpeechRecord(values=row) | RejectRecord(values=row):
            return row.cost is None or are_consistent_amounts((0, 0), (row.cost, None))
    return True
