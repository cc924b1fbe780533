"""Execute a prepared job: run its remaining parts, and finalize the dataset when no part is left."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace

import pyarrow as pa

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog.key_id import key_id
from tts_pipeline.config import Limits
from tts_pipeline.dataset.active_part import Progress
from tts_pipeline.dataset.commit import PartTables
from tts_pipeline.dataset.finalize import (
    committed_parts,
    dataset_totals,
    finalize,
    is_finalized,
    reopen_rejected_parts,
)
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.recovery import collect_orphans
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import FatalError, StoppedError, StorageError, TtsPipelineError
from tts_pipeline.job.account import covers_shards, open_account, settle_finished, unshared_note
from tts_pipeline.job.allowance import make_allowance
from tts_pipeline.job.contention import wait_for_others
from tts_pipeline.job.folders import make_leases, work_dir_of
from tts_pipeline.job.gc_tuning import gc_tuned
from tts_pipeline.job.job import Job, Shard
from tts_pipeline.job.ledger import LedgerRun, copy_to_ledger, keep_in_ledger
from tts_pipeline.job.prepare import prepare
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.rebuild import complete_swap
from tts_pipeline.job.report import Report, Saving, stopped_by
from tts_pipeline.job.stop import CancelToken
from tts_pipeline.source.duplicates import DUPLICATES_FILE
from tts_pipeline.storage.local_store import remove_folder
from tts_pipeline.storage.open_store import open_store

StartService = Callable[[Endpoint], AbstractContextManager[Endpoint]]
"""Starts a service for the duration of a run, and yields its endpoint; not called if no part is left to run."""


@dataclass(frozen=True, slots=True)
class RunControl:
    """The progress of a run, the token that stops it, the way to start its service, and the door that it came by.

    ``lone_limits`` are those of a shard that shares no limits with the other shards; None are the job's.
    """

    progress: Progress = field(default_factory=Progress)
    stop: CancelToken = field(default_factory=CancelToken)
    start_service: StartService = nullcontext
    door: str = "run"
    lone_limits: Limits | None = None


def recover_and_prepare(job: Job, *, may_grow: bool = True, sends: bool = True) -> PreparedJob:
    """Complete a swap that an earlier run began, then check the whole job; see ``prepare``."""
    work_dir = work_dir_of(job)
    home = open_store(job.destination, work_dir / "staging")
    with make_leases(job, home, work_dir) as leases:
        complete_swap(home, work_dir, leases)
    with gc_tuned():
        return prepare(job, may_grow=may_grow, sends=sends)


def run_all_parts(prepared: PreparedJob, control: RunControl) -> Report:
    """Run all parts; finalize the dataset if the run reached its end."""

    def finish(report: Report) -> Report:
        is_in_place = prepared.rebuild is None and is_finalized(prepared.store, prepared.descriptor)
        if report.stopped is None and not is_in_place:
            try:
                _finalize(prepared)
            except StorageError as error:
                return replace(report, stopped=error)
        return report

    return run_shard(prepared, Shard(0, 0, prepared.descriptor.parts), control, finish)


def finalize_job(prepared: PreparedJob) -> None:
    """Finalize a dataset whose parts are all done; if it is a rebuild, swap it in. Its usage goes to the ledger.

    Raises:
        StorageError: Parts are not done, files of theirs are missing, or the destination failed.
    """
    _finalize(prepared)
    copy_to_ledger(prepared)


def _finalize(prepared: PreparedJob) -> None:
    # only committed parts: another process may still work on the others
    _collect_orphans(prepared, committed_parts(prepared.store, prepared.descriptor))
    finalize(prepared.store, prepared.descriptor)
    if prepared.rebuild is not None:
        prepared.rebuild.swap(prepared.leases)
    with suppress(StorageError):  # the audio of repeated requests is no longer needed, and does no harm
        remove_folder(prepared.job_cache_dir)
        prepared.store.remove(DUPLICATES_FILE)


def _collect_orphans(prepared: PreparedJob, finished_parts: Collection[int]) -> None:
    descriptor = prepared.descriptor
    # the dataset may have grown since this run was planned
    own_parts = {number for number in finished_parts if number < descriptor.parts}
    collect_orphans(prepared.store, prepared.journals_dir, prepared.leases, own_parts, descriptor.fingerprint_of)


def run_shard(
    prepared: PreparedJob, shard: Shard, control: RunControl, finish: Callable[[Report], Report] = lambda report: report
) -> Report:
    """Run a shard's remaining parts; ``finish`` is called before the ledger hears of the run's end.

    Raises:
        ConfigurationError: A setting is wrong; nothing was sent.
        StorageError: The destination cannot be used at all; nothing was sent.
    """
    started = time.monotonic()
    job, progress, numbers = prepared.job, control.progress, shard.numbers()
    invocation = _invocation(prepared, control.door)
    progress.totals.rows = sum(len(prepared.descriptor.row_range(number)) for number in numbers)
    _collect_orphans(prepared, committed_parts(prepared.store, prepared.descriptor))
    finished_parts = committed_parts(prepared.store, prepared.descriptor)
    if job.options.retry_rejects:
        finished_parts -= reopen_rejected_parts(prepared.store, prepared.leases, finished_parts & set(numbers))
    progress.done_before = sum(
        len(prepared.descriptor.row_range(number)) for number in numbers if number in finished_parts
    )
    remaining_parts = [number for number in numbers if number not in finished_parts]
    with keep_in_ledger(prepared, invocation, job.destination) as ledger_run:
        shard_run = _ShardRun(prepared, invocation, control, ledger_run)
        if remaining_parts:
            shard_run.run(remaining_parts, shard)
        else:
            settle_finished(prepared)
        report = finish(_report(prepared, shard_run, started))
        ledger_run.end(report.this_run, report.saved, report.stopped_by)
    return report


def _report(prepared: PreparedJob, shard_run: _ShardRun, started: float) -> Report:
    dataset = dataset_totals(prepared.store, prepared.descriptor)
    dataset.add(shard_run.unpublished)
    return Report(
        dataset=dataset,
        this_run=shard_run.control.progress.totals,
        elapsed_s=time.monotonic() - started,
        invocation_id=shard_run.invocation.invocation_id,
        destination=prepared.home.root,
        stopped=shard_run.stopped,
        reused_from={label: saving.rows for label, saving in shard_run.saved.items()},
        saved=shard_run.saved,
        left_out=prepared.source.left_out,
        notes=shard_run.notes,
    )


def run_unpublished(prepared: PreparedJob, control: RunControl, ledger_name: str) -> PartTables:
    """Run a job that nobody else runs; return the tables of all its parts, in source order.

    The ledger knows its dataset by ``ledger_name``.

    Raises:
        BaseException: The reason of a stop; the journals keep everything.
    """
    from tts_pipeline.job.runner import Runner  # see ``_ShardRun.run``

    control.progress.totals.rows = prepared.descriptor.rows
    allowance, invocation = make_allowance(prepared, control.progress), _invocation(prepared, control.door)
    with (
        keep_in_ledger(prepared, invocation, ledger_name) as ledger_run,
        open_account(prepared, allowance.budget, door=control.door) as membership,
    ):
        allowance = allowance._replace(membership=membership)
        runner = Runner(prepared, invocation, control.progress, allowance, control.stop)
        reason = runner.run(range(prepared.descriptor.parts))
        stop = _reportable_stop(reason)
        ledger_run.end(control.progress.totals, runner.saved, None if stop is None else stopped_by(stop))
    if reason is not None:
        raise reason
    tables = [tables for _, tables in sorted(runner.parts.tables.items())]
    return PartTables(*map(pa.concat_tables, zip(*tables, strict=True)))


@dataclass(slots=True)
class _ShardRun:
    """The run of a shard's parts; parts that other processes hold are run once they are free."""

    prepared: PreparedJob
    invocation: Invocation
    control: RunControl
    ledger_run: LedgerRun
    unpublished: Totals = field(default_factory=Totals)
    saved: defaultdict[str, Saving] = field(default_factory=lambda: defaultdict(Saving))
    stopped: TtsPipelineError | None = None
    notes: Sequence[str] = ()

    def run(self, part_numbers: Sequence[int], shard: Shard) -> None:
        """Run parts to their end, or until the run is stopped."""
        from tts_pipeline.job.runner import Runner  # with the HTTP stack: a dataset that is done does without

        job = self.prepared.job
        allowance = make_allowance(self.prepared, self.control.progress)
        with ExitStack() as stack:
            service = stack.enter_context(self.control.start_service(job.service))
            stack.enter_context(self.prepared.leases.hold_shared())
            prepared = replace(self.prepared, job=replace(job, service=service))
            account = open_account(prepared, allowance.budget, door=self.control.door, shard=shard)
            membership = stack.enter_context(account)
            allowance = allowance._replace(membership=membership)
            note = unshared_note(job, shard.shards, has_store=membership is not None)
            self.notes = [note] if note else []
            if self.control.lone_limits is not None and not (membership and covers_shards(job)):
                options = replace(job.options, limits=self.control.lone_limits)
                prepared = replace(prepared, job=replace(prepared.job, options=options))
            while part_numbers:
                runner = Runner(prepared, self.invocation, self.control.progress, allowance, self.control.stop)
                runner.parts.on_published = self.ledger_run.published
                self.stopped = _reportable_stop(runner.run(part_numbers))
                self.unpublished.add(runner.parts.unpublished)
                for label, saving in runner.saved.items():
                    self.saved[label].add(saving)
                part_numbers = [] if self.stopped else runner.parts.contended
                if part_numbers:
                    names = [part_name(number) for number in part_numbers]
                    self.stopped = wait_for_others(self.prepared.leases, names, self.control.stop)
                    part_numbers = [] if self.stopped else part_numbers


def _invocation(prepared: PreparedJob, door: str) -> Invocation:
    job = prepared.job
    return Invocation(
        invocation_id=prepared.leases.invocation_id,
        service=job.service.name,
        model=job.model,
        account=job.service.account,
        prices={price.price_id: price for price in prepared.card.prices},
        tags=job.options.tags,
        dataset_fingerprint=prepared.descriptor.fingerprint,
        door=door,
        key_id=key_id(job.service.api_key or ""),
        list_prices=prepared.card.list_prices,
    )


def _reportable_stop(reason: BaseException | None) -> TtsPipelineError | None:
    """Return a stop that a report can hold; raise anything else: a bug, or a wrong setting."""
    if reason is None or isinstance(reason, StoppedError | FatalError | StorageError):
        return reason
    raise reason
