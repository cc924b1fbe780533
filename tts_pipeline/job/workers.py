"""A pool of workers over utterances: one client, one queue, an orderly stop. Knows neither files nor Airflow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tts_pipeline.client.ledger import Ledger
from tts_pipeline.errors import PermanentError, ServiceError, StoppedError, TransientError
from tts_pipeline.models import Reject, Speech, Utterance

SAME_ERRORS = 50
"""As many first outcomes that are one and the same permanent error mean a wrong setting, not wrong rows."""


SPARE_WORKERS = 8
"""Rows beyond the concurrency that are worked on, at least: they go on while others are held."""


def workers_for(max_concurrency: int) -> int:
    """Return how many utterances to work on at one time, for so many requests in flight.

    They are more, and bounded, because a row needs no place while it rests before a retry, while it waits for other
    rows to show whose failure its was, and while its result is written: others send meanwhile. Without them a few
    neighbouring rows that always fail, at a concurrency of 1 or 2, would look like an outage of the service.
    """
    return max_concurrency + max(SPARE_WORKERS, max_concurrency // 4)


class Synthesizer(Protocol):
    """Says one utterance: what a batch needs of a ``SpeechClient``."""

    async def synthesize(self, utterance: Utterance, ledger: Ledger | None = None) -> Speech:
        """Say one utterance, with every attempt in the ledger; see ``SpeechClient`` for what it raises."""

    def input_exhausted(self) -> None:
        """Take note that no utterance comes beside those that are being said."""

    def stop(self, reason: StoppedError) -> None:
        """Send nothing any more: waiting callers get the reason, what is in flight goes on."""


class ResultLedger(Ledger, Protocol):
    """Where an utterance's attempts and its end are recorded."""

    async def record_speech(self, speech: Speech) -> None:
        """Record its speech; the worker is free again when this returns."""

    async def record_reject(self, reject: Reject) -> None:
        """Record that it failed for good; the worker is free again when this returns."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One utterance to do, and the book it belongs to."""

    utterance: Utterance
    ledger: ResultLedger


class RejectGuard:
    """Tells a wrong setting from wrong rows: a million rejects are not a result. A maximum of None is any number."""

    def __init__(self, max_rejects: int | None = None) -> None:
        self._max_rejects = max_rejects
        self._rejects = 0
        self._first_code: str | None = None
        self._same_errors = 0
        self._is_mixed = False

    def note_speech(self) -> None:
        """Note an utterance that succeeded."""
        self._is_mixed = True

    def note_reject(self, error: ServiceError) -> StoppedError | None:
        """Note a reject; returns why the run should stop, if it should."""
        self._rejects += 1
        if self._max_rejects is not None and self._rejects > self._max_rejects:
            return StoppedError(
                f"more than {self._max_rejects} utterances were rejected, the last one: {error}",
                stopped_by="rejects",
                hint="look at the rejects table, mend the cause or raise `max_rejects`, and run again",
            )
        if self._is_mixed or not isinstance(error, PermanentError) or error.http_status is None:
            return None
        self._first_code = self._first_code or error.code
        self._same_errors += 1
        self._is_mixed = error.code != self._first_code
        if self._is_mixed or self._same_errors < SAME_ERRORS:
            return None
        return StoppedError(
            f"the first {SAME_ERRORS} utterances were all refused alike: {error}",
            stopped_by="rejects",
            hint="a setting is probably wrong for all rows: mend it and run again into a new destination",
        )


class WorkerPool:
    """Says utterances with a fixed number of workers, until the queue ends (None) or something stops it.

    The client bounds how many workers send. An orderly stop waits ``stop_grace_s`` for answers that are already paid
    for. ``on_reuse`` is called for each speech whose audio was not bought, with the audio's origin.
    """

    def __init__(self, client: Synthesizer, *, workers: int, stop_grace_s: float, guard: RejectGuard) -> None:
        self.queue: asyncio.Queue[WorkItem | None] = asyncio.Queue(maxsize=workers)
        self.reason: BaseException | None = None
        self.on_reuse: Callable[[str], None] = lambda _: None
        self._client = client
        self._workers = workers
        self._stop_grace_s = stop_grace_s
        self._guard = guard
        self._idle_tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    def stop(self, reason: BaseException) -> None:
        """Stop in good order: nothing new is sent, what is in flight has the grace; the first reason counts."""
        if self.reason is not None:
            return
        self.reason = reason
        stop_error = reason if isinstance(reason, StoppedError) else StoppedError(str(reason), stopped_by="service")
        self._client.stop(stop_error)
        self._stopping.set()
        for task in self._idle_tasks:
            task.cancel()

    async def run(self) -> None:
        """Work until the queue gives None, or until stopped; ``reason`` then says why. Raises nothing of the work's."""
        tasks = [asyncio.create_task(self._run_worker()) for _ in range(self._workers)]
        stopping = asyncio.create_task(self._stopping.wait())
        workers_done = asyncio.gather(*tasks, return_exceptions=True)
        ends: list[asyncio.Future[Any]] = [workers_done, stopping]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not workers_done.done():
            await asyncio.wait(tasks, timeout=self._stop_grace_s)
            for task in tasks:
                task.cancel()
        stopping.cancel()
        await workers_done

    async def _run_worker(self) -> None:
        while (item := await self._next_item()) is not None:
            try:
                try:
                    speech = await self._client.synthesize(item.utterance, item.ledger)
                except (PermanentError, TransientError) as error:
                    await self._refuse(item, error)
                else:
                    await self._keep(item, speech)
            except Exception as error:
                self.stop(error)

    async def _next_item(self) -> WorkItem | None:
        """Wait for an item; None at the end of the queue, or when the pool stops."""
        if self.reason is not None:
            return None
        task = asyncio.current_task()
        assert task is not None
        self._idle_tasks.add(task)
        try:
            item = await self.queue.get()
        finally:
            self._idle_tasks.discard(task)
        if item is None:
            self.queue.put_nowait(None)  # for the next worker
            self._client.input_exhausted()
        return item

    async def _refuse(self, item: WorkItem, error: ServiceError) -> None:
        stop_error = self._guard.note_reject(error)
        if stop_error is not None:
            self.stop(stop_error)  # before the record is written: nothing more is to be sent meanwhile
        await item.ledger.record_reject(_reject(item.utterance, error))

    async def _keep(self, item: WorkItem, speech: Speech) -> None:
        await item.ledger.record_speech(speech)
        if speech.deduplicated_from is None:
            self._guard.note_speech()
        else:  # bought long ago: it says nothing about the settings of now
            self.on_reuse(speech.deduplicated_from)


def _reject(utterance: Utterance, error: ServiceError) -> Reject:
    return Reject(
        utterance=utterance,
        error_class=_error_class(error),
        error_code=error.code,
        message=str(error),
        attempts=error.attempts,
        cost=error.cost,
        currency=error.currency,
        failed_at_us=time.time_ns() // 1_000,
    )


def _error_class(error: ServiceError) -> str:
    if isinstance(error, TransientError):
        return "transient"
    return "input" if error.http_status is None and not error.may_be_billed else "permanent"
