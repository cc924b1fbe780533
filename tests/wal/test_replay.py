from __future__ import annotations

import itertools
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.builders import FLASH_PRICE, NOW_US, audio_of, cost_of, make_speech, settlement_of
from tts_pipeline.attempt import Attempt, Outcome
from tts_pipeline.dataset.part_journals import journal_cost
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Answer, Audio, History, Usage, Utterance, Word
from tts_pipeline.wal.frames import Blob
from tts_pipeline.wal.journal import encode_frame
from tts_pipeline.wal.records import (
    AnswerRecord,
    AnswerSpeech,
    Discarded,
    Intent,
    JournalHeader,
    RejectRecord,
    RejectValues,
    Settled,
    SpeechRecord,
    SpeechValues,
    encode_record,
    with_speech,
)
from tts_pipeline.wal.replay import Replay, UtteranceRecord, collect_history, replay_journal

REJECTED = RejectValues(
    error_class="permanent",
    error_code="X",
    message="refused",
    attempts=1,
    cost=Decimal(0),
    currency="CNY",
    failed_at=NOW_US,
)
HEADER = JournalHeader(journal_id="j", prices={FLASH_PRICE.price_id: FLASH_PRICE}, dataset_fingerprint="f")
OPENING = encode_record(HEADER)


def _attempt(number: int, *, segment: int = 0, utterance_id: str = "r") -> Attempt:
    return Attempt(
        f"a{number}", utterance_id, 0, segment, number, "Cherry", NOW_US, 10, 12, FLASH_PRICE.price_id, cost_of(12)
    )


def _intent(attempt: Attempt, boundaries: Any = None) -> bytes:
    return encode_record(Intent(attempt, boundaries))


def _settled(attempt: Attempt, answer: Answer | None = None, **changes: Any) -> tuple[bytes, bytes]:
    record = Settled(settlement_of(attempt, **changes), None if answer is None else AnswerRecord.of(answer))
    return encode_record(record), b"" if answer is None else answer.audio.data


def _speech(utterance_id: str, *, answer: int | None = 0) -> bytes:
    utterance = Utterance(utterance_id, "Hello.")
    values = SpeechValues.of(make_speech(utterance, audio_of("Hello."), 10))
    return encode_record(SpeechRecord(utterance_id, 0, values, answer))


def _spoken(attempt: Attempt, answer: Answer) -> tuple[bytes, bytes]:
    record, payload = _settled(attempt, answer)
    return with_speech(record, AnswerSpeech(request_key="k", created_at=NOW_US)), payload


def _write(path: Path, *frames: tuple[bytes, bytes] | bytes) -> Path:
    pieces = [frame if isinstance(frame, tuple) else (frame, b"") for frame in (OPENING, *frames)]
    path.write_bytes(b"".join(piece for frame in pieces for piece in encode_frame(*frame)))
    return path


def _read(path: Path) -> Replay:
    replay = replay_journal(path)
    assert replay is not None
    return replay


def test_an_answer_comes_back_as_it_was(tmp_path: Path) -> None:
    """Audio, words, usage and flags come back unchanged: paid answers need not be bought again."""
    attempt = _attempt(1)
    answer = Answer(
        0,
        Audio(b"\x00RIFF\xff" * 50, "wav", 16_000, 2, 1_234),
        words=(Word("Hi", 0, 5, 0, 2), Word("?", 5, 6, None, None)),
        usage=Usage(11, 1, 2, 3),
        request_id="q",
        quality=("unverified_length",),
    )
    replay = _read(_write(tmp_path / "j", _intent(attempt), _settled(attempt, answer)))
    assert collect_history(("r", 0), [replay]) == History(
        answers={0: answer}, boundaries=None, segment_attempts={0: 1}, characters_billed=10, cost=cost_of(10)
    )
    assert replay.attempts == {"a1": (attempt, settlement_of(attempt))}


def test_an_attempt_without_an_end_is_unknown(tmp_path: Path) -> None:
    """An intent alone may have been sent; the history counts its request but no money."""
    replay = _read(_write(tmp_path / "j", _intent(_attempt(1))))
    assert replay.attempts == {"a1": (_attempt(1), None)}
    assert collect_history(("r", 0), [replay]) == History(segment_attempts={0: 1})
    assert replay.finished_keys() == set()


def test_boundaries_are_those_that_were_written_last(tmp_path: Path) -> None:
    """Intents without boundaries keep the earlier ones; a text that was cut again has new ones."""
    first = _write(
        tmp_path / "1",
        _intent(_attempt(1), [(0, 4), (4, 9)]),
        _settled(_attempt(1), Answer(0, audio_of("a"))),
        _intent(_attempt(2, segment=1)),
    )
    later = _write(tmp_path / "2", _intent(_attempt(3, segment=1), [(0, 4), (4, 6), (6, 9)]))
    last = _write(tmp_path / "3", _intent(_attempt(4, segment=1)))
    history = collect_history(("r", 0), [_read(first)])
    assert history.boundaries == ((0, 4), (4, 9))
    history = collect_history(("r", 0), [_read(first), _read(later), _read(last)])
    assert history.boundaries == ((0, 4), (4, 6), (6, 9))
    assert list(history.answers) == [0]
    assert history.segment_attempts == {0: 1, 1: 3}


def test_a_discarded_answer_is_billed_and_not_kept(tmp_path: Path) -> None:
    """A later answer of the same segment replaced it: both are on the bill, one as discarded."""
    worse, better = Answer(0, audio_of("a"), quality=("silent",)), Answer(0, audio_of("b"))
    path = _write(
        tmp_path / "j",
        _intent(_attempt(1)),
        _settled(_attempt(1), worse),
        _intent(_attempt(2)),
        _settled(_attempt(2), better),
        encode_record(Discarded("a1")),
    )
    replay = _read(path)
    outcomes = [settlement.outcome for _, settlement in replay.attempts.values() if settlement is not None]
    assert outcomes == [Outcome.DISCARDED, Outcome.SUCCEEDED]
    history = collect_history(("r", 0), [replay])
    assert history.answers == {0: better}
    assert history.characters_billed == 20


def test_a_speech_points_at_its_answer_or_has_audio_of_its_own(tmp_path: Path) -> None:
    """Audio that is one unchanged answer is not written twice."""
    answer = Answer(0, audio_of("a"))
    record = _speech("s")
    replay = _read(
        _write(
            tmp_path / "j",
            _intent(_attempt(1, utterance_id="r")),
            _settled(_attempt(1, utterance_id="r"), answer),
            _speech("r"),
            (record, b"joined audio"),
        )
    )
    assert replay.finished_keys() == {("r", 0), ("s", 0)}
    own, other = replay.utterances["r", 0].audio, replay.utterances["s", 0].audio
    assert isinstance(own, Blob)
    assert isinstance(other, Blob)
    assert own.read() == answer.audio.data
    assert other.read() == b"joined audio"


def test_an_answer_may_be_the_end_of_its_row(tmp_path: Path) -> None:
    """The row is speech, with the audio of the answer."""
    answer = Answer(0, audio_of("a"))
    replay = _read(_write(tmp_path / "j", _intent(_attempt(1)), _spoken(_attempt(1), answer)))
    assert replay.finished_keys() == {("r", 0)}
    assert replay.utterances["r", 0].audio == replay.utterances["r", 0].answers[0][1]


def test_a_later_word_of_an_utterance_counts(tmp_path: Path) -> None:
    """An utterance that was rejected and then spoken is speech."""
    reject = encode_record(RejectRecord("r", 0, REJECTED))
    replay = _read(_write(tmp_path / "j", reject, (_speech("r", answer=None), b"audio")))
    utterance = replay.utterances["r", 0]
    assert utterance.reject is None
    assert utterance.speech is not None


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" * 12, b"\0" * 5_000, b"x" * 16, b"x" * 5_000])
def test_a_journal_torn_in_its_first_frame_is_none(tmp_path: Path, content: bytes) -> None:
    """Nothing can have been sent under such a journal."""
    (tmp_path / "j").write_bytes(content)
    assert replay_journal(tmp_path / "j") is None


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_format_version_is_a_storage_error(tmp_path: Path, version: object) -> None:
    """The journal may hold paid audio: it is neither guessed at nor removed."""
    opening = encode_record({"kind": "open", "format": version, "journal_id": "j"})
    (tmp_path / "j").write_bytes(b"".join(encode_frame(opening)))
    with pytest.raises(StorageError, match="is of format") as exc_info:
        replay_journal(tmp_path / "j")
    assert "already paid for" in (exc_info.value.hint or "")


def test_a_journal_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    """A folder in the journal's place, for example, is an error."""
    with pytest.raises(StorageError, match="reading the journal"):
        replay_journal(tmp_path)


IDS = st.sampled_from(["a", "b", "c"])


@st.composite
def _histories(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    """Draw a possible order of events: intents, settlements of open attempts, speeches and rejects."""
    frames: list[tuple[bytes, bytes]] = []
    open_attempts: list[Attempt] = []
    answered: set[str] = set()
    for number in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["intent", "settled", "spoken", "failed", "speech", "reject"]))
        utterance_id = draw(IDS)
        if kind in {"settled", "spoken", "failed"} and open_attempts:
            attempt = open_attempts.pop(draw(st.integers(0, len(open_attempts) - 1)))
            if kind != "failed":
                answered.add(attempt.utterance_id)
                answer = Answer(0, audio_of("", audio_bytes=draw(st.integers(1, 60))))
                frames.append((_spoken if kind == "spoken" else _settled)(attempt, answer))
            else:
                frames.append(_settled(attempt, outcome=Outcome.FAILED))
        elif kind == "speech":
            shared = utterance_id in answered and draw(st.booleans())
            payload = b"" if shared else draw(st.binary(min_size=1, max_size=60))
            frames.append((_speech(utterance_id, answer=0 if shared else None), payload))
        elif kind == "reject":
            frames.append((encode_record(RejectRecord(utterance_id, 0, REJECTED)), b""))
        else:
            attempt = _attempt(number, utterance_id=utterance_id)
            open_attempts.append(attempt)
            frames.append((_intent(attempt), b""))
    return frames


def _ends(frames: list[tuple[bytes, bytes]]) -> list[int]:
    """Return the end of each frame, beginning with the header's."""
    ends = [len(b"".join(encode_frame(OPENING)))]
    for frame in frames:
        ends.append(ends[-1] + len(b"".join(encode_frame(*frame))))
    return ends


def _same(first: Replay, second: Replay) -> bool:
    """Return whether two journals have the same contents, apart from their paths."""
    return (first.header, first.attempts, first.size_bytes) == (second.header, second.attempts, second.size_bytes) and {
        key: _plain(record) for key, record in first.utterances.items()
    } == {key: _plain(record) for key, record in second.utterances.items()}


def _plain(record: UtteranceRecord) -> Any:
    answers = {segment: (values, blob.offset, blob.length) for segment, (values, blob) in record.answers.items()}
    audio = None if record.audio is None else record.audio.read()
    return record.attempts, record.boundaries, answers, record.speech, audio, record.reject


@settings(max_examples=100)
@given(frames=_histories(), data=st.data(), zeros=st.sampled_from([0, 1, 5_000]))
def test_a_torn_tail_loses_only_what_was_not_whole(
    frames: list[tuple[bytes, bytes]], data: st.DataObject, zeros: int
) -> None:
    """Cut at any byte, with a power cut's zeros, a journal keeps exactly its whole records and counts no damage."""
    with tempfile.TemporaryDirectory() as folder:
        whole = _write(Path(folder) / "whole", *frames).read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        torn = Path(folder) / "torn"
        torn.write_bytes(whole[:at] + bytes(zeros))
        # Zeros that equal the original bytes tear nothing.
        reach = at + len(whole[at : at + zeros]) - len(whole[at : at + zeros].lstrip(b"\0"))
        ends = _ends(frames)
        # A whole record whose payload alone is zeros is no torn tail: its bill holds, and its answer is damaged.
        payloads = zip(ends[1:], (len(payload) for _, payload in frames), strict=True)
        assume(not any(end - size <= reach < end <= at + zeros for end, size in payloads))
        left = sum(end <= reach for end in ends)
        if left == 0:
            assert replay_journal(torn) is None
            return
        expected = _write(Path(folder) / "expected", *frames[: left - 1])
        assert _same(_read(torn), _read(expected))
        assert _read(torn).unread_bytes == 0


@settings(max_examples=100)
@given(frames=_histories(), data=st.data(), damage=st.sampled_from(["flip", "zero", "garbage", "gone", "more"]))
def test_what_stands_behind_damage_is_read(frames: list[tuple[bytes, bytes]], data: st.DataObject, damage: str) -> None:
    """Every attempt with an undamaged record is read, and damage is reported wherever it may hide an attempt."""
    with tempfile.TemporaryDirectory() as folder:
        path = _write(Path(folder) / "j", *frames)
        whole, ends = path.read_bytes(), _ends(frames)
        at = data.draw(st.integers(ends[0], max(ends[0], len(whole) - 1)))
        upto = min(len(whole), at + data.draw(st.integers(1, 300)))
        new = {
            "flip": bytes([whole[at] ^ 4]) + whole[at + 1 : upto] if at < len(whole) else b"",
            "zero": bytes(upto - at),
            "garbage": data.draw(st.binary(min_size=upto - at, max_size=upto - at)),
            "gone": b"",
            "more": whole[at:upto] + data.draw(st.binary(min_size=1, max_size=60)),
        }[damage]
        left = whole[:at] + new + whole[upto:]
        path.write_bytes(left)
        replay = _read(path)
        untouched = [
            frame for frame, start, end in zip(frames, ends, ends[1:], strict=False) if end <= at or start >= upto
        ]
        intents = {orjson.loads(record)["attempt"]["attempt_id"] for record, _ in untouched if b'"intent"' in record}
        assert intents <= replay.attempts.keys()
        is_all = len(replay.attempts) == sum(b'"intent"' in record for record, _ in frames)
        may_be_torn = upto > [0, *ends][-2] or whole.startswith(left.rstrip(b"\0"))  # as after a kill
        assert is_all or may_be_torn or replay.unread_bytes


def _damaged(path: Path, at: int) -> Path:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return path


def test_records_of_an_attempt_that_is_lost_count_as_lost(tmp_path: Path) -> None:
    """The settlement and the audio follow the damage: their attempt is unknown, and nothing breaks."""
    answer = Answer(0, audio_of("a"))
    path = _write(
        tmp_path / "j",
        _intent(_attempt(1)),
        _settled(_attempt(1), answer),
        encode_record(Discarded("a1")),
        _speech("r"),
        _intent(_attempt(2)),
    )
    replay = _read(_damaged(path, _ends([])[0] + 40))
    assert replay.attempts == {"a2": (_attempt(2), None)}
    assert replay.finished_keys() == set()
    assert replay.unread_bytes > len(_intent(_attempt(1)))


def test_a_record_that_is_told_twice_is_told_once(tmp_path: Path) -> None:
    """A repeated intent does not erase the settlement, and counts as one request."""
    intent, settled = _intent(_attempt(1)), _settled(_attempt(1), Answer(0, audio_of("a")))
    replay = _read(_write(tmp_path / "j", intent, settled, intent, settled, _speech("r"), _speech("r")))
    assert replay.attempts == {"a1": (_attempt(1), settlement_of(_attempt(1)))}
    assert collect_history(("r", 0), [replay]).segment_attempts == {0: 1}


HOSTILE: list[object] = [None, -1, 2**63, "x", [], {}, 1.5, True, "NaN", "-1"]


def test_what_nothing_of_ours_can_have_written_is_damage(tmp_path: Path) -> None:
    """A checksum is no proof: amounts that are negative or not numbers are not added up; nothing breaks."""
    intent = orjson.loads(_intent(_attempt(1)))
    settled = orjson.loads(_settled(_attempt(1))[0])
    speech = orjson.loads(_speech("r"))
    for record, inner in ((intent, "attempt"), (settled, "settlement"), (speech, "values")):
        for name, value in itertools.product(record[inner], HOSTILE):
            changed = {**record, inner: {**record[inner], name: value}}
            replay = _read(_write(tmp_path / "j", _intent(_attempt(1)), encode_record(changed), _intent(_attempt(2))))
            assert {"a1", "a2"} <= replay.attempts.keys()
            cost = journal_cost(replay)
            assert 0 <= cost.characters_billed <= cost.characters_upper_bound
        for value in HOSTILE:
            replay = _read(_write(tmp_path / "j", encode_record({**record, inner: value}), _intent(_attempt(2))))
            assert (list(replay.attempts), replay.unread_bytes > 0) == (["a2"], True)


@settings(max_examples=60)
@given(frames=_histories())
def test_what_this_process_wrote_reads_the_same_without_a_second_look_at_the_audio(
    frames: list[tuple[bytes, bytes]],
) -> None:
    """Skipping the payloads' checksums changes nothing for a whole journal."""
    with tempfile.TemporaryDirectory() as folder:
        path = _write(Path(folder) / "j", *frames)
        quick = replay_journal(path, check_payloads=False)
        assert quick is not None
        assert _same(quick, _read(path))


def test_audio_that_is_damaged_is_not_taken_for_whole(tmp_path: Path) -> None:
    """One flipped bit in a payload leaves its record whole: its cost is known, and the audio is bought again."""
    attempt = _attempt(1)
    for settled in (_settled, _spoken):
        frames = [(_intent(attempt), b""), settled(attempt, Answer(0, audio_of("a"))), (_speech("r"), b"")]
        replay = _read(_damaged(_write(tmp_path / "j", *frames), _ends(frames)[2] - 9))
        assert replay.attempts == {"a1": (attempt, settlement_of(attempt))}
        assert (replay.finished_keys(), replay.damaged_answers, replay.unread_bytes) == (set(), 1, 0)
        assert collect_history(("r", 0), [replay]).answers == {}


def test_an_utterance_nobody_heard_of_has_no_history(tmp_path: Path) -> None:
    """The history of an unknown utterance is empty."""
    assert collect_history(("x", 0), [_read(_write(tmp_path / "j", _intent(_attempt(1))))]) == History()
