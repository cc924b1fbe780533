"""What a journal says: after a crash, after an orderly stop, and always for publishing. A pure function of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from tts_pipeline.cost import total_cost
from tts_pipeline.dataset.formats import check_formats
from tts_pipeline.dataset.journal import FORMAT_VERSION, synced_bytes
from tts_pipeline.dataset.journal_frames import READ_BYTES, RECORDS_BYTES, Blob, Frame, Gap, read_frames
from tts_pipeline.dataset.record_values import MalformedRecordError, check_fields, check_reject, check_speech
from tts_pipeline.dataset.store import storage_errors
from tts_pipeline.dataset.totals import are_amounts
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Answer, Attempt, Audio, History, Outcome, Settlement, Usage, Word

Key = tuple[str, int]
"""``(utterance_id, take)``: what names an utterance within a dataset."""


@dataclass(slots=True)
class Said:
    """What a journal says of one utterance, in the order in which it happened; ``header`` is the journal's."""

    header: Mapping[str, Any] = field(default_factory=dict)
    attempts: list[str] = field(default_factory=list)
    boundaries: tuple[tuple[int, int], ...] | None = None
    answers: dict[int, tuple[Mapping[str, Any], Blob]] = field(default_factory=dict)
    speech: Mapping[str, Any] | None = None
    audio: Blob | None = None
    reject: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Lost:
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
        said: By utterance.
        size_bytes: Length of what is whole; what lies behind is a torn tail.
        unread_bytes: Those of records that are damaged, and those that were on the disk and are gone: what was
            sent there is not known.
        damaged_answers: Records whose audio is damaged; what they tell of the bill holds.
        lost: What may have been spent beside: where this is a copy, which may end before the journal did, and where
            something is damaged.
    """

    header: Mapping[str, Any]
    attempts: dict[str, tuple[Attempt, Settlement | None]] = field(default_factory=dict)
    said: dict[Key, Said] = field(default_factory=dict)
    size_bytes: int = 0
    unread_bytes: int = 0
    damaged_answers: int = 0
    lost: Lost | None = None

    @property
    def journal_id(self) -> str:
        """The journal's id."""
        return str(self.header["journal_id"])

    def finished(self, *, rejects: bool = True) -> set[Key]:
        """Return the utterances that are speech or, unless ``rejects`` is False, rejected."""
        return {
            key for key, said in self.said.items() if said.speech is not None or (rejects and said.reject is not None)
        }


def replay(path: Path, *, check_payloads: bool = True) -> Replay | None:
    """Read a journal; None when its first frame is not whole: mostly nothing was ever sent under it.

    What cannot be read is passed over and counted in ``unread_bytes``; see ``journals`` for what that means for a bill.

    Args:
        path: The journal.
        check_payloads: False where this process wrote it: then only the records are read.

    Raises:
        StorageError: The disk failed, or the journal is of another version of this package.
    """
    found: Replay | None = None
    synced = synced_bytes(path)  # read first: whoever writes the journal goes on
    buffering = READ_BYTES if check_payloads else RECORDS_BYTES
    with storage_errors(f"reading the journal {path}"), path.open("rb", buffering=buffering) as file:
        for one in read_frames(path, file, check_payloads=check_payloads):
            if found is None:
                if isinstance(one, Gap):
                    return None
                found = Replay(_header(path, one.record))
            elif isinstance(one, Gap):
                found.unread_bytes += one.end - one.start
            else:
                _take_in_frame(found, one)
            found.size_bytes = one.end
    if found is not None:
        found.unread_bytes += max(0, synced - found.size_bytes)
    return found


def _header(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    if record.get("kind") == "open" and record.get("format") == FORMAT_VERSION:
        return record
    raise StorageError(
        f"the journal {path} is of format {record.get('format')!r}, not {FORMAT_VERSION}",
        hint="finish it with the version of tts-pipeline that wrote it; it may hold audio already paid for",
    )


def _take_in_frame(found: Replay, one: Frame) -> None:
    """Take in a record whose payload may be damaged: then it tells what was spent, and gives no audio."""
    found.damaged_answers += not one.is_whole
    try:
        _take_in(found, one.record, one.blob if one.is_whole else None)
    except (KeyError, TypeError, ValueError, ArithmeticError):  # of an attempt that stood in a gap, or somebody else's
        found.unread_bytes += one.blob.offset - one.start


def _take_in(found: Replay, record: Mapping[str, Any], blob: Blob | None) -> None:
    kind = record["kind"]
    if kind == "settled":
        _settle(found, _settlement(record["settlement"]), record.get("answer"), blob)
    elif kind == "discarded":
        attempt, settled = found.attempts[record["attempt_id"]]
        if settled is not None:  # else it had no room on a full disk
            found.attempts[attempt.attempt_id] = (attempt, settled._replace(outcome=Outcome.DISCARDED))
    elif kind == "intent":
        _intend(found, _attempt(record["attempt"]), record.get("boundaries"))
    elif kind == "lost":
        bounds = {name: record[name] for name in ("claimed_at_us", "characters_upper_bound", "currency")}
        found.lost = Lost(**bounds, cost_upper_bound=_money(record["cost_upper_bound"]))
    else:
        _finish(found, record, blob)


def _intend(found: Replay, attempt: Attempt, boundaries: Sequence[tuple[int, int]] | None) -> None:
    if attempt.attempt_id in found.attempts:  # told twice: how it ended is not forgotten
        return
    said = _said(found, (attempt.utterance_id, attempt.take))
    found.attempts[attempt.attempt_id] = (attempt, None)
    said.attempts.append(attempt.attempt_id)
    if boundaries:
        said.boundaries = tuple((int(start), int(end)) for start, end in boundaries)


def _settle(found: Replay, settlement: Settlement, answer: Mapping[str, Any] | None, blob: Blob | None) -> None:
    attempt, _ = found.attempts[settlement.attempt_id]
    found.attempts[settlement.attempt_id] = (attempt, settlement)
    if answer is not None and blob is not None:
        _said(found, (attempt.utterance_id, attempt.take)).answers[attempt.segment] = (answer, blob)


def _finish(found: Replay, record: Mapping[str, Any], blob: Blob | None) -> None:
    said = _said(found, _key(record))
    if record["kind"] == "reject":
        check_reject(record["values"])
        said.reject = record["values"]
    elif record["kind"] == "speech" and blob is not None:
        check_speech(record["values"])
        answer = said.answers.get(record["answer"])
        if blob.length or answer is not None:  # else the answer had no room on a full disk, or is damaged
            said.speech, said.reject = record["values"], None
            said.audio = blob if blob.length else answer and answer[1]


def _key(record: Mapping[str, Any]) -> Key:
    utterance_id, take = record["utterance_id"], record["take"]
    if not isinstance(utterance_id, str) or not isinstance(take, int):
        raise MalformedRecordError("utterance_id")
    return utterance_id, take


def _said(found: Replay, key: Key) -> Said:
    said = found.said.get(key)
    if said is None:
        said = found.said[key] = Said(found.header)
    return said


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _attempt(values: dict[str, Any]) -> Attempt:
    values["cost_upper_bound"] = _money(values["cost_upper_bound"])
    attempt = Attempt(**values)
    check_fields(attempt)
    _check_amounts((0, attempt.characters_upper_bound), (None, attempt.cost_upper_bound))
    return attempt


def _settlement(values: dict[str, Any]) -> Settlement:
    values["outcome"] = Outcome(values["outcome"])
    values["usage"] = Usage(**values["usage"])
    values["cost"] = _money(values["cost"])
    values["cost_upper_bound"] = _money(values["cost_upper_bound"])
    settlement = Settlement(**values)
    check_fields(settlement)
    check_fields(settlement.usage)
    characters = settlement.characters_billed, settlement.characters_upper_bound
    _check_amounts(characters, (settlement.cost, settlement.cost_upper_bound))
    return settlement


def _check_amounts(characters: tuple[int, int], costs: tuple[Decimal | None, Decimal | None]) -> None:
    if not are_amounts(characters, costs):
        raise MalformedRecordError("amounts")


def answer_record(answer: Answer) -> dict[str, Any]:
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


def answer_of(values: Mapping[str, Any], data: bytes) -> Answer:
    """Return the answer that ``answer_record`` gave, with the audio's bytes."""
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


def history_of(key: Key, replays: Sequence[Replay]) -> History:
    """Return what earlier journals know of an utterance; the answers' audio is read now."""
    answers: dict[int, Answer] = {}
    boundaries: tuple[tuple[int, int], ...] | None = None
    sent: list[tuple[Attempt, Settlement | None]] = []
    for one in replays:
        said = one.said.get(key)
        if said is None:
            continue
        boundaries = said.boundaries or boundaries
        for segment, (values, blob) in said.answers.items():
            check_formats((values["format"],), f"the journal {blob.path}")
            answers[segment] = answer_of(values, blob.read())
        sent += [one.attempts[attempt_id] for attempt_id in said.attempts]
    settlements = [settlement for _, settlement in sent]
    return History(
        answers=answers,
        boundaries=boundaries,
        segment_attempts=Counter(attempt.segment for attempt, _ in sent),
        characters_billed=sum(s.characters_billed for s in settlements if s is not None),
        cost=total_cost(s.cost for s in settlements if s is not None),
    )


def added(one: History, other: History) -> History:
    """Return what two records of different requests for one utterance tell together; answers are the second's."""
    return replace(
        other,
        segment_attempts=Counter(one.segment_attempts) + Counter(other.segment_attempts),
        characters_billed=one.characters_billed + other.characters_billed,
        cost=total_cost((one.cost, other.cost)),
    )
