"""Open parts under their leases, then commit each part whole or suspend it with its journal."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace

from tts_pipeline.config import MIN_OPEN_PARTS, MIN_OPEN_ROWS_PER_REQUEST, OPEN_INPUT_BYTES
from tts_pipeline.dataset.active_part import ActivePart, PartRows, PriorState, Progress
from tts_pipeline.dataset.adoption import adopt_journals, remove_shipped_logs
from tts_pipeline.dataset.claims import claim_name, claim_names
from tts_pipeline.dataset.commit import PartCommitter, PartTables, finished_totals, marker_name, remove_journals
from tts_pipeline.dataset.descriptor import refuse_vanished
from tts_pipeline.dataset.existing_speech import published_histories, read_existing_speech
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.part_journals import replay_part
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import is_provisional
from tts_pipeline.errors import StorageError
from tts_pipeline.job.allowance import Allowance
from tts_pipeline.job.job import RunOptions
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.spooled_rows import SpooledRows
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.file_lock import HeldElsewhereError
from tts_pipeline.text import billed_characters
from tts_pipeline.wal.journal import JournalWriter
from tts_pipeline.wal.replay import Replay
from tts_pipeline.wal.shipping import LogShipper

SUSPEND_THREADS = 16
"""Parts that are suspended at one time when a run stops: at an object store each part takes several round trips."""


class OpenParts:
    """The parts of a job that this process has open. All methods block."""

    def __init__(
        self,
        prepared: PreparedJob,
        invocation: Invocation,
        progress: Progress,
        allowance: Allowance,
        writer: JournalWriter,
    ) -> None:
        self._prepared = prepared
        self._invocation = invocation
        self._progress = progress
        self._allowance = allowance
        self._writer = writer
        self._reader = RowReader(prepared.source)
        self._leases = prepared.leases
        self._committer = PartCommitter(
            prepared.store, prepared.mapper.roles, prepared.job.options.tag_columns, self._leases.check
        )
        self._active: dict[int, ActivePart] = {}
        self._totals_lock = threading.Lock()
        self.shipper = LogShipper(
            prepared.store,
            prepared.ship_every_s,
            is_strict=prepared.job.options.ship_every_s is None,
            are_leases_lost=lambda: self._leases.are_lost,
        )
        self.on_published: Callable[[int], None] = lambda _: None
        """Called with the number of a part whose usage is published."""
        self.tables: dict[int, PartTables] = {}
        """Speech and rejects of the finished parts of a job that publishes none, by the part's number."""
        self.contended: list[int] = []
        """Numbers of the parts that another process holds, or held."""
        self.unpublished = Totals()
        """Totals of the suspended parts, which are in journals and not published yet."""

    def __len__(self) -> int:
        return len(self._active)

    def open(self, number: int) -> ActivePart | None:
        """Open a part with its journal; return None if another process holds it, or has committed it."""
        try:
            return self._open(number)
        except HeldElsewhereError:
            self.contended.append(number)
            return None

    def _open(self, number: int) -> ActivePart | None:
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
            self._committer.suspend_part(rows, self._replays_to_publish(number, prior_replays, adopted))
            self._committer.account_for_lost_journals(number, prior_replays)
            invocation = replace(self._invocation, dataset_fingerprint=prepared.descriptor.fingerprint_of(number))
            part = ActivePart(rows, prior_replays, invocation, self._progress, self._prior_state(rows, prior_replays))
            self._progress.done_before += len(rows.keys) - part.remaining
            if part.remaining:
                billing = prepared.card.billing
                characters = sum(billed_characters(utterance.text, billing) for utterance in part.todo)
                journal = part.begin(
                    prepared.journals_dir, self._writer, prepared.store, characters, self._allowance.pool
                )
                self._remove_claim_if_vanished(part)
                self.shipper.add(part.journal_id, journal)
                part.wait_until_shipped = self.shipper.wait_until_shipped if self.shipper.is_strict else None
            part.hold(resources.pop_all(), self._leases.check)
        self._active[number] = part
        return part

    def _replays_to_publish(self, number: int, replays: Sequence[Replay], adopted: Collection[str]) -> list[Replay]:
        """Return adopted journals and, under a cap, those with a claim, which may hold more than was spent.

        Others that work under the cap would wait for the claim of a dead process until this part is done.
        """
        store, has_cap = self._prepared.store, self._allowance.pool is not None
        claims = set(claim_names(store, number)) if has_cap and replays else set[str]()
        return [
            replay
            for replay in replays
            if replay.journal_id in adopted or claim_name(number, replay.journal_id) in claims
        ]

    def _remove_claim_if_vanished(self, part: ActivePart) -> None:
        """Refuse a destination that vanished while the part was read; its claim would stay where nobody looks."""
        store = self._prepared.store
        try:
            refuse_vanished(store)
        except StorageError:
            store.remove(claim_name(part.rows.number, part.journal_id))
            raise

    def _make_held_rows(self) -> SpooledRows:
        prepared = self._prepared
        memory_bytes = OPEN_INPUT_BYTES // max_open_parts(prepared.job.options, prepared.descriptor.part_rows)
        return SpooledRows(self._reader.schema, memory_bytes, prepared.work_dir / "rows")

    def _prior_state(self, rows: PartRows, prior_replays: Sequence[Replay]) -> PriorState:
        store, retry_rejects = self._prepared.store, self._prepared.job.options.retry_rejects
        existing = read_existing_speech(store, rows)
        histories = published_histories(store, rows, {replay.journal_id for replay in prior_replays})
        return PriorState(existing.row_indices.keys(), existing.totals, histories, retry_rejects)

    def _replays(self, number: int, *, own_journal_id: str | None = None) -> list[Replay]:
        fingerprint = self._prepared.descriptor.fingerprint_of(number)
        return replay_part(
            self._prepared.store, self._prepared.journals_dir, number, fingerprint, own_journal_id=own_journal_id
        )

    def commit(self, part: ActivePart) -> None:
        """Commit a finished part: its tables, then its marker; then remove its journals and close it.

        A part that is not published stays in its journals, and its usage, too, if it is the only part without tags of
        rows: the others may run for hours, and the tags of rows are nowhere else.
        """
        number, journals = part.rows.number, self._prepared.journals_dir
        part.close_claim()
        replays = self._replays(number, own_journal_id=part.journal_id)
        refuse_vanished(self._prepared.store)
        if not self._prepared.is_published:
            if self._prepared.descriptor.parts > 1 or self._prepared.job.options.tag_columns:
                self._committer.suspend_part(part.rows, replays)
            self.tables[number] = self._committer.collect_part(part.rows, replays)
            del self._active[number]
            part.close()
            return
        self._committer.commit_part(part.rows, replays)
        refuse_vanished(self._prepared.store)  # else the files just written may be in a folder that nobody finds
        self.shipper.drop(part.journal_id)
        remove_journals(journals, number, [replay.journal_id for replay in replays])
        remove_shipped_logs(self._prepared.store, number, [replay.journal_id for replay in replays])
        del self._active[number]
        part.close()
        self.on_published(number)

    def suspend_all(self) -> StorageError | None:
        """Suspend all open parts in parallel, because a stop must be short; return the last failure, if any."""
        parts = [self._active.pop(number) for number in tuple(self._active)]
        with DaemonExecutor(SUSPEND_THREADS, "leaving") as threads:
            errors = [error for error in threads.map(self._suspend, parts) if error is not None]
        return errors[-1] if errors else None

    def _suspend(self, part: ActivePart) -> StorageError | None:
        """Publish the usage of a part that stays open, and close it; its journal stays."""
        try:
            part.sync()
            part.close_claim()
            if self._leases.are_lost:  # the part's new holder relies on the chunks that were sent before
                self.shipper.drop(part.journal_id)
            self.shipper.send_rest(part.journal_id)
            replays = self._replays(part.rows.number, own_journal_id=part.journal_id)
            refuse_vanished(self._prepared.store)
            self._committer.suspend_part(part.rows, self._without_guesses(part.rows.number, replays))
            self.on_published(part.rows.number)
            with self._totals_lock:
                self.unpublished.add(finished_totals(replays, part.prior.existing))
                self.unpublished.add(part.prior.totals)
        except StorageError as error:  # the journals stay: the next run publishes them
            return error
        finally:
            part.close()
        return None

    def _without_guesses(self, number: int, replays: Sequence[Replay]) -> Sequence[Replay]:
        """Leave out journals with provisional usage once the leases are lost: another marker may name their files.

        The next run on this machine replaces this usage under its lease, see ``collect_orphans``.
        """
        if not self._leases.are_lost:
            return replays
        return [replay for replay in replays if not is_provisional(self._prepared.store, number, replay)]

    def close_source(self) -> None:
        """Close the source; no part can be opened after this call."""
        self._reader.close()

    def forfeit(self) -> None:
        """Give the leases up, so that nothing more is sent or committed."""
        self.shipper.close()
        if self._active:
            self._leases.forfeit()

    def close(self) -> None:
        """Close all parts as they are; the next run continues from their journals."""
        while self._active:
            self._active.popitem()[1].close()


def max_open_parts(options: RunOptions, part_rows: int) -> int:
    """Return the most parts that are open at one time; they hold enough rows for the requests in flight."""
    min_rows = MIN_OPEN_ROWS_PER_REQUEST * options.limits.max_concurrency
    return options.max_open_parts or max(MIN_OPEN_PARTS, math.ceil(min_rows / part_rows))
