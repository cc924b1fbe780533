"""Run parts, several at a time: open, speak and commit them; an orderly stop keeps every answer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from functools import partial

from tts_pipeline.account.exchange import Standing
from tts_pipeline.account.shared_rates import SharedRates
from tts_pipeline.cache.dataset_cache import DatasetCache
from tts_pipeline.cache.job_cache import JobCache
from tts_pipeline.cache.tiered import CLOSE_S, STOPPED_CLOSE_S, TieredCache
from tts_pipeline.card import with_card_limits
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import RESERVE_BYTES_PER_REQUEST
from tts_pipeline.dataset.active_part import ActivePart, Progress
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import StoppedError, StorageError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.clock import Clock
from tts_pipeline.job.allowance import Allowance
from tts_pipeline.job.coalescing import RequestCoalescer
from tts_pipeline.job.event_loop_thread import shared_event_loop_thread
from tts_pipeline.job.gc_tuning import gc_tuned
from tts_pipeline.job.open_parts import OpenParts, max_open_parts
from tts_pipeline.job.part_slots import PartSlots
from tts_pipeline.job.prepare import find_repeated_hashes
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.report import Saving
from tts_pipeline.job.stop import CancelToken, run_stoppable
from tts_pipeline.job.workers import RejectGuard, WorkerPool, WorkItem, workers_for
from tts_pipeline.models import Speech
from tts_pipeline.money import cost_of, price_at
from tts_pipeline.periods import instant
from tts_pipeline.source.duplicates import RequestHasher
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.disk_reserve import DiskReserve
from tts_pipeline.wal.journal import JournalWriter

ABANDON_WAIT_S = 0.5
"""The longest wait of an interrupted run until its parts are free for the next run."""


class Runner:
    """Runs parts of a prepared job; ``allowance`` None is no cap, and ``stop`` None never stops the run."""

    def __init__(
        self,
        prepared: PreparedJob,
        invocation: Invocation,
        progress: Progress,
        allowance: Allowance | None = None,
        stop: CancelToken | None = None,
    ) -> None:
        self._prepared = prepared
        self._progress = progress
        self._allowance = allowance or Allowance(Budget())
        self._stop = stop or CancelToken()
        self._repeated_hashes = find_repeated_hashes(prepared)
        self._job_cache = JobCache(prepared.job_cache_dir)
        self._cache = _open_cache(prepared, self._job_cache if len(self._repeated_hashes) else None)
        # One thread opens parts and one commits them: in order, and never on the event loop.
        self._reader_thread = DaemonExecutor(1, "source-reader")
        self._committer_thread = DaemonExecutor(1, "publisher")
        self._disk_reserve = DiskReserve(
            prepared.journals_dir,
            RESERVE_BYTES_PER_REQUEST * min(prepared.job.options.limits.max_concurrency, prepared.descriptor.rows),
        )
        self._writer = JournalWriter(self._call_from_thread, self._disk_reserve, self._call_soon)
        self.parts = OpenParts(prepared, invocation, progress, self._allowance, self._writer)
        self._loop_thread = None if prepared.is_published else shared_event_loop_thread()
        self._commit_tasks: set[asyncio.Task[None]] = set()
        self.saved: defaultdict[str, Saving] = defaultdict(Saving)
        """What reused audio would have cost, by the audio's place; the empty name is another row of the job."""

    def run(self, parts: Sequence[int]) -> BaseException | None:
        """Run parts without a marker to their end; return the reason of a stop, or None."""
        try:
            self._disk_reserve.allocate()
        except StorageError as error:
            self._abandon()
            return error
        try:
            with self._reader_thread, self._committer_thread, gc_tuned():
                reason = run_stoppable(self._run(parts), self._stop, self._loop_thread)
        except BaseException:
            self._abandon()
            raise
        self.parts.forfeit()  # none is open: it ends the shipper
        self._close_parts()
        return reason

    def _abandon(self) -> None:
        """Free the open parts of a run that was interrupted; the next run continues from the journals.

        A read, a write or a commit may hang: a thread closes the parts behind it, with a short wait for that thread.
        """
        self.parts.forfeit()
        if self._cache is not None:
            self._cache.abandon()
        self._reader_thread.shutdown(cancel_futures=True)
        closing = DaemonExecutor(1, "closing")
        done, _ = wait([closing.submit(self._close_parts)], timeout=ABANDON_WAIT_S)
        closing.shutdown(wait=bool(done))

    def _close_parts(self) -> None:
        self._reader_thread.shutdown(wait=True)
        self._committer_thread.shutdown(wait=True)
        self._writer.close()
        self.parts.close()

    def _call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def _call_from_thread(self, callback: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it all waiting tasks
            self._loop.call_soon_threadsafe(callback)

    async def _run(self, parts: Sequence[int]) -> BaseException | None:
        job, limits = self._prepared.job, self._prepared.job.options.limits
        self._loop = asyncio.get_running_loop()
        self._slots = PartSlots(max_open_parts(job.options, self._prepared.descriptor.part_rows))
        async with SpeechClient(
            job.service,
            self._prepared.card,
            limits,
            audio=job.audio,
            quality=job.options.quality,
            budget=self._allowance.budget,
            cache=self._cache,
            unspeakable=job.options.unspeakable,
            transports=None if self._loop_thread is None else self._loop_thread.transports,
            rates=self._shared_rates(),
        ) as client:
            self._coalescer = RequestCoalescer(
                client, self._repeated_hashes, RequestHasher(self._prepared.mapper), self._job_cache
            )
            self._pool = WorkerPool(
                self._coalescer if len(self._repeated_hashes) else client,
                workers=min(workers_for(limits.max_concurrency), self._prepared.descriptor.rows),
                stop_grace_s=limits.stop_grace_s,
                guard=RejectGuard(self._max_rejects()),
            )
            self._pool.on_reuse = self._count_reuse
            self._pool.queue.room, client.limiter.on_room = client.limiter.room, self._pool.queue.offer
            with self._stop.subscribe(self._stop_pool):
                feed_task = asyncio.create_task(self._feed(parts))
                await self._pool.run()
                if not feed_task.done():
                    feed_task.cancel()
                    await asyncio.gather(feed_task, return_exceptions=True)
                    # wait until the part that the reader thread is opening is open
                    await self._loop.run_in_executor(self._reader_thread, lambda: None)
                self._coalescer.close()
                await asyncio.to_thread(self._writer.close)  # parts are complete when their last rows are written
                await asyncio.gather(*self._commit_tasks)
        storage_error = None
        if len(self.parts):
            storage_error = await self._loop.run_in_executor(self._committer_thread, self.parts.suspend_all)
        if self._cache is not None:
            await self._cache.close(STOPPED_CLOSE_S if self._pool.reason else CLOSE_S)
        return self._pool.reason or storage_error

    def _shared_rates(self) -> SharedRates | None:
        """Return the rates that the processes of the account share; what its store says comes to the event loop."""
        if self._allowance.membership is None:
            return None
        session, pots = self._allowance.membership
        rates = SharedRates(session, with_card_limits(self._prepared.card, self._prepared.job.options.limits), Clock())
        pots.begin()

        def take_standing(standing: Standing) -> None:
            rates.take_standing(standing)
            pots.take_standing(standing)

        session.on_standing = lambda standing: self._call_from_thread(partial(take_standing, standing))
        return rates

    def _stop_pool(self, reason: StoppedError) -> None:
        self._call_from_thread(partial(self._pool.stop, reason))
        self.parts.shipper.wake()  # ship during the grace period, so that less is left to send later

    def _count_reuse(self, speech: Speech) -> None:
        labels = (location.label for location in self._prepared.cache_locations)
        label = next((label for label in labels if (speech.deduplicated_from or "").startswith(f"{label}#")), "")
        price = price_at(self._prepared.card.prices, instant(speech.created_at_us))
        cost = cost_of(price, characters=speech.characters_counted, usage=speech.usage)
        self.saved[label].add(Saving(1, speech.characters_counted, cost))

    def _max_rejects(self) -> int | None:
        max_rejects = self._prepared.job.options.max_rejects
        if max_rejects is None:
            return None
        return int(max_rejects * self._progress.totals.rows) if max_rejects < 1 else int(max_rejects)

    async def _feed(self, parts: Sequence[int]) -> None:
        """Open parts in order and queue their utterances; part slots and the queue's size give back-pressure."""
        try:
            for number in parts:
                await self._slots.acquire()
                part = await self._loop.run_in_executor(self._reader_thread, self.parts.open, number)
                if number == parts[-1]:
                    self.parts.close_source()
                if part is None:  # another process holds the part, or committed it meanwhile
                    self._slots.release()
                    continue
                self._slots.add_text(part.rows.text_bytes)
                if part.remaining == 0:
                    self._start_commit(part)
                else:
                    part.on_complete = self._start_commit
                    part.on_write_error = self._pool.stop
                    for utterance in part.todo:
                        await self._coalescer.admit(WorkItem(utterance, part), self._pool.queue)
            await self._coalescer.drain()
            await self._pool.queue.put(None)
        except Exception as error:
            self._pool.stop(error)

    def _start_commit(self, part: ActivePart) -> None:
        task = asyncio.create_task(self._commit(part))
        self._commit_tasks.add(task)
        task.add_done_callback(self._commit_tasks.discard)

    async def _commit(self, part: ActivePart) -> None:
        try:
            # Sync now: no later intent syncs this journal, and the part may wait long for its commit.
            await asyncio.to_thread(part.sync)
            await self._loop.run_in_executor(self._committer_thread, self.parts.commit, part)
        except Exception as error:
            self._pool.stop(error)
        else:
            self._slots.release(part.rows.text_bytes)


def _open_cache(prepared: PreparedJob, job_cache: JobCache | None) -> TieredCache | None:
    """Open the caches of a job; ``job_cache`` is None if no request occurs twice. Blocking."""
    tiers = [location.open(prepared.job.audio) for location in prepared.cache_locations]
    if job_cache is None:
        return TieredCache(tiers) if tiers else None
    if job_cache.is_new:  # on a new machine, or when a finished dataset has grown, published parts hold the audio
        own_speech = DatasetCache(DatasetReader(prepared.store, prepared.descriptor), prepared.job.audio, label="")
        tiers = [own_speech, *tiers] if len(own_speech) else tiers
    job_cache.create()
    return TieredCache(tiers, job_cache)
