from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from tests.builders import FLASH, audio_of, cost_of, make_speech, settlement_of
from tests.datasets import Bench, keep
from tts_pipeline.attempt import Outcome
from tts_pipeline.config import InputColumns
from tts_pipeline.dataset.active_part import Progress
from tts_pipeline.dataset.claims import Claim, claim_names, read_claim
from tts_pipeline.dataset.part_journals import journal_paths, replay_part
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Answer, History, Usage, Word
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.store import Store
from tts_pipeline.wal import journal
from tts_pipeline.wal.frames import Blob, Frame, read_frames
from tts_pipeline.wal.journal import Journal
from tts_pipeline.wal.records import JournalHeader, SpeechValues

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> Bench:
    """A dataset of four rows, none of them spoken."""
    return Bench.of(tmp_path, store)


def test_a_part_is_its_rows_as_they_are_in_the_source(tmp_path: Path, store: Store) -> None:
    """Part k holds the rows [k*n, (k+1)*n), with their keys and utterances."""
    bench = Bench.of(tmp_path, store, rows=10, part_rows=4)
    assert [bench.rows(number).keys for number in range(3)] == [
        [("r0", 0), ("r1", 0), ("r2", 0), ("r3", 0)],
        [("r4", 0), ("r5", 0), ("r6", 0), ("r7", 0)],
        [("r8", 0), ("r9", 0)],
    ]
    rows = bench.rows(2)
    assert rows.name == "part-00002"
    assert [utterance.text for utterance in rows.utterances] == ["Line 8.", "Line 9."]


async def test_an_intent_is_on_the_disk_when_it_returns(bench: Bench) -> None:
    """Only then may the request be sent: another process that looks now sees the intent."""
    async with bench.part() as part:
        attempt = bench.attempt(part.todo[0])
        await part.intend(attempt, ((0, 3), (3, 7)))
        (replay,) = bench.replays()
        assert replay.attempts == {"a1": (attempt, None)}
        assert replay.utterances["r0", 0].boundaries == ((0, 3), (3, 7))


async def test_only_intents_wait_for_the_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent returns after its own fdatasync; results are written, and synced with the next intent."""
    syncs: list[int] = []
    fdatasync = journal._fdatasync

    def count_sync(descriptor: int) -> None:
        fdatasync(descriptor)
        syncs.append(descriptor)

    monkeypatch.setattr(journal, "_fdatasync", count_sync)
    async with bench.part() as part:
        before = len(syncs)
        attempt = bench.attempt(part.todo[0])
        await part.intend(attempt, None)
        assert len(syncs) == before + 1
        part.settle(settlement_of(attempt), Answer(0, audio_of("x")))
        await part.record_speech(make_speech(part.todo[0], audio_of("y"), 7))
        assert len(syncs) == before + 1


async def test_an_intent_returns_when_what_was_settled_before_is_in_the_journal(bench: Bench) -> None:
    """Another process then sees the answer, although the utterance is not recorded as done."""
    async with bench.part() as part:
        attempt = bench.attempt(part.todo[0])
        await part.intend(attempt, None)
        part.settle(settlement_of(attempt), Answer(0, audio_of("x")))
        await part.intend(bench.attempt(part.todo[1]), None)
        (replay,) = bench.replays()
        assert list(replay.utterances["r0", 0].answers) == [0]
        assert list(replay.finished_keys()) == []


async def test_what_was_settled_comes_before_what_was_recorded_later(bench: Bench) -> None:
    """Settling never waits, and the speech recorded next finds the answer in the journal."""
    async with bench.part() as part:
        audio = audio_of("", audio_bytes=50_000)
        speech = await bench.say(part, part.todo[0], audio=audio)
        (replay,) = bench.replays()
    utterance = replay.utterances["r0", 0]
    assert replay.finished_keys() == {("r0", 0)}
    assert isinstance(utterance.audio, Blob)
    assert utterance.audio.read() == speech.audio.data
    assert replay.size_bytes < 60_000, "audio that is one answer as it came is written once"


@pytest.mark.parametrize("words", [None, (Word("Line", 0, 8, 0, 4),)])
async def test_a_row_of_one_answer_is_two_records(bench: Bench, words: tuple[Word, ...] | None) -> None:
    """An intent, and an answer that is the end of its row, too; the speech comes back as it was."""
    records: list[bytes] = []
    async with bench.part() as part:
        attempt = bench.attempt(part.todo[0])
        await part.intend(attempt, None)
        answer = Answer(0, audio_of("x"), words, Usage(attempt.characters_counted), "q")
        part.settle(settlement_of(attempt), answer)
        speech = make_speech(part.todo[0], answer.audio, attempt.characters_counted, words=words, quality=("silent",))
        await part.record_speech(speech)
        assert part.remaining == 4, "a row counts as finished when it is written"
        await part.intend(bench.attempt(part.todo[1]), None)
        assert part.remaining == 3, "the next intent waits for that"
        (replay,) = bench.replays()
        with bench.journal_path(part).open("rb") as file:
            frames = read_frames(bench.journal_path(part), file, check_payloads=False)
            records += [frame.record for frame in frames if isinstance(frame, Frame)]
    assert [orjson.loads(record)["kind"] for record in records] == ["open", "intent", "settled", "intent"]
    utterance = replay.utterances["r0", 0]
    assert utterance.speech == SpeechValues.of(speech)
    assert isinstance(utterance.audio, Blob)
    assert utterance.audio.read() == answer.audio.data


async def test_a_speech_behind_its_answer_is_a_record_of_its_own(bench: Bench) -> None:
    """When the answer is on its way already, the end of the row follows it, and its worker waits."""
    async with bench.part() as part:
        attempt, answer = await bench.buy(part, part.todo[0])
        await part.intend(bench.attempt(part.todo[1]), None)
        speech = make_speech(part.todo[0], answer.audio, attempt.characters_counted, words=None)
        await part.record_speech(speech)
        assert part.remaining == 3
        (replay,) = bench.replays()
    assert replay.utterances["r0", 0].speech == SpeechValues.of(speech)


async def test_a_speech_without_waiter_reports_that_it_is_not_written(bench: Bench) -> None:
    """The run must stop, and the row is not done; its next intent fails, too."""
    async with bench.part() as part:
        errors: list[StorageError] = []
        part.on_write_error = errors.append
        attempt, answer = await bench.buy(part, part.todo[0])
        assert isinstance(part._journal, Journal)
        part._journal._failure = StorageError("the disk is full")
        await part.record_speech(make_speech(part.todo[0], answer.audio, attempt.characters_counted, words=None))
        with pytest.raises(StorageError, match="the disk is full"):
            await part.intend(bench.attempt(part.todo[1]), None)
        assert [error.message for error in errors] == ["the disk is full"]
        assert part.remaining == 4


async def test_audio_that_is_not_an_answer_is_written_with_the_speech(bench: Bench) -> None:
    """Joined or converted audio differs from the answer, so its bytes are written."""
    async with bench.part() as part:
        _, answer = await bench.buy(part, part.todo[0])
        joined = audio_of("another")
        assert joined.data != answer.audio.data
        await part.record_speech(make_speech(part.todo[0], joined, 7))
    (replay,) = bench.replays()
    audio = replay.utterances["r0", 0].audio
    assert audio is not None
    assert audio.read() == joined.data


async def test_a_crash_between_answer_and_speech_keeps_the_answer(bench: Bench) -> None:
    """The next invocation finds the paid segment: its history has the audio, the request and the cost."""
    async with bench.part() as part:
        _, answer = await bench.buy(part, part.todo[1])
    async with bench.part() as part:
        assert [utterance.utterance_id for utterance in part.todo] == ["r0", "r1", "r2", "r3"]
        assert part.history(part.todo[0]) == History()
        assert part.history(part.todo[1]) == History(
            answers={0: answer}, segment_attempts={0: 1}, characters_billed=7, cost=cost_of(7)
        )
        await part.record_speech(make_speech(part.todo[1], part.history(part.todo[1]).answers[0].audio, 7))
    audio = bench.replays()[-1].utterances["r1", 0].audio
    assert audio is not None
    assert audio.read() == answer.audio.data


async def test_what_is_finished_is_not_done_again(bench: Bench) -> None:
    """Rows that earlier journals finished are not to do; a part with no rows to do has no journal."""
    async with bench.part() as part:
        await bench.say(part, part.todo[2])
        await bench.refuse(part, part.todo[0])
    async with bench.part() as part:
        assert [utterance.utterance_id for utterance in part.todo] == ["r1", "r3"]
        for utterance in part.todo:
            await bench.say(part, utterance)
    before = journal_paths(bench.journals, 0)
    async with bench.part() as part:
        assert part.remaining == 0
    assert journal_paths(bench.journals, 0) == before


async def test_the_part_says_when_its_last_row_is_written(bench: Bench) -> None:
    """It says so once, after the last speech or reject, whatever its position."""
    complete: list[int] = []
    async with bench.part() as part:
        part.on_complete = lambda finished_part: complete.append(finished_part.rows.number)
        for utterance in reversed(part.todo):
            assert complete == []
            await (bench.refuse if utterance.utterance_id == "r2" else bench.say)(part, utterance)
        assert complete == [0]


async def test_progress_counts_requests_rows_and_money(bench: Bench) -> None:
    """A request in flight is unknown and counts at its bound; a settled request counts at its cost."""
    progress = Progress()
    async with bench.part(progress=progress) as part:
        attempt = bench.attempt(part.todo[0], bound=20)
        await part.intend(attempt, None)
        totals = progress.totals
        assert (progress.in_flight, totals.attempts, totals.unknown_attempts) == (1, 1, 1)
        assert (totals.characters_billed, totals.characters_upper_bound) == (0, 20)
        assert (totals.cost, totals.cost_upper_bound, totals.currency) == (Decimal(0), cost_of(20), "CNY")
        part.settle(settlement_of(attempt, Outcome.FAILED), None)
        assert (progress.in_flight, totals.unknown_attempts, totals.characters_upper_bound) == (0, 0, 0)
        second = bench.attempt(part.todo[0], number=2)
        await part.intend(second, None)
        part.settle(settlement_of(second), Answer(0, audio_of("x"), usage=Usage(7)))
        await keep(part, make_speech(part.todo[0], audio_of("x"), 7))
        await bench.refuse(part, part.todo[1])
    assert (progress.retries, totals.attempts, totals.speech, totals.rejects) == (1, 3, 1, 1)
    assert (totals.characters_billed, totals.characters_upper_bound) == (7, 7)
    assert (totals.cost, totals.cost_upper_bound, totals.audio_ms) == (cost_of(7), cost_of(7), 8)


async def test_without_a_price_money_stays_unknown(tmp_path: Path, store: Store) -> None:
    """Characters are still counted."""
    bench = Bench.of(tmp_path, store, prices={})
    progress = Progress()
    async with bench.part(progress=progress) as part:
        attempt = bench.attempt(part.todo[0])
        await part.intend(attempt, None)
        part.settle(settlement_of(attempt, cost=None, cost_upper_bound=None), None)
    totals = progress.totals
    assert (totals.cost, totals.cost_upper_bound, totals.currency) == (None, None, None)
    assert totals.characters_billed == 7


async def test_the_claim_covers_the_part_from_the_start(bench: Bench) -> None:
    """Before anything is sent, the claim at the destination states the invocation and its upper bound."""
    async with bench.part() as part:
        (name,) = claim_names(bench.store, 0)
        claim = read_claim(bench.store, name)
        assert claim is not None
        assert name == f"claims/part-00000-{part.journal_id}.json"
        assert (claim.invocation_id, claim.account, claim.model) == ("invocation-1", "team", FLASH.model)
        assert claim.characters_upper_bound == 4 * 7
        assert claim.cost_upper_bound == cost_of(28)


async def test_the_claim_is_raised_before_spending_passes_it(bench: Bench) -> None:
    """The possible spending never exceeds the claim; failed requests give their reservation back."""
    async with bench.part() as part:

        def claim_now() -> Claim:
            claim = read_claim(bench.store, claim_names(bench.store, 0)[0])
            assert claim is not None
            return claim

        def claimed() -> int:
            return claim_now().characters_upper_bound

        opened_at_us = claim_now().opened_at_us
        at_most = 0
        for utterance in part.todo:
            attempt = bench.attempt(utterance, bound=14)
            await part.intend(attempt, None)
            at_most += 14
            assert claimed() >= at_most
            part.settle(settlement_of(attempt, Outcome.FAILED, characters_upper_bound=7), None)
            at_most -= 7
        claim_characters = claimed()
        assert claim_characters > 28
        assert claim_now().opened_at_us == opened_at_us, "raising a claim does not make it younger"
        for number in range(20):
            attempt = bench.attempt(part.todo[0], number=number + 2)
            await part.intend(attempt, None)
            part.settle(settlement_of(attempt, Outcome.FAILED), None)
        assert claimed() == claim_characters, "refused requests cost nothing: they need no larger claim"


async def test_claims_of_many_at_once_cover_them_all(tmp_path: Path, store: Store) -> None:
    """Concurrent intents that together exceed the claim are all covered when they return."""
    bench = Bench.of(tmp_path, store, rows=60)
    async with bench.part() as part:
        attempts = [bench.attempt(utterance, bound=70) for utterance in part.todo]
        await asyncio.gather(*(part.intend(attempt, None) for attempt in attempts))
        claim = read_claim(bench.store, claim_names(bench.store, 0)[0])
    assert claim is not None
    assert claim.characters_upper_bound >= 70 * 60


async def test_an_attempt_that_cannot_be_claimed_is_not_recorded(tmp_path: Path) -> None:
    """When the destination refuses a larger claim, the intent fails and nothing may be sent."""
    store = open_store(tmp_path / "out", tmp_path / "staging")
    bench = Bench.of(tmp_path, store, rows=1)
    async with bench.part() as part:
        for path in (tmp_path / "out" / "claims").iterdir():
            path.unlink()
        (tmp_path / "out" / "claims").rmdir()
        (tmp_path / "out" / "claims").write_bytes(b"")
        with pytest.raises(StorageError, match="claims"):
            await part.intend(bench.attempt(part.todo[0], bound=1_000), None)
        (replay,) = bench.replays()
        assert replay.attempts == {}


async def test_a_disk_error_reaches_whoever_waits(bench: Bench) -> None:
    """An intent or a speech that cannot be written raises, and the part records nothing else."""
    async with bench.part() as part:
        assert isinstance(part._journal, Journal)
        part._journal._failure = StorageError("the disk is full")
        attempt = bench.attempt(part.todo[0])
        for waiting in (
            part.intend(attempt, None),
            part.record_speech(make_speech(part.todo[0], audio_of("x"), 7)),
        ):
            with pytest.raises(StorageError, match="the disk is full"):
                await waiting
        assert part.remaining == 4


async def test_a_cancelled_waiter_disturbs_nobody(bench: Bench) -> None:
    """A waiter that is cancelled in an orderly stop does not affect the other waiters."""
    async with bench.part() as part:
        tasks = [asyncio.ensure_future(part.intend(bench.attempt(utterance), None)) for utterance in part.todo]
        await asyncio.sleep(0)
        tasks[0].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError)
        assert results[1:] == [None, None, None]


async def test_takes_of_one_id_are_told_apart(tmp_path: Path, store: Store) -> None:
    """Two takes of one id are two utterances in the journal."""
    table = pa.table({"id": ["a", "a"], "text": ["One.", "One."], "n": [0, 1]})
    bench = Bench.of(tmp_path, store, table, columns=InputColumns(parameters={"take": "n"}))
    async with bench.part() as part:
        await bench.say(part, part.todo[1])
    async with bench.part() as part:
        assert [(utterance.utterance_id, utterance.take) for utterance in part.todo] == [("a", 0)]


def test_a_journal_torn_in_its_first_frame_is_removed(tmp_path: Path) -> None:
    """Nothing was sent under it, and it is not in the way."""
    path = tmp_path / "part-00000-x.journal"
    path.write_bytes(b"\0" * 100)
    assert replay_part(LocalStore(tmp_path), tmp_path, 0, "fingerprint") == []
    assert not path.exists()


def test_a_journal_of_another_dataset_is_refused(tmp_path: Path) -> None:
    """Its audio is of other texts or voices, but may be paid for, so it is not removed either."""
    path = tmp_path / "part-00000-x.journal"
    Journal.create(path, JournalHeader(journal_id="x", dataset_fingerprint="another")).close()
    with pytest.raises(StorageError, match="of another job or source") as exc_info:
        replay_part(LocalStore(tmp_path), tmp_path, 0, "fingerprint")
    assert "already paid for" in (exc_info.value.hint or "")
    assert path.exists()


def test_journals_are_those_of_the_part_oldest_first(tmp_path: Path) -> None:
    """Part 1 and part 10001 are not confused."""
    for name in ("part-00001-b", "part-00001-a", "part-10001-a"):
        header = JournalHeader(journal_id=name[-1], dataset_fingerprint="f")
        Journal.create(tmp_path / f"{name}.journal", header).close()
    assert [replay.journal_id for replay in replay_part(LocalStore(tmp_path), tmp_path, 1, "f")] == ["a", "b"]
