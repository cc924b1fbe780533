"""Reading journals back: after a crash, after an orderly stop, and always for publishing. A pure function of files."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from tts_pipeline.cost import total_cost
from tts_pipeline.dataset.formats import check_formats
from tts_pipeline.dataset.journal import FORMAT_VERSION, FRAME, record_crc
from tts_pipeline.dataset.store import storage_errors
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Answer, Attempt, Audio, History, Outcome, Settlement, Usage, Word

Key = tuple[str, int]
"""``(utterance_id, take)``: what names an utterance within a dataset."""


_READ_BYTES = 256 * 1024
_RECORDS_BYTES = 64 * 1024
"""Read at a time where payloads are passed over: the records of a few short answers, and little of a long one."""


class Blob(NamedTuple):
    """Bytes that lie in a journal: read when they are needed, so that memory stays flat."""

    path: Path
    offset: int
    length: int

    def read(self) -> bytes:
        """Return the bytes."""
        with storage_errors(f"reading the journal {self.path}"), self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


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
        lost: Set where this is a copy, which may end before the journal did.
    """

    header: Mapping[str, Any]
    attempts: dict[str, tuple[Attempt, Settlement | None]] = field(default_factory=dict)
    said: dict[Key, Said] = field(default_factory=dict)
    size_bytes: int = 0
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
    """Read a journal; None when not even its first frame is whole, so that nothing was ever sent under it.

    Args:
        path: The journal.
        check_payloads: False where this process wrote it: then only the records are read.

    Raises:
        StorageError: The disk failed, or the journal is of another version of this package.
    """
    found: Replay | None = None
    buffering = _READ_BYTES if check_payloads else _RECORDS_BYTES
    with storage_errors(f"reading the journal {path}"), path.open("rb", buffering=buffering) as file:
        for record, blob in _frames(path, file, check_payloads=check_payloads):
            if found is None:
                found = Replay(_header(path, record))
            else:
                _take_in(found, record, blob)
            found.size_bytes = blob.offset + blob.length
    return found


def _header(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    if record.get("kind") == "open" and record.get("format") == FORMAT_VERSION:
        return record
    raise StorageError(
        f"the journal {path} is of format {record.get('format')!r}, not {FORMAT_VERSION}",
        hint="finish it with the version of tts-pipeline that wrote it; it may hold audio already paid for",
    )


def _frames(path: Path, file: BinaryIO, *, check_payloads: bool) -> Iterator[tuple[dict[str, Any], Blob]]:
    size_bytes, end = path.stat().st_size, 0
    while len(head := file.read(FRAME.size)) == FRAME.size:
        record_length, payload_length, payload_crc, checksum = FRAME.unpack(head)
        offset = end + FRAME.size + record_length
        end = offset + payload_length
        if record_length == 0 or end > size_bytes:
            return
        record = file.read(record_length)
        if record_crc(head, record) != checksum:
            return
        if not check_payloads:
            if payload_length:
                file.seek(payload_length, os.SEEK_CUR)
        elif _crc_of(file, payload_length) != payload_crc:
            return
        yield orjson.loads(record), Blob(path, offset, payload_length)


def _crc_of(file: BinaryIO, length: int) -> int:
    crc = 0
    while length and (piece := file.read(min(length, _READ_BYTES))):
        crc = zlib.crc32(piece, crc)
        length -= len(piece)
    return crc


def _take_in(found: Replay, record: Mapping[str, Any], blob: Blob) -> None:
    kind = record["kind"]
    if kind == "settled":
        settlement = _settlement(record["settlement"])
        attempt, _ = found.attempts[settlement.attempt_id]
        found.attempts[settlement.attempt_id] = (attempt, settlement)
        if record.get("answer") is not None:
            _said(found, (attempt.utterance_id, attempt.take)).answers[attempt.segment] = (record["answer"], blob)
        return
    if kind == "discarded":
        attempt, settled = found.attempts[record["attempt_id"]]
        if settled is None:  # that had no room on a full disk
            return
        found.attempts[attempt.attempt_id] = (attempt, settled._replace(outcome=Outcome.DISCARDED))
        return
    if kind == "intent":
        attempt = _attempt(record["attempt"])
        said = _said(found, (attempt.utterance_id, attempt.take))
        found.attempts[attempt.attempt_id] = (attempt, None)
        said.attempts.append(attempt.attempt_id)
        if record.get("boundaries"):
            said.boundaries = tuple((start, end) for start, end in record["boundaries"])
        return
    if kind == "lost":
        bounds = {name: record[name] for name in ("claimed_at_us", "characters_upper_bound", "currency")}
        found.lost = Lost(**bounds, cost_upper_bound=_money(record["cost_upper_bound"]))
        return
    said = _said(found, (record["utterance_id"], record["take"]))
    if kind == "speech":
        if not blob.length and record["answer"] not in said.answers:  # the answer had no room on a full disk
            return
        said.speech, said.reject = record["values"], None
        said.audio = blob if blob.length else said.answers[record["answer"]][1]
    elif kind == "reject":
        said.reject = record["values"]


def _said(found: Replay, key: Key) -> Said:
    said = found.said.get(key)
    if said is None:
        said = found.said[key] = Said(found.header)
    return said


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def _attempt(values: dict[str, Any]) -> Attempt:
    values["cost_upper_bound"] = _money(values["cost_upper_bound"])
    return Attempt(**values)


def _settlement(values: dict[str, Any]) -> Settlement:
    values["outcome"] = Outcome(values["outcome"])
    values["usage"] = Usage(**values["usage"])
    values["cost"] = _money(values["cost"])
    values["cost_upper_bound"] = _money(values["cost_upper_bound"])
    return Settlement(**values)


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
