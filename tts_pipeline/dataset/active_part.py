"""Work on one active part: keep its rows and its journal, and be the ledger of its attempts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.budget_pool import BudgetPool
from tts_pipeline.dataset.claim_high_water import ClaimHighWater, ClaimStep
from tts_pipeline.dataset.claims import claim_of
from tts_pipeline.dataset.invocation import Invocation, new_journal_id
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StorageError
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.models import Answer, Audio, History, Reject, Speech, Utterance, UtteranceKey
from tts_pipeline.money import Cost
from tts_pipeline.source.spooled_rows import SpooledRows
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.journal import SUFFIX, Journal, JournalEntry, JournalWriter, OnWritten
from tts_pipeline.wal.records import (
    AnswerRecord,
    AnswerSpeech,
    Discarded,
    Intent,
    Record,
    RejectRecord,
    RejectValues,
    Settled,
    SpeechRecord,
    SpeechValues,
    encode_record,
    with_speech,
)
from tts_pipeline.wal.replay import Replay, collect_history, merge_histories


@dataclass(frozen=True, slots=True)
class PartRows:
    """The rows of a part in source order: the input rows, and the key and the utterance of each.

    The part's number counts from 0.
    """

    number: int
    inputs: SpooledRows
    keys: Sequence[UtteranceKey]
    utterances: Sequence[Utterance]

    @property
    def text_bytes(self) -> int:
        """The approximate size of the texts, counted in characters."""
        return sum([len(utterance.text) for utterance in self.utterances])

    @property
    def name(self) -> str:
        """The part's name within the dataset, ``part-00007``."""
        return part_name(self.number)


@dataclass(slots=True)
class Progress:
    """The progress of a run so far; the ledgers write it, and displays may read it at any time.

    Args:
        totals: Totals of this invocation; only ``tally`` adds the costs of attempts.
        in_flight: Attempts sent and not settled.
        retries: Attempts beyond the first of each segment.
        settled: Settled attempts.
        latency_ms: Sum of their latencies.
        done_before: Rows that were done before this invocation began.
        spent_before: Upper bound of the spending before it began; only counted under a cap.
        cap: Limit on the spending over all invocations.

    Attributes:
        tally: Adds the attempts to ``totals``.
    """

    totals: Totals = field(default_factory=Totals)
    in_flight: int = 0
    retries: int = 0
    settled: int = 0
    latency_ms: int = 0
    done_before: int = 0
    spent_before: Cost = field(default_factory=Cost)
    cap: BudgetCap = field(default_factory=BudgetCap)
    tally: SpendTally = field(init=False)

    def __post_init__(self) -> None:
        self.tally = SpendTally(self.totals)


@dataclass(frozen=True, slots=True)
class PriorState:
    """The state of a part's utterances outside its local journals.

    ``existing`` and ``totals`` describe the speech at the destination; ``histories`` hold the requests in published
    usage. ``retry_rejects`` puts rejected rows back among the rows to do.
    """

    existing: Collection[UtteranceKey] = frozenset()
    totals: Totals = field(default_factory=Totals)
    histories: Mapping[UtteranceKey, History] = field(default_factory=dict)
    retry_rejects: bool = False


NO_PRIOR_STATE = PriorState()


class _LastAnswer(NamedTuple):
    """The last answer of an utterance, its attempt, and its record, which may still be pending."""

    attempt: Attempt
    settled: Settled
    audio: Audio
    entry: JournalEntry


class ActivePart:
    """A part that this process works on; it is the ledger of its utterances' attempts."""

    def __init__(
        self,
        rows: PartRows,
        earlier_replays: Sequence[Replay],
        invocation: Invocation,
        progress: Progress,
        prior: PriorState = NO_PRIOR_STATE,
    ) -> None:
        self.rows = rows
        self.earlier_replays = tuple(earlier_replays)
        self.prior = prior
        self.journal_id = new_journal_id([replay.journal_id for replay in earlier_replays])
        self._invocation = invocation
        self._progress = progress
        self._journal: Journal | None = None
        self._writer: JournalWriter | None = None
        self._high_water: ClaimHighWater | None = None
        self._pool: BudgetPool | None = None
        self._resources = ExitStack()
        self._fence: Callable[[], None] = lambda: None
        self._in_flight: dict[str, Attempt] = {}
        self._last_answers: dict[UtteranceKey, _LastAnswer] = {}
        self.on_complete: Callable[[ActivePart], None] = lambda _: None
        self.on_write_error: Callable[[StorageError], None] = lambda _: None
        """Receives the failure of a speech for which nobody waits."""
        self.wait_until_shipped: Callable[[], Awaitable[None]] | None = None
        """Waits until the contents of all journals are at the destination, too; None where that is not needed."""
        self._recorded_keys = {key for replay in earlier_replays for key in replay.utterances}
        finished_keys = {
            key for replay in earlier_replays for key in replay.finished_keys(include_rejects=not prior.retry_rejects)
        } | set(prior.existing)
        self.todo = [u for u, key in zip(rows.utterances, rows.keys, strict=True) if key not in finished_keys]
        self.remaining = len(self.todo)

    def begin(
        self, folder: Path, writer: JournalWriter, store: Store, characters: int, pool: BudgetPool | None = None
    ) -> Journal:
        """Create the journal, then claim the characters of the rows to do; return the journal. Blocking.

        The claim is drawn from the pool, in which a budget then reserves the attempts; a pool of None means no cap.
        """
        invocation = self._invocation
        path = folder / f"{self.rows.name}-{self.journal_id}{SUFFIX}"
        header = invocation.journal_header(self.rows.number, self.journal_id)
        self._journal = Journal.create(path, header)
        self._writer = writer
        claim = claim_of(header, time.time_ns() // 1_000, invocation.currency)
        step = ClaimStep(max(characters, 1), invocation.prices.values())
        self._progress.tally.currency = self._progress.tally.currency or claim.currency
        self._high_water = ClaimHighWater(store, self.rows.number, claim, step)
        self._pool = pool
        if pool is None:
            self._high_water.open()
        else:
            pool.open(self._high_water, [(utterance.utterance_id, utterance.take) for utterance in self.todo])
        return self._journal

    def hold(self, resources: ExitStack, fence: Callable[[], None]) -> None:
        """Hold the part's lock, its lease and its rows until the part is closed.

        The fence raises a StorageError when this process no longer holds the part: nothing may be sent then.
        """
        self._resources = resources
        self._fence = fence

    def sync(self) -> None:
        """Sync the journal to the disk, so that published files are never ahead of it. Blocking."""
        if self._journal is not None:
            with storage_errors(f"writing the journal {self._journal.path}"):
                self._journal.fdatasync()

    def close_claim(self) -> None:
        """Write the claim no more, because a usage file replaces it; waits for a draw. Blocking."""
        if self._pool is not None and self._high_water is not None:
            self._pool.leave(self._high_water)
        self._high_water = None

    def close(self) -> None:
        """Close the journal and release the lock; no file is removed."""
        if self._journal is not None:
            self._journal.close()
        self.close_claim()
        self._resources.close()

    def history(self, utterance: Utterance) -> History:
        """Return the history of an utterance in earlier invocations."""
        key = (utterance.utterance_id, utterance.take)
        published = self.prior.histories.get(key, _NO_HISTORY)
        return (
            merge_histories(published, collect_history(key, self.earlier_replays))
            if key in self._recorded_keys
            else published
        )

    async def intend(self, attempt: Attempt, boundaries: tuple[tuple[int, int], ...] | None) -> None:
        """Record an attempt; return when its intent is on the disk, and at the destination where that is needed.

        Raises:
            StorageError: The intent is not there, or this process no longer holds the part: it must not be sent.
        """
        high_water = self._high_water
        try:
            self._fence()
            if self._pool is None and high_water is not None and not high_water.try_reserve(attempt):
                await high_water.reserve(attempt)
            self._progress.tally.reserve(attempt)
        except BaseException:  # the intent is not in the journal
            self._progress.tally.release(attempt)
            if self._pool is not None:
                self._pool.release(attempt)
            raise
        await self._write(Intent(attempt, boundaries), durable=True)
        if self.wait_until_shipped is not None:
            await self.wait_until_shipped()
        self._fence()  # again: the process may have been suspended, or the disk slow
        self._in_flight[attempt.attempt_id] = attempt
        self._progress.in_flight += 1
        self._progress.retries += attempt.number > 1

    def settle(self, settlement: Settlement, answer: Answer | None) -> None:
        """Record the settlement of an attempt; never waits, and is written before all later records."""
        attempt = self._in_flight.pop(settlement.attempt_id)
        record = Settled(settlement, None if answer is None else AnswerRecord.of(answer))
        if answer is None:
            self._put(record)
        else:
            entry = self._put(record, answer.audio.data)
            self._last_answers[attempt.utterance_id, attempt.take] = _LastAnswer(attempt, record, answer.audio, entry)
        self._progress.in_flight -= 1
        self._progress.settled += 1
        self._progress.latency_ms += settlement.latency_ms
        self._progress.tally.settle(settlement)
        if self._pool is None and self._high_water is not None:
            self._high_water.settle(attempt, settlement)

    def discard(self, attempt_id: str) -> None:
        """Record that an answer is not kept, because a later answer of its segment is better; the bill is the same."""
        self._put(Discarded(attempt_id))

    async def record_speech(self, speech: Speech) -> None:
        """Record an utterance's speech; return when it is written, or earlier, because the next intent waits for it.

        The row counts as finished when it is written; ``on_write_error`` receives a failure after the return.
        """
        utterance = speech.utterance
        last_answer = self._last_answers.pop((utterance.utterance_id, utterance.take), None)
        # Audio that is one unchanged answer is in the journal already: it is not written twice.
        is_answer = last_answer is not None and last_answer.audio is speech.audio
        if last_answer is not None and is_answer and self._extend_pending(last_answer, speech):
            return
        segment = last_answer.attempt.segment if last_answer is not None and is_answer else None
        record = SpeechRecord(utterance.utterance_id, utterance.take, SpeechValues.of(speech), segment)
        await self._write(record, b"" if is_answer else speech.audio.data)
        self._count_speech(speech.audio.duration_ms, is_reused=speech.deduplicated_from is not None)

    def _extend_pending(self, last_answer: _LastAnswer, speech: Speech) -> bool:
        """Add an utterance's end to the record of its answer; return False if that is not possible any more.

        Usually it is: the end follows the answer in the same turn of the loop. That saves each row a record, and its
        task a wake-up: nobody waits for the record, because its worker's next step is an intent, which does.
        """
        assert self._writer is not None
        if not self._writer.is_pending(last_answer.entry):
            return False
        answer_speech = AnswerSpeech.of(speech, last_answer.attempt, last_answer.settled)
        if answer_speech is None:
            return False
        last_answer.entry.record = with_speech(last_answer.entry.record, answer_speech)
        last_answer.entry.on_written = partial(self._on_speech_written, speech.audio.duration_ms)
        return True

    def _on_speech_written(self, duration_ms: int, error: StorageError | None) -> None:
        if error is None:
            self._count_speech(duration_ms, is_reused=False)
        else:
            self.on_write_error(error)

    async def record_reject(self, reject: Reject) -> None:
        """Record that an utterance failed for good; return when it is written."""
        utterance = reject.utterance
        self._last_answers.pop((utterance.utterance_id, utterance.take), None)
        await self._write(RejectRecord(utterance.utterance_id, utterance.take, RejectValues.of(reject)))
        self._progress.totals.rejects += 1
        self._count_finished()

    def _count_speech(self, duration_ms: int, *, is_reused: bool) -> None:
        self._progress.totals.add_speech(duration_ms, is_reused=is_reused)
        self._count_finished()

    def _count_finished(self) -> None:
        self.remaining -= 1
        if self.remaining == 0:
            self.on_complete(self)

    def _write(self, record: Record, payload: bytes = b"", *, durable: bool = False) -> asyncio.Future[None]:
        """Put a record; return what ends when it is written. No coroutine: a row's intent would wait through two."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(record, payload, durable=durable, on_written=partial(_resolve, written))
        return written

    def _put(
        self, record: Record, payload: bytes = b"", *, durable: bool = False, on_written: OnWritten | None = None
    ) -> JournalEntry:
        assert self._journal is not None
        assert self._writer is not None
        entry = JournalEntry(self._journal, encode_record(record), payload, durable, on_written)
        self._writer.put(entry)
        return entry


_NO_HISTORY = History()


def _resolve(future: asyncio.Future[None], error: StorageError | None) -> None:
    if future.done():  # its waiter was cancelled in an orderly stop
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
