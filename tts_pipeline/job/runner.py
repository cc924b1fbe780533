"""Running parts: open, say, publish, many at a time; an orderly stop keeps everything that was received."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial

from tts_pipeline.cache.job_cache import JobCache
from tts_pipeline.cache.tiered import CLOSE_S, STOPPED_CLOSE_S
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import MIN_OPEN_PARTS, MIN_OPEN_ROWS_PER_REQUEST, OPEN_INPUT_BYTES, RESERVE_BYTES_PER_REQUEST
from tts_pipeline.dataset.active_part import ActivePart, PartRows, PriorState, Progress
from tts_pipeline.dataset.adoption import adopt_journals, remove_shipped_logs
from tts_pipeline.dataset.commit import PartCommitter, finished_totals, marker_name, remove_journals
from tts_pipeline.dataset.descriptor import refuse_vanished
from tts_pipeline.dataset.existing_speech import published_histories, read_existing_speech
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.part_journals import replay_part
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import is_provisional
from tts_pipeline.errors import StoppedError, StorageError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.job.allowance import Allowance
from tts_pipeline.job.caches import open_cache
from tts_pipeline.job.coalescing import RequestCoalescer
from tts_pipeline.job.gc_tuning import gc_tuned
from tts_pipeline.job.job import RunOptions
from tts_pipeline.job.part_slots import PartSlots
from tts_pipeline.job.prepare import find_repeated_hashes
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.stop import CancelToken, run_stoppable
from tts_pipeline.job.workers import RejectGuard, WorkerPool, WorkItem, workers_for
from tts_pipeline.source.duplicates import RequestHasher
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.spooled_rows import SpooledRows
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.disk_reserve import DiskReserve
from tts_pipeline.storage.file_lock import HeldElsewhereError
from tts_pipeline.text import billed_characters
from tts_pipeline.wal.journal import JournalWriter
from tts_pipeline.wal.replay import Replay
from tts_pipeline.wal.shipping import LogShipper

ABANDON_WAIT_S = 0.5
"""How long who interrupted a run at once waits for its parts to be free for the next one."""

SUSPEND_THREADS = 16
"""Parts that are let go at one time when a run is stopped: at an object store each is several round trips."""


class Runner:
    """Runs parts of a prepared job.

    Args:
        prepared: The job.
        invocation: Who is working.
        progress: Where to count.
        allowance: What may still be spent; None is without a cap.
        stop: Stops it from outside.
    """

    def __init__(
        self,
        prepared: PreparedJob,
        invocation: Invocation,
        progress: Progress,
        allowance: Allowance | None = None,
        stop: CancelToken | None = None,
    ) -> None:
        self._prepared = prepared
        self._invocation = invocation
        self._progress = progress
        self._allowance = allowance or Allowance(Budget())
        self._stop = stop or CancelToken()
        self._repeated_hashes = find_repeated_hashes(prepared)
        self._job_cache = JobCache(prepared.job_cache_dir)
        self._cache = open_cache(prepared, self._job_cache if len(self._repeated_hashes) else None)
        self._reader = RowReader(prepared.source)
        self._leases = prepared.leases
        self._publisher = PartCommitter(
            prepared.store, prepared.mapper.roles, prepared.job.options.tag_columns, self._leases.check
        )
        # Reading and publishing each in one thread of their own: in order, and never on the event loop.
        self._reader_thread = DaemonExecutor(1, "source-reader")
        self._publisher_thread = DaemonExecutor(1, "publisher")
        self._disk_reserve = DiskReserve(
            prepared.journals_dir, RESERVE_BYTES_PER_REQUEST * prepared.job.options.limits.max_concurrency
        )
        self._writer = JournalWriter(self._call_from_thread, self._disk_reserve, self._call_soon)
        self._shipper = LogShipper(
            prepared.store,
            prepared.ship_every_s,
            is_strict=prepared.job.options.ship_every_s is None,
            are_leases_lost=lambda: self._leases.are_lost,
        )
        self._open_parts: dict[int, ActivePart] = {}
        self._publish_tasks: set[asyncio.Task[None]] = set()
        self._totals_lock = threading.Lock()
        self.contended_parts: list[int] = []
        """Parts that could not be had: other processes work on them, or did."""
        self.unpublished = Totals()
        """What is done in parts that stayed open: in their journals, not published yet."""
        self.reused_from: Counter[str] = Counter()
        """Rows that took their audio from elsewhere, by where that is; empty is from another row of the job."""

    def run(self, parts: Sequence[int]) -> BaseException | None:
        """Run parts to their end, or until something stops it, which is returned.

        Args:
            parts: Numbers of parts without a marker, ascending.
        """
        try:
            self._disk_reserve.allocate()
        except StorageError as error:
            self._abandon()
            return error
        try:
            with self._reader_thread, self._publisher_thread, gc_tuned():
                return run_stoppable(self._run(parts), self._stop)
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Free what is open when a second Ctrl-C, or a mistake of ours, ended the run at once: the journals suffice.

        What is being read, written or published may hang: the parts are let go behind it, and nobody waits for that.
        """
        self._shipper.close()
        if self._cache is not None:
            self._cache.abandon()
        if self._open_parts:
            self._leases.forfeit()
        self._reader_thread.shutdown(cancel_futures=True)
        closing = DaemonExecutor(1, "closing")
        closed, _ = wait([closing.submit(self._close_parts)], timeout=ABANDON_WAIT_S)
        closing.shutdown(wait=bool(closed))

    def _close_parts(self) -> None:
        self._reader_thread.shutdown(wait=True)
        self._publisher_thread.shutdown(wait=True)
        self._writer.close()
        while self._open_parts:
            self._open_parts.popitem()[1].close()

    def _call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback)

    def _call_from_thread(self, callback: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(callback)

    async def _run(self, parts: Sequence[int]) -> BaseException | None:
        job, limits = self._prepared.job, self._prepared.job.options.limits
        self._loop = asyncio.get_running_loop()
        self._slots = PartSlots(_max_open_parts(job.options, self._prepared.descriptor.part_rows))
        async with SpeechClient(
            job.service,
            self._prepared.card,
            limits,
            audio=job.audio,
            quality=job.options.quality,
            budget=self._allowance.budget,
            cache=self._cache,
            unspeakable=job.options.unspeakable,
        ) as client:
            self._coalescer = RequestCoalescer(
                client, self._repeated_hashes, RequestHasher(self._prepared.mapper), self._job_cache
            )
            self._pool = WorkerPool(
                self._coalescer if len(self._repeated_hashes) else client,
                workers=workers_for(limits.max_concurrency),
                stop_grace_s=limits.stop_grace_s,
                guard=RejectGuard(self._max_rejects()),
            )
            self._pool.on_reuse = self._count_reuse
            with self._stop.subscribe(self._stop_pool):
                feed_task = asyncio.create_task(self._feed(parts))
                await self._pool.run()
                feed_task.cancel()
                await asyncio.gather(feed_task, return_exceptions=True)
                self._coalescer.close()
                # a part that is being opened is then open
                await self._loop.run_in_executor(self._reader_thread, _no_op)
                await asyncio.gather(*self._publish_tasks)
        await asyncio.to_thread(self._writer.close)
        storage_error = await self._loop.run_in_executor(self._publisher_thread, self._suspend_parts)
        if self._cache is not None:
            await self._cache.close(STOPPED_CLOSE_S if self._pool.reason else CLOSE_S)
        return self._pool.reason or storage_error

    def _stop_pool(self, reason: StoppedError) -> None:
        self._call_from_thread(partial(self._pool.stop, reason))
        self._shipper.wake()  # while answers are waited for: less is left to do then

    def _count_reuse(self, origin: str) -> None:
        labels = (location.label for location in self._prepared.cache_locations)
        self.reused_from[next((label for label in labels if origin.startswith(f"{label}#")), "")] += 1

    def _max_rejects(self) -> int | None:
        max_rejects = self._prepared.job.options.max_rejects
        if max_rejects is None:
            return None
        return int(max_rejects * self._progress.totals.rows) if max_rejects < 1 else int(max_rejects)

    async def _feed(self, parts: Sequence[int]) -> None:
        """Open parts in order and queue their utterances; back-pressure is the queue and the number of open parts."""
        try:
            for number in parts:
                await self._slots.acquire()
                part = await self._loop.run_in_executor(self._reader_thread, self._open_or_skip, number)
                if number == parts[-1]:
                    self._reader.close()
                if part is None:  # another process has it, or published it meanwhile
                    self._slots.release()
                    continue
                self._slots.add_text(part.rows.text_bytes)
                if part.remaining == 0:
                    self._start_publish(part)
                else:
                    part.on_complete = self._start_publish
                    for utterance in part.todo:
                        await self._coalescer.admit(WorkItem(utterance, part), self._pool.queue)
            await self._coalescer.drain()
            await self._pool.queue.put(None)
        except Exception as error:
            self._pool.stop(error)

    def _replays(self, number: int, *, own_journal_id: str | None = None) -> list[Replay]:
        fingerprint = self._prepared.descriptor.fingerprint_of(number)
        return replay_part(
            self._prepared.store, self._prepared.journals_dir, number, fingerprint, own_journal_id=own_journal_id
        )

    def _open_or_skip(self, number: int) -> ActivePart | None:
        try:
            return self._open_part(number)
        except HeldElsewhereError:
            self.contended_parts.append(number)
            return None

    def _make_held_rows(self) -> SpooledRows:
        prepared = self._prepared
        memory_bytes = OPEN_INPUT_BYTES // _max_open_parts(prepared.job.options, prepared.descriptor.part_rows)
        return SpooledRows(self._reader.schema, memory_bytes, prepared.work_dir / "rows")

    def _open_part(self, number: int) -> ActivePart | None:
        prepared = self._prepared
        refuse_vanished(prepared.store)
        with ExitStack() as resources:
            resources.enter_context(self._leases.hold(part_name(number)))
            if prepared.store.read(marker_name(number)) is not None:
                return None
            inputs = self._make_held_rows()
            resources.callback(inputs.close)
            rows = prepared.read_part(self._reader, number, inputs)
            adopted = adopt_journals(prepared.store, prepared.journals_dir, number)
            prior_replays = self._replays(number)
            self._publisher.suspend_part(rows, [replay for replay in prior_replays if replay.journal_id in adopted])
            self._publisher.account_for_lost_journals(number, prior_replays)
            invocation = replace(self._invocation, dataset_fingerprint=prepared.descriptor.fingerprint_of(number))
            part = ActivePart(rows, prior_replays, invocation, self._progress, self._prior_state(rows, prior_replays))
            self._progress.done_before += len(rows.keys) - part.remaining
            if part.remaining:
                billing = prepared.card.billing
                characters = sum(billed_characters(utterance.text, billing) for utterance in part.todo)
                journal = part.begin(
                    prepared.journals_dir, self._writer, prepared.store, characters, self._allowance.pot
                )
                self._shipper.add(part.journal_id, journal)
                part.wait_until_shipped = self._shipper.wait_until_shipped if self._shipper.is_strict else None
            part.hold(resources.pop_all(), self._leases.check)
        self._open_parts[number] = part
        return part

    def _prior_state(self, rows: PartRows, prior_replays: Sequence[Replay]) -> PriorState:
        store, retry_rejects = self._prepared.store, self._prepared.job.options.retry_rejects
        existing = read_existing_speech(store, rows)
        histories = published_histories(store, rows, {replay.journal_id for replay in prior_replays})
        return PriorState(existing.row_indices.keys(), existing.totals, histories, retry_rejects)

    def _start_publish(self, part: ActivePart) -> None:
        task = asyncio.create_task(self._publish(part))
        self._publish_tasks.add(task)
        task.add_done_callback(self._publish_tasks.discard)

    async def _publish(self, part: ActivePart) -> None:
        try:
            # At once: no later intent syncs this journal, and a part may wait long for its turn.
            await asyncio.to_thread(part.sync)
            await self._loop.run_in_executor(self._publisher_thread, self._publish_part, part)
        except Exception as error:
            self._pool.stop(error)
        else:
            self._slots.release(part.rows.text_bytes)

    def _publish_part(self, part: ActivePart) -> None:
        number, journals = part.rows.number, self._prepared.journals_dir
        replays = self._replays(number, own_journal_id=part.journal_id)
        refuse_vanished(self._prepared.store)
        self._publisher.commit_part(part.rows, replays)
        refuse_vanished(self._prepared.store)  # what has just been written may be where nobody will ever find it
        self._shipper.drop(part.journal_id)
        remove_journals(journals, number, [replay.journal_id for replay in replays])
        remove_shipped_logs(self._prepared.store, number, [replay.journal_id for replay in replays])
        del self._open_parts[number]
        part.close()

    def _suspend_parts(self) -> StorageError | None:
        """Let the parts that stay open go, all at one time: whoever stopped the run may not wait for long."""
        parts = [self._open_parts.pop(number) for number in tuple(self._open_parts)]
        with DaemonExecutor(SUSPEND_THREADS, "leaving") as threads:
            errors = [error for error in threads.map(self._suspend_part, parts) if error is not None]
        return errors[-1] if errors else None

    def _suspend_part(self, part: ActivePart) -> StorageError | None:
        """Publish the usage of a part that stays open, and let it go with its journal."""
        try:
            part.sync()
            if self._leases.are_lost:  # whoever has the part now goes by what was sent before
                self._shipper.drop(part.journal_id)
            self._shipper.send_rest(part.journal_id)
            replays = self._replays(part.rows.number, own_journal_id=part.journal_id)
            refuse_vanished(self._prepared.store)
            self._publisher.suspend_part(part.rows, self._without_guesses(part.rows.number, replays))
            with self._totals_lock:
                self.unpublished.add(finished_totals(replays, part.prior.existing))
                self.unpublished.add(part.prior.totals)
        except StorageError as error:  # the journals stay: the next run publishes them
            return error
        finally:
            part.close()
        return None

    def _without_guesses(self, number: int, replays: Sequence[Replay]) -> Sequence[Replay]:
        """Leave out journals that others have told of, if they may have the part: their marker tells of that file.

        The next run on this machine holds the part when it puts the truth there, see ``collect_orphans``.
        """
        if not self._leases.are_lost:
            return replays
        return [replay for replay in replays if not is_provisional(self._prepared.store, number, replay)]


def _max_open_parts(options: RunOptions, part_rows: int) -> int:
    min_rows = MIN_OPEN_ROWS_PER_REQUEST * options.limits.max_concurrency
    return options.max_open_parts or max(MIN_OPEN_PARTS, math.ceil(min_rows / part_rows))


def _no_op() -> None:
    pass
