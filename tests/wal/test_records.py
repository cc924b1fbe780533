"""The records of a journal have the same bytes in every version, and impossible values are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import FLASH_PRICE, NOW_US, audio_of, cost_of, make_speech, settlement_of
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.dataset.price_rows import price_row
from tts_pipeline.models import Answer, Reject, Usage, Utterance, Word
from tts_pipeline.wal.records import (
    AnswerRecord,
    AnswerSpeech,
    AnyRecord,
    Discarded,
    Intent,
    JournalHeader,
    MalformedRecordError,
    Record,
    RejectRecord,
    RejectValues,
    Settled,
    SpeechRecord,
    SpeechValues,
    UnaccountedSpend,
    decode_record,
    encode_record,
    with_speech,
)

ATTEMPT = Attempt("a", "r", 0, 0, 1, "Cherry", NOW_US, 10, 12, FLASH_PRICE.price_id, cost_of(12))
UTTERANCE = Utterance("r", "Hello.", {"voice": "Cherry"})
SPEECH = SpeechValues.of(make_speech(UTTERANCE, audio_of("Hello."), 10))
REJECT = RejectValues.of(Reject(UTTERANCE, "permanent", "X", "why", 1, Decimal(0), "CNY", NOW_US))
ANSWER = AnswerRecord(0, (Word("Hi", 0, 5, 0, None),), Usage(1), "q", ("silent",), "wav", 24_000, 1, 8)
RECORDS: tuple[AnyRecord, ...] = (
    Intent(ATTEMPT, ((0, 3), (3, 6))),
    Settled(settlement_of(ATTEMPT), ANSWER),
    Discarded("a"),
    SpeechRecord("r", 0, SPEECH, answer=0),
    RejectRecord("r", 0, REJECT),
    UnaccountedSpend(NOW_US, 12, cost_of(12), "CNY"),
    Settled(settlement_of(ATTEMPT), ANSWER, AnswerSpeech(request_key="k", created_at=NOW_US, attempts=2)),
)

_FIELDS: Mapping[type[object], str] = {
    Attempt: "attempt_id utterance_id take segment number voice started_at_us characters_counted"
    " characters_upper_bound price_id cost_upper_bound",
    Settlement: "attempt_id outcome finished_at_us latency_ms http_status error_code request_id usage"
    " characters_billed characters_upper_bound cost cost_upper_bound implausible",
    Usage: "characters_reported input_tokens output_tokens total_tokens",
    Word: "text start_ms end_ms text_start text_end",
    AnswerRecord: "segment words usage request_id quality format sample_rate_hz channels duration_ms",
    SpeechValues: "voice language audio_format sample_rate_hz channels duration_ms timestamps timestamps_source"
    " segments attempts request_id request_key deduplicated_from characters_counted characters_reported"
    " characters_billed input_tokens output_tokens total_tokens cost currency quality created_at",
    RejectValues: "error_class error_code message attempts cost currency failed_at",
    AnswerSpeech: "request_key created_at language currency attempts quality",
    Intent: "kind attempt boundaries",
    Settled: "kind settlement answer speech",
    Discarded: "kind attempt_id",
    SpeechRecord: "kind utterance_id take values answer",
    RejectRecord: "kind utterance_id take values",
    UnaccountedSpend: "kind claimed_at_us characters_upper_bound cost_upper_bound currency",
}
"""The fields of each type in the order of format 1."""

_OMITTED: Mapping[type[object], Mapping[str, Any]] = {
    Settled: {"speech": msgspec.UNSET},
    AnswerSpeech: {"language": None, "currency": None, "attempts": 1, "quality": None},
}
"""The fields that are not written where they have these values."""


def _encode_format_1(record: Record) -> bytes:
    """Encode a record as the first version did, with another library."""
    return orjson.dumps(_plain(record))


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        kind, names = type(value).__struct_config__.tag, _FIELDS[type(value)].split()
        omitted = _OMITTED.get(type(value), {})
        names = [name for name in names if name not in omitted or getattr(value, name) != omitted[name]]
        return {name: kind if name == "kind" else _plain(getattr(value, name)) for name in names}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Decimal) else value


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
MONEY = st.decimals(0, 10**9, places=9) | st.sampled_from([Decimal("0E-9"), Decimal("1E+3"), Decimal(0)])
OTHERS: Mapping[type[object], st.SearchStrategy[Any]] = {
    str: TEXTS,
    Decimal: MONEY,
    Outcome: st.sampled_from(Outcome),
    msgspec.UnsetType: st.just(msgspec.UNSET),
}


def _values(hint: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for the values that a field's type allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return st.integers(arguments[1].ge, arguments[1].le)
    if origin in (Union, UnionType):
        return st.one_of(*map(_values, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(_values(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(_values, arguments))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        hints = get_type_hints(hint, include_extras=True)
        return st.builds(hint, **{name: _values(hints[name]) for name in hint.__struct_fields__})
    return OTHERS[hint] if hint in OTHERS else st.from_type(hint)


@settings(max_examples=300)
@given(record=_values(AnyRecord))
def test_records_are_the_bytes_of_format_1(record: AnyRecord) -> None:
    """Order, nulls, money as text, escapes and other scripts are those of the first version."""
    assert encode_record(record) == _encode_format_1(record)


def test_the_header_is_the_bytes_of_format_1() -> None:
    """Its prices have the form of the tables' metadata: each field by name, as text or null."""
    price = replace(FLASH_PRICE, effective_from=date(2026, 1, 2), source="\u00e9\u2028")
    header = JournalHeader(
        journal_id="j", part=3, service="s", model="m", account="a", prices={price.price_id: price}, tags={"t": "v"}
    )
    plain = {name: _plain(getattr(header, name)) for name in header.__struct_fields__}
    prices = {price.price_id: price_row(price)}
    assert encode_record(header) == orjson.dumps({"kind": "open", **plain, "prices": prices})
    assert msgspec.json.decode(encode_record(header), type=JournalHeader) == header


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_as_it_was(record: AnyRecord) -> None:
    """Every field comes back with its type."""
    assert decode_record(encode_record(record)) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_what_a_later_version_adds_is_ignored(record: AnyRecord) -> None:
    """Unknown fields are ignored at any depth."""
    plain = orjson.loads(encode_record(record))
    more = {"later": {"x": [1]}, **{name: _with_more(value) for name, value in plain.items()}}
    assert decode_record(orjson.dumps({"kind": plain["kind"], **more})) == record


def _with_more(value: Any) -> Any:
    return {**value, "later": None} if isinstance(value, dict) else value


def test_what_an_earlier_version_did_not_write_has_its_default() -> None:
    """A nullable column is null; a report was plausible; a speech had its own audio."""
    settled = orjson.loads(encode_record(RECORDS[1]))
    del settled["settlement"]["implausible"], settled["answer"]
    assert decode_record(orjson.dumps(settled)) == Settled(settlement_of(ATTEMPT))
    speech = orjson.loads(encode_record(RECORDS[3]))
    del speech["answer"], speech["values"]["deduplicated_from"]
    assert decode_record(orjson.dumps(speech)) == SpeechRecord("r", 0, SPEECH)


def test_an_earlier_version_reads_an_answer_that_ends_its_row_as_a_paid_answer() -> None:
    """It ignores the end of the row, which follows all that it knows, and takes the answer for the row."""

    class Earlier(Record, frozen=True, tag="settled"):
        settlement: Settlement
        answer: AnswerRecord | None = None

    settled = encode_record(Settled(settlement_of(ATTEMPT), ANSWER))
    speech = AnswerSpeech(request_key="k", created_at=NOW_US)
    assert with_speech(settled, speech) == encode_record(Settled(settlement_of(ATTEMPT), ANSWER, speech))
    assert msgspec.json.decode(with_speech(settled, speech), type=Earlier) == Earlier(settlement_of(ATTEMPT), ANSWER)


_CHANGES: Mapping[str, Any] = {
    "words": None,
    "language": None,
    "segments": 2,
    "attempts": 3,
    "request_id": None,
    "request_key": "another",
    "usage": Usage(10, 1, 2, 3),
    "characters_counted": 9,
    "characters_billed": 20,
    "cost": cost_of(20),
    "currency": None,
    "quality": ("clipped", "silent"),
    "created_at_us": NOW_US + 1,
    "deduplicated_from": "another row",
}


@pytest.mark.parametrize("name", ["nothing", *_CHANGES])
def test_the_end_of_a_row_that_differs_from_its_answer_is_told_whole(name: str) -> None:
    """An answer brings back each column of its row's speech, or the speech is a record of its own."""
    speech = make_speech(UTTERANCE, audio_of("Hello."), 10)
    answer = Answer(0, speech.audio, speech.words, speech.usage, speech.request_id, speech.quality)
    settled = Settled(settlement_of(ATTEMPT), AnswerRecord.of(answer))
    changed = msgspec.structs.replace(speech, **{name: _CHANGES[name]}) if name in _CHANGES else speech
    end = AnswerSpeech.of(changed, ATTEMPT, settled)
    assert (end is None) == (name in _OF_ITS_OWN)
    if end is not None and settled.answer is not None:
        restored = SpeechValues.of_answer(end, ATTEMPT, settled.settlement, settled.answer)
        assert restored == SpeechValues.of(changed)


_OF_ITS_OWN = {
    *("words", "segments", "request_id", "usage", "characters_counted", "characters_billed", "cost"),
    "deduplicated_from",
}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"kind":"discarded"}',
        b'{"kind":"note","attempt_id":"a"}',
        b'{"kind":"discarded","attempt_id":"a"}x',
        b'{"kind":"discarded","attempt_id":"\xff"}',
        b'{"kind":"discarded","attempt_id":"\\ud800"}',
        b'{"kind":"discarded","attempt_id":' + b"[" * 100_000,
        b'{"kind":"discarded","attempt_id":"a","x":' + b"[" * 100_000,
    ],
    ids=range(11),
)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    """Every kind of damage raises the same error."""
    with pytest.raises(MalformedRecordError):
        decode_record(data)


MALFORMED = [
    (0, "attempt", "segment", 2**15),
    (0, "attempt", "number", True),
    (0, "attempt", "take", 2**31),
    (0, "attempt", "cost_upper_bound", "NaN"),
    (1, "settlement", "outcome", "gone"),
    (1, "settlement", "cost", "1"),
    (1, "settlement", "cost", "-1"),
    (1, "settlement", "cost", "Infinity"),
    (1, "settlement", "characters_billed", 11),
    (1, "settlement", "usage", None),
    (1, "answer", "channels", 0),
    (1, "answer", "words", [{"text": "Hi"}]),
    (3, "values", "segments", 0),
    (3, "values", "sample_rate_hz", 2**31),
    (3, "values", "quality", "x"),
    (3, "values", "cost", "-0.1"),
    (3, "values", "request_key", None),
    (4, "values", "attempts", -1),
    (6, "speech", "attempts", -1),
]


@pytest.mark.parametrize(("number", "inner", "name", "value"), MALFORMED)
def test_what_cannot_be_true_is_refused(number: int, inner: str, name: str, value: object) -> None:
    """Values that do not fit the tables are refused, and amounts that are negative, no numbers or above their bound."""
    plain = orjson.loads(encode_record(RECORDS[number]))
    plain[inner][name] = value
    with pytest.raises(MalformedRecordError):
        decode_record(orjson.dumps(plain))
