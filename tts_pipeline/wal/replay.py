"""What a journal says: after a crash, after an orderly stop, and always for publishing. A pure function of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Answer, Audio, History, Usage, UtteranceKey, Word
from tts_pipeline.money import are_consistent_amounts, total_cost
from tts_pipeline.storage.audio_formats import check_audio_formats
from tts_pipeline.storage.store import storage_errors
from tts_pipeline.wal.frames import READ_BYTES, RECORD_READ_BYTES, Blob, Frame, Gap, read_frames
from tts_pipeline.wal.journal import FORMAT_VERSION
from tts_pipeline.wal.record_values import MalformedRecordError, check_fields, check_reject, check_speech


@dataclass(slots=True)
class UtteranceRecord:
    """What a journal says of one utterance, in the order in which it happened; ``header`` is the journal's."""

    header: Mapping[str, Any] = field(default_factory=dict)
    attempts: list[str] = field(default_factory=list)
    boundaries: tuple[tuple[int, int], ...] | None = None
    answers: dict[int, tuple[Mapping[str, Any], Blob]] = field(default_factory=dict)
    speech: Mapping[str, Any] | None = None
    audio: Blob | None = None
    reject: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class UnaccountedSpend:
    """What the end of a journal may have spent that another machine could not copy; nothing where it had copied all.

    Args:
        claimed_at_us: When the journal's claim was made, in microseconds since 1970 UTC.
        characters_upper_bound: At most.
        cost_upper_bound: At most; None without a price.
        currency: Of the cost.
    """

    claimed_at_us: int
    characters_upper_bound: int
    cost_upper_bound: Decimal | None
    currency: str | None


@dataclass(slots=True)
class Replay:
    """One journal, read back.

    Args:
        header: Who wrote it, for which job, at which prices.
        attempts: By attempt id, in the order they were sent; without a settlement the outcome is unknown.
        utterances: What the journal says of each.
        size_bytes: Length of what is whole; what lies behind is a torn tail.
        unread_bytes: Of these, those of records that are damaged: what was sent there is not known.
        damaged_answers: Records whose audio is damaged; what they tell of the bill holds.
        unaccounted: What may have been spent beside: where this is a copy, which may end before the journal did, and
            where something is damaged.
    """

    header: Mapping[str, Any]
    attempts: dict[str, tuple[Attempt, Settlement | None]] = field(default_factory=dict)
    utterances: dict[UtteranceKey, UtteranceRecord] = field(default_factory=dict)
    size_bytes: int = 0
    unread_bytes: int = 0
    damaged_answers: int = 0
    unaccounted: UnaccountedSpend | None = None

    @property
    def journal_id(self) -> str:
        """The journal's id."""
        return str(self.header["journal_id"])

    def finished_keys(self, *, include_rejects: bool = True) -> set[UtteranceKey]:
        """Return the utterances that are speech or, unless ``include_rejects`` is False, rejected."""
        return {
            key
            for key, utterance in self.utterances.items()
            if utterance.speech is not None or (include_rejects and utterance.reject is not None)
        }


def replay_journal(path: Path, *, check_payloads: bool = True) -> Replay | None:
    """Read a journal; None when its first frame is not whole: mostly nothing was ever sent under it.

    What cannot be read is passed over and counted in ``unread_bytes``; see ``journals`` for what that means for a bill.

    Args:
        path: The journal.
        check_payloads: False where this process wrote it: then only the records are read.

    Raises:
        StorageError: The disk failed, or the journal is of another version of this package.
    """
    result: Replay | None = None
    buffering = READ_BYTES if check_payloads else RECORD_READ_BYTES
    with storage_errors(f"reading the journal {path}"), path.open("rb", buffering=buffering) as file:
        for frame in read_frames(path, file, check_payloads=check_payloads):
            if result is None:
                if isinstance(frame, Gap):
                    return None
                result = Replay(_header(path, frame.record))
            elif isinstance(frame, Gap):
                result.unread_bytes += frame.end - frame.start
            else:
                _apply_frame(result, frame)
            result.size_bytes = frame.end
    return result


def _header(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    if record.get("kind") == "open" and record.get("format") == FORMAT_VERSION:
        return record
    raise StorageError(
        f"the journal {path} is of format {record.get('format')!r}, not {FORMAT_VERSION}",
        hint="finish it with the version of tts-pipeline that wrote it; it may hold audio already paid for",
    )


def _apply_frame(replay: Replay, frame: Frame) -> None:
    """Take in a record whose payload may be damaged: then it tells what was spent, and gives no audio."""
    replay.damaged_answers += not frame.is_payload_intact
    try:
        _apply_record(replay, frame.record, frame.blob if frame.is_payload_intact else None)
    except (KeyError, TypeError, ValueError, ArithmeticError):  # of an attempt that stood in a gap, or somebody else's
        replay.unread_bytes += frame.blob.offset - frame.start


def _apply_record(replay: Replay, record: Mapping[str, Any], blob: Blob | None) -> None:
    kind = record["kind"]
    if kind == "settled":
        _apply_settlement(replay, _parse_settlement(record["settlement"]), record.get("answer"), blob)
    elif kind == "discarded":
        attempt, settlement = replay.attempts[record["attempt_id"]]
        if settlement is not None:  # else it had no room on a full disk
            replay.attempts[attempt.attempt_id] = (attempt, settlement._replace(outcome=Outcome.DISCARDED))
    elif kind == "intent":
        _apply_intent(replay, _parse_attempt(record["attempt"]), record.get("boundaries"))
    elif kind == "lost":
        bounds = {name: record[name] for name in ("claimed_at_us", "characters_upper_bound", "currency")}
        replay.unaccounted = UnaccountedSpend(**bounds, cost_upper_bound=_parse_money(record["cost_upper_bound"]))
    else:
        _apply_outcome(replay, record, blob)


def _apply_intent(replay: Replay, attempt: Attempt, boundaries: Sequence[tuple[int, int]] | None) -> None:
    if attempt.attempt_id in replay.attempts:  # told twice: how it ended is not forgotten
        return
    utterance = _utterance(replay, (attempt.utterance_id, attempt.take))
    replay.attempts[attempt.attempt_id] = (attempt, None)
    utterance.attempts.append(attempt.attempt_id)
    if boundaries:
        utterance.boundaries = tuple((int(start), int(end)) for start, end in boundaries)


def _apply_settlement(
    replay: Replay, settlement: Settlement, answer: Mapping[str, Any] | None, blob: Blob | None
) -> None:
    attempt, _ = replay.attempts[settlement.attempt_id]
    replay.attempts[settlement.attempt_id] = (attempt, settlement)
    if answer is not None and blob is not None:
        _utterance(replay, (attempt.utterance_id, attempt.take)).answers[attempt.segment] = (answer, blob)


def _apply_outcome(replay: Replay, record: Mapping[str, Any], blob: Blob | None) -> None:
    utterance = _utterance(replay, _parse_key(record))
    if record["kind"] == "reject":
        check_reject(record["values"])
        utterance.reject = record["values"]
    elif record["kind"] == "speech" and blob is not None:
        check_speech(record["values"])
        answer = utterance.answers.get(record["answer"])
        if blob.length or answer is not None:  # else the answer had no room on a full disk, or is damaged
            utterance.speech, utterance.reject = record["values"], None
            utterance.audio = blob if blob.length else answer and answer[1]


def _parse_key(record: Mapping[str, Any]) -> UtteranceKey:
    utterance_id, take = record["utterance_id"], record["take"]
    if not isinstance(utterance_id, str) or not isinstance(take, int):
        raise MalformedRecordError("utterance_id")
    return utterance_id, take


def _utterance(replay: Replay, key: UtteranceKey) -> UtteranceRecord:
    utterance = replay.utterances.get(key)
    if utterance is None:
        utterance = replay.utterances[key] = UtteranceRecord(replay.header)
    return utterance


def _parse_money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _parse_attempt(values: dict[str, Any]) -> Attempt:
    values["cost_upper_bound"] = _parse_money(values["cost_upper_bound"])
    attempt = Attempt(**values)
    check_fields(attempt)
    _check_amounts((0, attempt.characters_upper_bound), (None, attempt.cost_upper_bound))
    return attempt


def _parse_settlement(values: dict[str, Any]) -> Settlement:
    values["outcome"] = Outcome(values["outcome"])
    values["usage"] = Usage(**values["usage"])
    values["cost"] = _parse_money(values["cost"])
    values["cost_upper_bound"] = _parse_money(values["cost_upper_bound"])
    settlement = Settlement(**values)
    check_fields(settlement)
    check_fields(settlement.usage)
    characters = settlement.characters_billed, settlement.characters_upper_bound
    _check_amounts(characters, (settlement.cost, settlement.cost_upper_bound))
    return settlement


def _check_amounts(characters: tuple[int, int], costs: tuple[Decimal | None, Decimal | None]) -> None:
    if not are_consistent_amounts(characters, costs):
        raise MalformedRecordError("amounts")


def encode_answer(answer: Answer) -> dict[str, Any]:
    """Return an answer as a journal holds it, without the audio's bytes."""
    audio = answer.audio
    return {
        "segment": answer.segment,
        "words": answer.words,
        "usage": answer.usage,
        "request_id": answer.request_id,
        "quality": answer.quality,
        "format": audio.format,
        "sample_rate_hz": audio.sample_rate_hz,
        "channels": audio.channels,
        "duration_ms": audio.duration_ms,
    }


def decode_answer(values: Mapping[str, Any], data: bytes) -> Answer:
    """Return the answer that ``encode_answer`` gave, with the audio's bytes."""
    audio = Audio(
        data=data,
        format=values["format"],
        sample_rate_hz=values["sample_rate_hz"],
        channels=values["channels"],
        duration_ms=values["duration_ms"],
    )
    words = None if values["words"] is None else tuple(Word(**word) for word in values["words"])
    return Answer(
        segment=values["segment"],
        audio=audio,
        words=words,
        usage=Usage(**values["usage"]),
        request_id=values["request_id"],
        quality=tuple(values["quality"]),
    )


def collect_history(key: UtteranceKey, replays: Sequence[Replay]) -> History:
    """Return what earlier journals know of an utterance; the answers' audio is read now."""
    answers: dict[int, Answer] = {}
    boundaries: tuple[tuple[int, int], ...] | None = None
    attempts: list[tuple[Attempt, Settlement | None]] = []
    for replay in replays:
        utterance = replay.utterances.get(key)
        if utterance is None:
            continue
        boundaries = utterance.boundaries or boundaries
        for segment, (values, blob) in utterance.answers.items():
            check_audio_formats((values["format"],), f"the journal {blob.path}")
            answers[segment] = decode_answer(values, blob.read())
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
    """Return what two records of different requests for one utterance tell together; answers are the second's."""
    return replace(
        second,
        segment_attempts=Counter(first.segment_attempts) + Counter(second.segment_attempts),
        characters_billed=first.characters_billed + second.characters_billed,
        cost=total_cost((first.cost, second.cost)),
    )
