from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from tests.builders import audio_of, make_speech
from tests.machine import patience
from tts_pipeline.client.attempt_log import AttemptLog, MemoryAttemptLog
from tts_pipeline.errors import (
    ConfigurationError,
    FatalError,
    PermanentError,
    ServiceError,
    StoppedError,
    StorageError,
    ThrottledError,
    TransientError,
)
from tts_pipeline.job.workers import SAME_ERRORS, RejectGuard, WorkerPool, WorkItem, workers_for
from tts_pipeline.models import Reject, Speech, Utterance

Behaviour = Callable[[str], Coroutine[Any, Any, None]]


async def _at_once(utterance_id: str) -> None:
    """Answer without delay."""


@dataclass
class FakeSynthesizer:
    """A synthesizer without a service: it speaks every utterance once ``behave`` returns."""

    behave: Behaviour = _at_once
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    reason: StoppedError | None = None
    reused: set[str] = field(default_factory=set)
    expects_more: bool = True
    most: int = 0

    async def synthesize(self, utterance: Utterance, log: AttemptLog | None = None) -> Speech:
        """Speak one utterance."""
        if self.reason is not None:
            raise self.reason
        self.begun.append(utterance.utterance_id)
        self.most = max(self.most, len(self.begun) - len(self.ended) - len(self.cancelled))
        try:
            await self.behave(utterance.utterance_id)
        except asyncio.CancelledError:
            self.cancelled.append(utterance.utterance_id)
            raise
        self.ended.append(utterance.utterance_id)
        origin = "pilot" if utterance.utterance_id in self.reused else None
        return make_speech(utterance, audio_of(utterance.text), len(utterance.text), deduplicated_from=origin)

    def input_exhausted(self) -> None:
        """Record that the input is exhausted."""
        self.expects_more = False

    def stop(self, reason: StoppedError) -> None:
        """Begin no more utterances."""
        self.reason = self.reason or reason


class FakeLog(MemoryAttemptLog):
    """A log in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.speeches: list[str] = []
        self.rejects: list[Reject] = []

    async def record_speech(self, speech: Speech) -> None:
        """Record a speech."""
        self.speeches.append(speech.utterance.utterance_id)

    async def record_reject(self, reject: Reject) -> None:
        """Record a reject."""
        self.rejects.append(reject)


def failing(errors: dict[str, Exception]) -> Behaviour:
    async def behave(utterance_id: str) -> None:
        if utterance_id in errors:
            raise errors[utterance_id]

    return behave


async def _feed(pool: WorkerPool, rows: int, log: FakeLog) -> None:
    for number in range(rows):
        await pool.queue.put(WorkItem(Utterance(f"r{number}", "Hello."), log))
    await pool.queue.put(None)


def run_pool(
    synthesizer: FakeSynthesizer,
    *,
    rows: int = 20,
    workers: int = 4,
    stop_grace_s: float = 5.0,
    guard: RejectGuard | None = None,
    during: Callable[[WorkerPool], Coroutine[Any, Any, None]] | None = None,
) -> tuple[WorkerPool, FakeLog]:
    """Run a pool to its end, with a feeder beside it as in a job."""

    async def main() -> tuple[WorkerPool, FakeLog]:
        log = FakeLog()
        pool = WorkerPool(synthesizer, workers=workers, stop_grace_s=stop_grace_s, guard=guard or RejectGuard())
        feeding = asyncio.ensure_future(_feed(pool, rows, log))
        beside = asyncio.ensure_future(during(pool)) if during else None
        await asyncio.wait_for(pool.run(), patience(10))
        feeding.cancel()
        await asyncio.gather(feeding, *([beside] if beside else []), return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a batch leaves no task behind"
        return pool, log

    return asyncio.run(main())


def permanent_error(code: str = "InvalidParameter") -> PermanentError:
    return PermanentError("refused", code=code, http_status=400, may_be_billed=False)


def test_every_utterance_is_said_and_kept_once() -> None:
    """The queue's end ends the pool, without a reason."""
    synthesizer = FakeSynthesizer()
    pool, log = run_pool(synthesizer, rows=100)
    assert pool.reason is None
    assert not synthesizer.expects_more
    assert sorted(log.speeches) == sorted(f"r{number}" for number in range(100))


def test_workers_bound_what_is_in_flight() -> None:
    """As many utterances at one time as workers, and all workers busy while work remains."""
    synthesizer = FakeSynthesizer()

    async def behave(utterance_id: str) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    synthesizer.behave = behave
    run_pool(synthesizer, rows=50, workers=7)
    assert synthesizer.most == 7


@pytest.mark.parametrize(("in_flight", "workers"), [(1, 9), (2, 10), (16, 24), (64, 80), (256, 320)])
def test_there_are_spare_workers_and_not_many(in_flight: int, workers: int) -> None:
    """Held rows, and rows that wait for the disk, take no slot from others; memory stays bounded."""
    assert workers_for(in_flight) == workers


def test_nothing_more_is_begun_while_the_last_reject_is_written() -> None:
    """The run stops once the reject is known, not once it is on the disk."""
    synthesizer = FakeSynthesizer(failing({f"r{number}": permanent_error() for number in range(500)}))

    class Slow(FakeLog):
        async def record_reject(self, reject: Reject) -> None:
            for _ in range(20):
                await asyncio.sleep(0)
            await super().record_reject(reject)

    async def main() -> int:
        log = Slow()
        pool = WorkerPool(synthesizer, workers=4, stop_grace_s=5, guard=RejectGuard())
        feeding = asyncio.ensure_future(_feed(pool, 500, log))
        await asyncio.wait_for(pool.run(), patience(10))
        feeding.cancel()
        return len(log.rejects)

    assert asyncio.run(main()) == len(synthesizer.begun) < SAME_ERRORS + 4


def test_a_slot_is_free_only_when_the_result_is_written() -> None:
    """A worker begins its next utterance after it has recorded the last."""
    synthesizer = FakeSynthesizer()
    events: list[str] = []

    class Slow(FakeLog):
        async def record_speech(self, speech: Speech) -> None:
            await asyncio.sleep(0)
            events.append(f"kept {speech.utterance.utterance_id}")

    async def behave(utterance_id: str) -> None:
        events.append(f"begun {utterance_id}")

    async def main() -> None:
        pool = WorkerPool(synthesizer, workers=1, stop_grace_s=1, guard=RejectGuard())
        feeding = asyncio.ensure_future(_feed(pool, 3, Slow()))
        await pool.run()
        await feeding

    synthesizer.behave = behave
    asyncio.run(main())
    assert events == [f"{event} r{number}" for number in range(3) for event in ("begun", "kept")]


@pytest.mark.parametrize(
    ("error", "error_class"),
    [
        (permanent_error(), "permanent"),
        (PermanentError("proxy", code="X", http_status=403), "permanent"),
        (PermanentError("in a 200", code="X", http_status=200), "permanent"),
        (PermanentError("no audio", code="X"), "permanent"),
        (PermanentError("empty", code="EmptyText", may_be_billed=False), "input"),
        (TransientError("timed out", code="Timeout"), "transient"),
        (TransientError("refused", code="ConnectionFailed", may_be_billed=False), "transient"),
        (ThrottledError("429", code="Throttling", http_status=429), "transient"),
    ],
)
def test_a_row_that_fails_for_good_is_a_reject_and_the_rest_goes_on(error: ServiceError, error_class: str) -> None:
    """Its class tells unsent, refused and exhausted rows apart; it has attempts, cost and the hint."""
    error.for_utterance("r3", attempts=5, cost=Decimal("0.5"), currency="CNY")
    error.hint = "shorten it"
    pool, log = run_pool(FakeSynthesizer(failing({"r3": error})))
    assert pool.reason is None
    (reject,) = log.rejects
    assert (reject.utterance.utterance_id, reject.error_class, reject.error_code) == ("r3", error_class, error.code)
    assert (reject.attempts, reject.cost, reject.currency) == (5, Decimal("0.5"), "CNY")
    assert reject.message == str(error)
    assert "shorten it" in reject.message
    assert len(log.speeches) == 19


@pytest.mark.parametrize(
    "error",
    [
        FatalError("no money", code="Arrearage", http_status=403),
        StoppedError("too long a pause", stopped_by="service"),
        StorageError("the disk is full"),
        ConfigurationError("the key cannot be sent"),
        ZeroDivisionError("a mistake of ours"),
    ],
)
def test_whatever_ends_the_run_is_its_reason_and_nothing_more_is_sent(error: Exception) -> None:
    """A bug too: it is not swallowed, and causes no rejects."""
    synthesizer = FakeSynthesizer(failing({"r5": error}))
    pool, log = run_pool(synthesizer, rows=500)
    assert pool.reason is error
    assert log.rejects == []
    assert len(synthesizer.begun) < 20
    assert synthesizer.reason is not None
    assert sorted(log.speeches) == sorted(set(synthesizer.begun) - {"r5"})


def test_a_ledger_that_cannot_be_written_ends_the_run() -> None:
    """The error of a full disk at a record is the reason, unchanged."""
    full = StorageError("the disk is full")

    class Full(FakeLog):
        async def record_speech(self, speech: Speech) -> None:
            raise full

    async def main() -> BaseException | None:
        pool = WorkerPool(FakeSynthesizer(), workers=2, stop_grace_s=1, guard=RejectGuard())
        feeding = asyncio.ensure_future(_feed(pool, 50, Full()))
        await asyncio.wait_for(pool.run(), patience(10))
        feeding.cancel()
        return pool.reason

    assert asyncio.run(main()) is full


def test_the_first_reason_counts() -> None:
    """Failures caused by the stop do not hide its reason."""
    first, second = StoppedError("first", stopped_by="interrupted"), StoppedError("second", stopped_by="budget")

    async def stop_twice(pool: WorkerPool) -> None:
        pool.stop(first)
        pool.stop(second)

    pool, _ = run_pool(FakeSynthesizer(), during=stop_twice)
    assert pool.reason is first


def test_idle_workers_end_at_once_when_stopped() -> None:
    """Workers without an item do not wait for the grace time."""

    async def main() -> float:
        pool = WorkerPool(FakeSynthesizer(), workers=8, stop_grace_s=60, guard=RejectGuard())
        running = asyncio.ensure_future(pool.run())
        while len(pool.queue._getters) < 8:  # noqa: ASYNC110 (nothing tells when workers begin to wait)
            await asyncio.sleep(0)
        pool.stop(StoppedError("interrupted", stopped_by="interrupted"))
        began = asyncio.get_running_loop().time()
        await asyncio.wait_for(running, patience(10))
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(main()) < 1


def test_a_batch_stopped_before_it_runs_begins_nothing() -> None:
    """A feeder may fail immediately."""

    async def main() -> list[str]:
        synthesizer = FakeSynthesizer()
        pool = WorkerPool(synthesizer, workers=2, stop_grace_s=60, guard=RejectGuard())
        pool.queue.put_nowait(WorkItem(Utterance("a", "Hello."), FakeLog()))
        pool.stop(StorageError("cannot open the part"))
        await asyncio.wait_for(pool.run(), patience(10))
        return synthesizer.begun

    assert asyncio.run(main()) == []


def test_what_is_in_flight_has_the_grace_and_no_longer() -> None:
    """Answers within the grace time are kept; hanging ones are cancelled, and are neither speech nor reject."""
    synthesizer = FakeSynthesizer()

    async def main() -> tuple[list[str], list[str]]:
        begun, finish = asyncio.Event(), asyncio.Event()
        log = FakeLog()

        async def behave(utterance_id: str) -> None:
            if len(synthesizer.begun) == 3:
                begun.set()
            if utterance_id == "r1":
                await asyncio.get_running_loop().create_future()  # hangs for ever
            await finish.wait()

        synthesizer.behave = behave
        pool = WorkerPool(synthesizer, workers=3, stop_grace_s=0.5, guard=RejectGuard())
        feeding = asyncio.ensure_future(_feed(pool, 50, log))
        running = asyncio.ensure_future(pool.run())
        await begun.wait()
        pool.stop(StoppedError("interrupted", stopped_by="interrupted"))
        asyncio.get_running_loop().call_later(0.05, finish.set)
        await asyncio.wait_for(running, patience(10))
        feeding.cancel()
        return log.speeches, synthesizer.cancelled

    finished, cancelled = asyncio.run(main())
    assert (sorted(finished), cancelled) == (["r0", "r2"], ["r1"])
    assert synthesizer.begun == ["r0", "r1", "r2"]


def test_reuse_is_reported_with_its_origin() -> None:
    """Once for each speech with reused audio."""
    origins: list[str | None] = []

    async def report_to(pool: WorkerPool) -> None:
        pool.on_reuse = lambda speech: origins.append(speech.deduplicated_from)

    pool, _ = run_pool(FakeSynthesizer(reused={"r1", "r3"}), rows=5, during=report_to)
    assert origins == ["pilot", "pilot"]
    assert pool.reason is None
