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

from tts_pipeline.batch import Batch, RejectGuard, Work, workers_for
from tts_pipeline.client.budget import Budget
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import BALLAST_BYTES, OPEN_INPUT_BYTES, OPEN_PARTS, OPEN_ROWS_PER_REQUEST
from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.ballast import DiskReserve
from tts_pipeline.dataset.claims import HeldElsewhereError
from tts_pipeline.dataset.descriptor import refuse_vanished
from tts_pipeline.dataset.held_rows import SpooledRows
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.journal import JournalWriter
from tts_pipeline.dataset.journals import replay_part
from tts_pipeline.dataset.kept import JobCache
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.parts import OpenPart, PartRows, Past, Progress
from tts_pipeline.dataset.publish import Publisher, marker_name, remove_journals, said_totals
from tts_pipeline.dataset.repeated import RequestHasher
from tts_pipeline.dataset.replay import Replay
from tts_pipeline.dataset.row_reader import RowReader
from tts_pipeline.dataset.shipping import LogShipper
from tts_pipeline.dataset.standing import published_histories, read_existing_speech
from tts_pipeline.dataset.takeover import adopt_journals, remove_shipped_logs
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import is_guess
from tts_pipeline.errors import StoppedError, StorageError
from tts_pipeline.job.budget import Allowance
from tts_pipeline.job.collector import collecting_seldom
from tts_pipeline.job.job import Running
from tts_pipeline.job.library import CLOSE_S, STOPPED_CLOSE_S, library_of
from tts_pipeline.job.open_parts import OpenParts
from tts_pipeline.job.prepared import Prepared, find_repeated
from tts_pipeline.job.repeats import Repeats
from tts_pipeline.job.stop import Stop, run_stoppable
from tts_pipeline.text import billed_characters

LET_GO_S = 0.5
"""How long who interrupted a run at once waits for its parts to be free for the next one."""

LEAVING = 16
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
        prepared: Prepared,
        invocation: Invocation,
        progress: Progress,
        allowance: Allowance | None = None,
        stop: Stop | None = None,
    ) -> None:
        self._prepared = prepared
        self._invocation = invocation
        self._progress = progress
        self._allowance = allowance or Allowance(Budget())
        self._stop = stop or Stop()
        self._repeated = find_repeated(prepared)
        self._kept = JobCache(prepared.kept)
        self._library = library_of(prepared, self._kept if len(self._repeated) else None)
        self._reader = RowReader(prepared.source)
        self._leases = prepared.leases
        self._publisher = Publisher(
            prepared.store, prepared.voicing.roles, prepared.job.running.tag_columns, self._leases.check
        )
        # Reading and publishing each in one thread of their own: in order, and never on the event loop.
        self._reading = DaemonExecutor(1, "source-reader")
        self._publishing = DaemonExecutor(1, "publisher")
        self._ballast = DiskReserve(prepared.journals, BALLAST_BYTES * prepared.job.running.limits.max_concurrency)
        self._writer = JournalWriter(self._deliver, self._ballast, self._soon)
        self._shipper = LogShipper(
            prepared.store,
            prepared.ship_every_s,
            is_strict=prepared.job.running.ship_every_s is None,
            are_leases_lost=lambda: self._leases.are_lost,
        )
        self._open: dict[int, OpenPart] = {}
        self._publications: set[asyncio.Task[None]] = set()
        self._counting = threading.Lock()
        self.aside: list[int] = []
        """Parts that could not be had: other processes work on them, or did."""
        self.kept = Totals()
        """What is done in parts that stayed open: in their journals, not published yet."""
        self.reused_from: Counter[str] = Counter()
        """Rows that took their audio from elsewhere, by where that is; empty is from another row of the job."""

    def run(self, parts: Sequence[int]) -> BaseException | None:
        """Run parts to their end, or until something stops it, which is returned.

        Args:
            parts: Numbers of parts without a marker, ascending.
        """
        try:
            self._ballast.allocate()
        except StorageError as error:
            self._let_go()
            return error
        try:
            with self._reading, self._publishing, collecting_seldom():
                return run_stoppable(self._run(parts), self._stop)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Free what is open when a second Ctrl-C, or a mistake of ours, ended the run at once: the journals suffice.

        What is being read, written or published may hang: the parts are let go behind it, and nobody waits for that.
        """
        self._shipper.close()
        if self._library is not None:
            self._library.let_go()
        if self._open:
            self._leases.forfeit()
        self._reading.shutdown(cancel_futures=True)
        closing = DaemonExecutor(1, "closing")
        closed, _ = wait([closing.submit(self._close_parts)], timeout=LET_GO_S)
        closing.shutdown(wait=bool(closed))

    def _close_parts(self) -> None:
        self._reading.shutdown(wait=True)
        self._publishing.shutdown(wait=True)
        self._writer.close()
        while self._open:
            self._open.popitem()[1].close()

    def _soon(self, hand_over: Callable[[], None]) -> None:
        self._loop.call_soon(hand_over)

    def _deliver(self, notify: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(notify)

    async def _run(self, parts: Sequence[int]) -> BaseException | None:
        job, limits = self._prepared.job, self._prepared.job.running.limits
        self._loop = asyncio.get_running_loop()
        self._free = OpenParts(_most_open_parts(job.running, self._prepared.descriptor.part_rows))
        async with SpeechClient(
            job.service,
            self._prepared.card,
            limits,
            audio=job.audio,
            quality=job.running.quality,
            budget=self._allowance.budget,
            library=self._library,
            unspeakable=job.running.unspeakable,
        ) as client:
            self._repeats = Repeats(client, self._repeated, RequestHasher(self._prepared.voicing), self._kept)
            self._repeats.on_reuse = self._count_reuse
            self._batch = Batch(
                self._repeats,
                workers=workers_for(limits.max_concurrency),
                stop_grace_s=limits.stop_grace_s,
                guard=RejectGuard(self._max_rejects()),
            )
            with self._stop.heard_by(self._stop_batch):
                feeding = asyncio.create_task(self._feed(parts))
                await self._batch.run()
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
                self._repeats.close()
                await self._loop.run_in_executor(self._reading, _nothing)  # a part that is being opened is then open
                await asyncio.gather(*self._publications)
        await asyncio.to_thread(self._writer.close)
        failed = await self._loop.run_in_executor(self._publishing, self._leave)
        if self._library is not None:
            await self._library.close(STOPPED_CLOSE_S if self._batch.reason else CLOSE_S)
        return self._batch.reason or failed

    def _stop_batch(self, reason: StoppedError) -> None:
        self._deliver(partial(self._batch.stop, reason))
        self._shipper.wake()  # while answers are waited for: less is left to do then

    def _count_reuse(self, origin: str) -> None:
        places = (place.label for place in self._prepared.reusable)
        self.reused_from[next((place for place in places if origin.startswith(f"{place}#")), "")] += 1

    def _max_rejects(self) -> int | None:
        given = self._prepared.job.running.max_rejects
        if given is None:
            return None
        return int(given * self._progress.totals.rows) if given < 1 else int(given)

    async def _feed(self, parts: Sequence[int]) -> None:
        """Open parts in order and queue their utterances; back-pressure is the queue and the number of open parts."""
        try:
            for number in parts:
                await self._free.enter()
                part = await self._loop.run_in_executor(self._reading, self._try_part, number)
                if number == parts[-1]:
                    self._reader.close()
                if part is None:  # another process has it, or published it meanwhile
                    self._free.leave()
                    continue
                self._free.hold(part.rows.text_bytes)
                if part.left == 0:
                    self._complete(part)
                else:
                    part.on_complete = self._complete
                    for utterance in part.todo:
                        await self._repeats.admit(Work(utterance, part), self._batch.queue)
            await self._repeats.over()
            await self._batch.queue.put(None)
        except Exception as error:
            self._batch.stop(error)

    def _replays(self, number: int, *, ours: str | None = None) -> list[Replay]:
        fingerprint = self._prepared.descriptor.fingerprint_of(number)
        return replay_part(self._prepared.store, self._prepared.journals, number, fingerprint, own_journal_id=ours)

    def _try_part(self, number: int) -> OpenPart | None:
        try:
            return self._open_part(number)
        except HeldElsewhereError:
            self.aside.append(number)
            return None

    def _hold_rows(self) -> SpooledRows:
        prepared = self._prepared
        memory_bytes = OPEN_INPUT_BYTES // _most_open_parts(prepared.job.running, prepared.descriptor.part_rows)
        return SpooledRows(self._reader.schema, memory_bytes, prepared.work_dir / "rows")

    def _open_part(self, number: int) -> OpenPart | None:
        prepared = self._prepared
        refuse_vanished(prepared.store)
        with ExitStack() as held:
            held.enter_context(self._leases.hold(part_name(number)))
            if prepared.store.read(marker_name(number)) is not None:
                return None
            inputs = self._hold_rows()
            held.callback(inputs.close)
            rows = prepared.read_part(self._reader, number, inputs)
            taken = adopt_journals(prepared.store, prepared.journals, number)
            earlier = self._replays(number)
            self._publisher.leave(rows, [one for one in earlier if one.journal_id in taken])
            self._publisher.account_for_lost(number, earlier)
            invocation = replace(self._invocation, dataset_fingerprint=prepared.descriptor.fingerprint_of(number))
            part = OpenPart(rows, earlier, invocation, self._progress, self._past(rows, earlier))
            self._progress.done_before += len(rows.keys) - part.left
            if part.left:
                billing = prepared.card.billing
                characters = sum(billed_characters(utterance.text, billing) for utterance in part.todo)
                journal = part.begin(prepared.journals, self._writer, prepared.store, characters, self._allowance.pot)
                self._shipper.add(part.journal_id, journal)
                part.arrival = self._shipper.wait_until_shipped if self._shipper.is_strict else None
            part.hold(held.pop_all(), self._leases.check)
        self._open[number] = part
        return part

    def _past(self, rows: PartRows, earlier: Sequence[Replay]) -> Past:
        store, retry_rejects = self._prepared.store, self._prepared.job.running.retry_rejects
        standing = read_existing_speech(store, rows)
        histories = published_histories(store, rows, {one.journal_id for one in earlier})
        return Past(standing.row_indices.keys(), standing.totals, histories, retry_rejects)

    def _complete(self, part: OpenPart) -> None:
        task = asyncio.create_task(self._publish(part))
        self._publications.add(task)
        task.add_done_callback(self._publications.discard)

    async def _publish(self, part: OpenPart) -> None:
        try:
            # At once: no later intent syncs this journal, and a part may wait long for its turn.
            await asyncio.to_thread(part.sync)
            await self._loop.run_in_executor(self._publishing, self._publish_part, part)
        except Exception as error:
            self._batch.stop(error)
        else:
            self._free.leave(part.rows.text_bytes)

    def _publish_part(self, part: OpenPart) -> None:
        number, journals = part.rows.number, self._prepared.journals
        replays = self._replays(number, ours=part.journal_id)
        refuse_vanished(self._prepared.store)
        self._publisher.publish(part.rows, replays)
        refuse_vanished(self._prepared.store)  # what has just been written may be where nobody will ever find it
        self._shipper.drop(part.journal_id)
        remove_journals(journals, number, [one.journal_id for one in replays])
        remove_shipped_logs(self._prepared.store, number, [one.journal_id for one in replays])
        del self._open[number]
        part.close()

    def _leave(self) -> StorageError | None:
        """Let the parts that stay open go, all at one time: whoever stopped the run may not wait for long."""
        parts = [self._open.pop(number) for number in tuple(self._open)]
        with DaemonExecutor(LEAVING, "leaving") as threads:
            failed = [error for error in threads.map(self._leave_part, parts) if error is not None]
        return failed[-1] if failed else None

    def _leave_part(self, part: OpenPart) -> StorageError | None:
        """Publish the usage of a part that stays open, and let it go with its journal."""
        try:
            part.sync()
            if self._leases.are_lost:  # whoever has the part now goes by what was sent before
                self._shipper.drop(part.journal_id)
            self._shipper.send_rest(part.journal_id)
            replays = self._replays(part.rows.number, ours=part.journal_id)
            refuse_vanished(self._prepared.store)
            self._publisher.leave(part.rows, self._without_guesses(part.rows.number, replays))
            with self._counting:
                self.kept.add(said_totals(replays, part.past.standing))
                self.kept.add(part.past.totals)
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
        return [one for one in replays if not is_guess(self._prepared.store, number, one)]


def _most_open_parts(running: Running, part_rows: int) -> int:
    wanted_rows = OPEN_ROWS_PER_REQUEST * running.limits.max_concurrency
    return running.max_open_parts or max(OPEN_PARTS, math.ceil(wanted_rows / part_rows))


def _nothing() -> None:
    pass
