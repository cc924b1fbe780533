"""A prepared job carried out: what is left of its parts is run, and the dataset sealed when nothing is."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, replace

from tts_pipeline.dataset.claims import PartLock
from tts_pipeline.dataset.finish import dataset_totals, done_parts, finish, is_finished
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.kept import remove_kept
from tts_pipeline.dataset.leftovers import sweep
from tts_pipeline.dataset.parts import Progress
from tts_pipeline.dataset.reopen import reopen
from tts_pipeline.dataset.repeated import remove_repeated
from tts_pipeline.dataset.store import open_store
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import FatalError, StoppedError, StorageError, TtsPipelineError
from tts_pipeline.job.budget import allowance_of
from tts_pipeline.job.division import told_of_share
from tts_pipeline.job.job import Job, Shard
from tts_pipeline.job.prepared import Prepared, locks_of, prepare, work_dir_of
from tts_pipeline.job.rebuild import WHOLE, complete_swap
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
    complete_swap(home, work_dir, locks_of(home, work_dir))
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
        prepared.rebuild.swap(prepared.locks)
    with suppress(StorageError):  # what was kept for repeated requests is of no use any more, and does no harm
        remove_kept(prepared.kept)
        remove_repeated(prepared.store)


def _sweep(prepared: Prepared, done: Collection[int]) -> None:
    descriptor = prepared.descriptor
    ours = {number for number in done if number < descriptor.parts}  # it may have grown since this was planned
    sweep(prepared.store, prepared.journals, prepared.locks, ours, descriptor.fingerprint_of)


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
    done = done_parts(prepared.store, prepared.descriptor)
    _sweep(prepared, done)
    if job.running.retry_rejects:
        done -= reopen(prepared.store, prepared.locks, done & set(numbers))
    progress.done_before = sum(len(prepared.descriptor.span(number)) for number in numbers if number in done)
    todo = [number for number in numbers if number not in done]
    kept, stopped = Totals(), None
    reused_from: Mapping[str, int] = {}
    if todo:
        allowance = allowance_of(prepared, progress, shard)
        with attended.reach(job.service) as service, PartLock(prepared.locks / WHOLE, shared=True):
            reached = replace(prepared, job=replace(job, service=service))
            runner = Runner(reached, invocation, progress, allowance, attended.stop)
            stopped = _expected(runner.run(todo), shard)
            kept, reused_from = runner.kept, runner.reused_from
    dataset = dataset_totals(prepared.store, prepared.descriptor)
    dataset.add(kept)
    return Report(
        dataset=dataset,
        this_run=progress.totals,
        elapsed_s=time.monotonic() - started,
        invocation_id=invocation.invocation_id,
        destination=prepared.home.root,
        stopped=stopped,
        reused_from=reused_from,
        left_out=prepared.source.left_out,
    )


def _invocation(prepared: Prepared) -> Invocation:
    job = prepared.job
    return Invocation(
        invocation_id=uuid.uuid4().hex,
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
