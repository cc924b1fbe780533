"""Speak the utterances of a queue with a pool of workers and one client, and stop the pool in good order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from tts_pipeline.client.attempt_log import AttemptLog
from tts_pipeline.errors import PermanentError, ServiceError, StoppedError, TransientError
from tts_pipeline.job.work_queue import WorkQueue
from tts_pipeline.models import Reject, Speech, Utterance

SAME_ERRORS = 50
"""If this many first outcomes are the same permanent error, a setting is wrong, not the rows."""

SPARE_WORKERS = 8
"""The fewest workers beyond the concurrency: they go on while other rows are held."""


def workers_for(max_concurrency: int) -> int:
    """Return the number of utterances in progress at one time, for so many requests in flight.

    There are more workers than requests, because a row needs no slot while it waits before a retry, while it is held
    until other rows show the cause of its failure, and while its result is written: other rows send meanwhile. Without
    spare workers, a few neighbouring rows that always fail would look like an outage at a concurrency of 1 or 2.
    """
    return max_concurrency + max(SPARE_WORKERS, max_concurrency // 4)


class Synthesizer(Protocol):
    """The methods of ``SpeechClient`` that a worker pool needs."""

    async def synthesize(self, utterance: Utterance, log: AttemptLog | None = None) -> Speech:
        """Speak one utterance, and record every attempt in the log; for errors see ``SpeechClient``."""

    def input_exhausted(self) -> None:
        """Record that no more utterances will come beside those in progress."""

    def stop(self, reason: StoppedError) -> None:
        """Send no new attempts: waiting callers get the reason, attempts in flight go on."""


class ResultLog(AttemptLog, Protocol):
    """A log that also records the end of utterances."""

    async def record_speech(self, speech: Speech) -> None:
        """Record an utterance's speech; the worker is free again when this returns.

        It returns when the speech is written, or earlier if the next attempt's ``intend`` waits for that.
        """

    async def record_reject(self, reject: Reject) -> None:
        """Record that an utterance failed for good; the worker is free again when this returns."""


class WorkItem(Struct, frozen=True, gc=False):
    """One utterance to speak, and the log for its attempts and its result."""

    utterance: Utterance
    log: ResultLog


class RejectGuard:
    """Detects too many rejects, and a wrong setting that rejects every row. ``max_rejects`` None is no limit."""

    def __init__(self, max_rejects: int | None = None) -> None:
        self._max_rejects = max_rejects
        self._rejects = 0
        self._first_code: str | None = None
        self._same_errors = 0
        self._is_mixed = False

    def note_speech(self) -> None:
        """Count an utterance that succeeded."""
        self._is_mixed = True

    def note_reject(self, error: ServiceError) -> StoppedError | None:
        """Count a reject; return the reason to stop the run, or None."""
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
    """Speaks utterances with a fixed number of workers, until the queue ends (None) or the pool is stopped.

    The client bounds how many workers send. An orderly stop waits ``stop_grace_s`` for answers that are already paid
    for. ``on_reuse`` is called for each speech with reused audio.
    """

    def __init__(self, client: Synthesizer, *, workers: int, stop_grace_s: float, guard: RejectGuard) -> None:
        self.queue: WorkQueue[WorkItem] = WorkQueue(workers)
        self.reason: BaseException | None = None
        self.on_reuse: Callable[[Speech], None] = lambda _: None
        self._client = client
        self._workers = workers
        self._stop_grace_s = stop_grace_s
        self._guard = guard
        self._stopping = asyncio.Event()

    def stop(self, reason: BaseException) -> None:
        """Stop in good order: send nothing new, and give attempts in flight the grace time; the first reason counts."""
        if self.reason is not None:
            return
        self.reason = reason
        stop_error = reason if isinstance(reason, StoppedError) else StoppedError(str(reason), stopped_by="service")
        self._client.stop(stop_error)
        self._stopping.set()
        self.queue.close()

    async def run(self) -> None:
        """Work until the queue yields None, or until a stop, which sets ``reason``. Raises no errors of utterances."""
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
        while (item := await self.queue.get()) is not None:
            try:
                try:
                    speech = await self._client.synthesize(item.utterance, item.log)
                except (PermanentError, TransientError) as error:
                    await self._refuse(item, error)
                else:
                    await item.log.record_speech(speech)
                    self._note_speech(speech)
            except Exception as error:
                self.stop(error)
        if self.reason is None:
            self.queue.put_nowait(None)  # for the next worker
            self._client.input_exhausted()

    async def _refuse(self, item: WorkItem, error: ServiceError) -> None:
        stop_error = self._guard.note_reject(error)
        if stop_error is not None:
            self.stop(stop_error)  # before the record is written, so that nothing is sent meanwhile
        await item.log.record_reject(_reject(item.utterance, error))

    def _note_speech(self, speech: Speech) -> None:
        if speech.deduplicated_from is None:
            self._guard.note_speech()
        else:  # reused audio says nothing about the present settings
            self.on_reuse(speech)


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
