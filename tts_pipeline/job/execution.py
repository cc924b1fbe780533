"""A prepared job carried out: what is left of its parts is run, and the dataset sealed when nothing is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace

from tts_pipeline.dataset.finish import dataset_totals, done_parts, finish, is_finished
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.kept import remove_job_cache
from tts_pipeline.dataset.leftovers import collect_orphans
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.parts import Progress
from tts_pipeline.dataset.reopen import reopen
from tts_pipeline.dataset.repeated import delete_duplicate_hashes
from tts_pipeline.dataset.store import open_store
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import FatalError, StoppedError, StorageError, TtsPipelineError
from tts_pipeline.job.budget import allowance_of
from tts_pipeline.job.contention import wait_for_others
from tts_pipeline.job.division import told_of_share
from tts_pipeline.job.job import Job, Shard
from tts_pipeline.job.prepared import Prepared, leases_of, prepare, work_dir_of
from tts_pipeline.job.rebuild import complete_swap
from tts_pipeline.job.report import Report
from tts_pipeline.job.runner import Runner
from tts_pipeline.job.stop import Stop
from tts_pipeline.models import Service

Reach = Callable[[Service], AbstractContextManager[Service]]
"""Gives a service that can be spoken to, for as long as there is something to do; never called when there is not."""


@dataclass(frozen=True, slots=True)
class Attended:
    """Who watches a run, who may stop it, and how its service is reached."""

    progress: Progress = field(default_factory=Progress)
    stop: Stop = field(default_factory=Stop)
    reach: Reach = nullcontext


def prepared_in_place(job: Job, *, may_grow: bool = True, sends: bool = True) -> Prepared:
    """Check a job whole, after what an earlier run had begun to put in place is there; see ``prepare``."""
    work_dir = work_dir_of(job)
    home = open_store(job.destination, work_dir / "staging")
    with leases_of(job, home, work_dir) as leases:
        complete_swap(home, work_dir, leases)
    return prepare(job, may_grow=may_grow, sends=sends)


def run_whole(prepared: Prepared, attended: Attended) -> Report:
    """Run all parts, and seal the dataset when that went to its end."""
    report = run_shard(prepared, Shard(0, 0, prepared.descriptor.parts), attended)
    is_in_place = prepared.rebuild is None and is_finished(prepared.store, prepared.descriptor)
    if report.stopped is None and not is_in_place:
        try:
            seal(prepared)
        except StorageError as error:
            return replace(report, stopped=error)
    return report


def seal(prepared: Prepared) -> None:
    """Seal a dataset whose parts are all done, and put it in place where it was made beside another.

    Raises:
        StorageError: Parts are not done, files of theirs are gone, or the destination failed.
    """
    _sweep(prepared, done_parts(prepared.store, prepared.descriptor))  # another may be at work on those that are not
    finish(prepared.store, prepared.descriptor)
    if prepared.rebuild is not None:
        prepared.rebuild.swap(prepared.leases)
    with suppress(StorageError):  # what was kept for repeated requests is of no use any more, and does no harm
        remove_job_cache(prepared.kept)
        delete_duplicate_hashes(prepared.store)


def _sweep(prepared: Prepared, done: Collection[int]) -> None:
    descriptor = prepared.descriptor
    ours = {number for number in done if number < descriptor.parts}  # it may have grown since this was planned
    collect_orphans(prepared.store, prepared.journals, prepared.leases, ours, descriptor.fingerprint_of)


def run_shard(prepared: Prepared, shard: Shard, attended: Attended) -> Report:
    """Run what is left of a shard's parts.

    Raises:
        ConfigurationError: A setting is wrong; nothing was sent.
        StorageError: The destination cannot be used at all; nothing was sent.
    """
    started = time.monotonic()
    job, progress, numbers = prepared.job, attended.progress, shard.numbers()
    invocation = _invocation(prepared)
    progress.totals.rows = sum(len(prepared.descriptor.span(number)) for number in numbers)
    _sweep(prepared, done_parts(prepared.store, prepared.descriptor))
    done = done_parts(prepared.store, prepared.descriptor)
    if job.running.retry_rejects:
        done -= reopen(prepared.store, prepared.leases, done & set(numbers))
    progress.done_before = sum(len(prepared.descriptor.span(number)) for number in numbers if number in done)
    todo = [number for number in numbers if number not in done]
    work = _Work(prepared, invocation, attended)
    if todo:
        work.run(todo, shard)
    dataset = dataset_totals(prepared.store, prepared.descriptor)
    dataset.add(work.kept)
    return Report(
        dataset=dataset,
        this_run=progress.totals,
        elapsed_s=time.monotonic() - started,
        invocation_id=invocation.invocation_id,
        destination=prepared.home.root,
        stopped=work.stopped,
        reused_from=work.reused_from,
        left_out=prepared.source.left_out,
    )


@dataclass(slots=True)
class _Work:
    """Parts being run, some of them when others have let go of them."""

    prepared: Prepared
    invocation: Invocation
    attended: Attended
    kept: Totals = field(default_factory=Totals)
    reused_from: Counter[str] = field(default_factory=Counter)
    stopped: TtsPipelineError | None = None

    def run(self, todo: Sequence[int], shard: Shard) -> None:
        """Run parts to their end, or until something stops it."""
        job = self.prepared.job
        allowance = allowance_of(self.prepared, self.attended.progress, shard)
        with self.attended.reach(job.service) as service, self.prepared.leases.hold_shared():
            reached = replace(self.prepared, job=replace(job, service=service))
            while todo:
                runner = Runner(reached, self.invocation, self.attended.progress, allowance, self.attended.stop)
                self.stopped = _expected(runner.run(todo), shard)
                self.kept.add(runner.kept)
                self.reused_from.update(runner.reused_from)
                todo = [] if self.stopped else runner.aside
                if todo:
                    names = [part_name(number) for number in todo]
                    self.stopped = wait_for_others(self.prepared.leases, names, self.attended.stop)
                    todo = [] if self.stopped else todo


def _invocation(prepared: Prepared) -> Invocation:
    job = prepared.job
    return Invocation(
        invocation_id=prepared.leases.invocation_id,
        service=job.service.name,
        model=job.model,
        account=job.service.account,
        prices={price.price_id: price for price in prepared.card.prices},
        tags=job.running.tags,
        dataset_fingerprint=prepared.descriptor.fingerprint,
    )


def _expected(reason: BaseException | None, shard: Shard) -> TtsPipelineError | None:
    """Return a stop that a report can tell of; anything else is a bug of ours or a wrong setting, and is raised."""
    if isinstance(reason, StoppedError) and reason.stopped_by == "budget" and shard.shards > 1:
        return told_of_share(reason, shard)
    if reason is None or isinstance(reason, StoppedError | FatalError | StorageError):
        return reason
    raise reason
