"""Replay a journal into its attempts and utterances, after a crash or an orderly stop, and at every commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.audio.identify import check_audio_formats
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Answer, History, UtteranceKey
from tts_pipeline.money import add_costs, total_cost
from tts_pipeline.storage.store import storage_errors
from tts_pipeline.wal.frames import Blob, Frame, Gap, read_frames
from tts_pipeline.wal.journal import read_synced_bytes
from tts_pipeline.wal.records import (
    FORMAT_VERSION,
    AnswerRecord,
    AnyRecord,
    Discarded,
    Intent,
    JournalHeader,
    MalformedRecordError,
    RejectRecord,
    RejectValues,
    Settled,
    SpeechRecord,
    SpeechValues,
    UnaccountedSpend,
    decode_record,
    refuse_malformed,
)


class UtteranceRecord(msgspec.Struct):
    """The state of one utterance in a journal; ``attempts`` are ids in order, ``header`` is the journal's."""

    header: JournalHeader
    attempts: list[str] = msgspec.field(default_factory=list)
    boundaries: tuple[tuple[int, int], ...] | None = None
    answers: dict[int, tuple[AnswerRecord, Blob]] = msgspec.field(default_factory=dict)
    speech: SpeechValues | None = None
    audio: Blob | None = None
    reject: RejectValues | None = None


@dataclass(slots=True)
class Replay:
    """The contents of one journal.

    An attempt without a settlement has an unknown outcome. ``audio_ms`` is the length of each attempt's audio.
    ``size_bytes`` is the length of the whole frames; a torn tail may follow. ``unread_bytes`` counts the bytes of
    damaged records, and synced bytes that are gone: attempts in them are unknown. ``damaged_answers`` counts records
    whose audio is damaged; their part of the bill is valid. ``unaccounted`` is the further spending that damage, or a
    copy that ends before its journal, may hide.
    """

    header: JournalHeader
    attempts: dict[str, tuple[Attempt, Settlement | None]] = field(default_factory=dict)
    utterances: dict[UtteranceKey, UtteranceRecord] = field(default_factory=dict)
    audio_ms: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    unread_bytes: int = 0
    damaged_answers: int = 0
    unaccounted: UnaccountedSpend | None = None

    @property
    def journal_id(self) -> str:
        """The journal's id."""
        return self.header.journal_id

    def finished_keys(self, *, include_rejects: bool = True) -> set[UtteranceKey]:
        """Return the utterances that are speech or, with ``include_rejects``, rejected."""
        return {
            key
            for key, utterance in self.utterances.items()
            if utterance.speech is not None or (include_rejects and utterance.reject is not None)
        }


def replay_journal(path: Path, *, check_payloads: bool = True) -> Replay | None:
    """Read a journal; return None when its first frame is not whole: mostly it was killed before its first request.

    Unreadable bytes are skipped and counted in ``unread_bytes``; ``dataset/part_journals.py`` adds them to the bill.

    Raises:
        StorageError: The disk failed, or another version of this package wrote the journal.
    """
    result: Replay | None = None
    synced_bytes = read_synced_bytes(path)  # read first: the journal may still grow
    with storage_errors(f"reading the journal {path}"), path.open("rb") as file:
        for frame in read_frames(path, file, check_payloads=check_payloads):
            if result is None:
                header = None if isinstance(frame, Gap) else _header(path, frame.record)
                if header is None:
                    return None
                result = Replay(header)
            elif isinstance(frame, Gap):
                result.unread_bytes += frame.end - frame.start
            else:
                _apply_frame(result, frame)
            result.size_bytes = frame.end
    if result is not None:
        result.unread_bytes += max(0, synced_bytes - result.size_bytes)
    return result


def _header(path: Path, record: bytes) -> JournalHeader | None:
    """Decode the header; return None when it is malformed, and raise a StorageError for another format."""
    try:
        with refuse_malformed():
            values = msgspec.json.decode(record, type=dict[str, Any])
            if (values.get("kind"), values.get("format")) == ("open", FORMAT_VERSION):
                return msgspec.convert(values, JournalHeader)
    except MalformedRecordError:
        return None
    raise StorageError(
        f"the journal {path} is of format {values.get('format')!r}, not {FORMAT_VERSION}",
        hint="finish it with the version of tts-pipeline that wrote it; it may hold audio already paid for",
    )


def _apply_frame(replay: Replay, frame: Frame) -> None:
    """Apply a record; when its payload is damaged, its spending counts and its audio is ignored."""
    replay.damaged_answers += not frame.is_payload_intact
    try:
        record = decode_record(frame.record)
        _APPLY[type(record)](replay, record, frame.blob if frame.is_payload_intact else None)
    except (KeyError, MalformedRecordError):  # its attempt is lost in a gap, or the record is forged
        replay.unread_bytes += frame.blob.offset - frame.start


def _apply_intent(replay: Replay, record: Intent, _: Blob | None) -> None:
    attempt = record.attempt
    if attempt.attempt_id in replay.attempts:  # a repeated intent must not erase the settlement
        return
    utterance = _utterance(replay, (attempt.utterance_id, attempt.take))
    replay.attempts[attempt.attempt_id] = (attempt, None)
    utterance.attempts.append(attempt.attempt_id)
    utterance.boundaries = record.boundaries or utterance.boundaries


def _apply_settlement(replay: Replay, record: Settled, blob: Blob | None) -> None:
    settlement = record.settlement
    attempt, _ = replay.attempts[settlement.attempt_id]
    replay.attempts[settlement.attempt_id] = (attempt, settlement)
    if record.answer is not None:
        replay.audio_ms[attempt.attempt_id] = record.answer.duration_ms
    if record.answer is not None and blob is not None:
        utterance = _utterance(replay, (attempt.utterance_id, attempt.take))
        utterance.answers[attempt.segment] = (record.answer, blob)
        if record.speech is not msgspec.UNSET:
            utterance.speech = SpeechValues.of_answer(record.speech, attempt, settlement, record.answer)
            utterance.audio, utterance.reject = blob, None


def _apply_speech(replay: Replay, record: SpeechRecord, blob: Blob | None) -> None:
    utterance = _utterance(replay, (record.utterance_id, record.take))
    answer = None if record.answer is None else utterance.answers.get(record.answer)
    if blob is not None and (blob.length or answer is not None):  # else a full disk or damage lost the audio
        utterance.speech, utterance.reject = record.values, None
        utterance.audio = blob if blob.length else answer and answer[1]


def _apply_reject(replay: Replay, record: RejectRecord, _: Blob | None) -> None:
    _utterance(replay, (record.utterance_id, record.take)).reject = record.values


def _apply_discard(replay: Replay, record: Discarded, _: Blob | None) -> None:
    attempt, settlement = replay.attempts[record.attempt_id]
    if settlement is not None:  # else a full disk had no room for the settlement
        discarded = msgspec.structs.replace(settlement, outcome=Outcome.DISCARDED)
        replay.attempts[attempt.attempt_id] = (attempt, discarded)


def _apply_unaccounted_spend(replay: Replay, record: UnaccountedSpend, _: Blob | None) -> None:
    replay.unaccounted = record


_APPLY: Mapping[type[AnyRecord], Callable[[Replay, Any, Blob | None], None]] = {
    Intent: _apply_intent,
    Settled: _apply_settlement,
    SpeechRecord: _apply_speech,
    RejectRecord: _apply_reject,
    Discarded: _apply_discard,
    UnaccountedSpend: _apply_unaccounted_spend,
}
"""What each kind of record changes, given its payload; None if that is damaged."""


def _utterance(replay: Replay, key: UtteranceKey) -> UtteranceRecord:
    utterance = replay.utterances.get(key)
    if utterance is None:
        utterance = replay.utterances[key] = UtteranceRecord(replay.header)
    return utterance


def collect_history(key: UtteranceKey, replays: Sequence[Replay]) -> History:
    """Return the history of an utterance in earlier journals, and read the audio of its answers."""
    answers: dict[int, Answer] = {}
    boundaries: tuple[tuple[int, int], ...] | None = None
    attempts: list[tuple[Attempt, Settlement | None]] = []
    for replay in replays:
        utterance = replay.utterances.get(key)
        if utterance is None:
            continue
        boundaries = utterance.boundaries or boundaries
        for segment, (answer, blob) in utterance.answers.items():
            check_audio_formats((answer.format,), f"the journal {blob.path}")
            answers[segment] = answer.to_answer(blob.read())
        attempts += [replay.attempts[attempt_id] for attempt_id in utterance.attempts]
    settlements = [settlement for _, settlement in attempts]
    return History(
        answers=answers,
        boundaries=boundaries,
        segment_attempts=Counter(attempt.segment for attempt, _ in attempts),
        characters_billed=sum(s.characters_billed for s in settlements if s is not None),
        cost=total_cost(s.cost for s in settlements if s is not None),
    )


def merge_histories(first: History, second: History) -> History:
    """Merge two histories of one utterance that share no attempts; the answers are those of the second."""
    return replace(
        second,
        segment_attempts=Counter(first.segment_attempts) + Counter(second.segment_attempts),
        characters_billed=first.characters_billed + second.characters_billed,
        cost=add_costs(first.cost, second.cost),
    )
