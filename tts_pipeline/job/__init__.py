"""The doors to a job: ``run`` does it all; ``plan``, ``run_parts`` and ``publish`` are what any engine maps over."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import TypeVar

from tts_pipeline.config import InputColumns
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
from tts_pipeline.job.budget import budget_of
from tts_pipeline.job.job import Job, Running, Shard, shards_of
from tts_pipeline.job.prepared import Prepared, establish, locks_of, prepare, work_dir_of
from tts_pipeline.job.rebuild import WHOLE, complete_swap
from tts_pipeline.job.report import Report
from tts_pipeline.job.runner import Runner
from tts_pipeline.models import ParameterValue, Service

__all__ = [
    "Job",
    "Progress",
    "Reach",
    "Report",
    "Running",
    "Shard",
    "plan",
    "publish",
    "run",
    "run_job",
    "run_parts",
    "validate",
]

T = TypeVar("T")

Reach = Callable[[Service], AbstractContextManager[Service]]
"""Gives a service that can be spoken to, for as long as there is something to do; never called when there is not."""


def run(  # noqa: PLR0913 (the public door: what every job has, by name)
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    service: Service,
    *,
    model: str,
    columns: Mapping[str, str] | None = None,
    running: Running | None = None,
    **parameters: ParameterValue,
) -> Report:
    """Make a speech dataset of a source, or go on with one.

    Args:
        source: A Parquet file, a folder of them, a glob or an fsspec URL of these; columns ``id`` and ``text``.
        destination: A folder or an fsspec URL; becomes the dataset.
        service: With its key.
        model: As sent.
        columns: Voice parameter -> source column that carries it row by row.
        running: How it is run; None is the defaults.
        **parameters: Voice parameters that are the same for all rows (``voice="Cherry"``).

    Returns:
        Counts of the dataset and of this run. A run that stopped before its end says so in ``stopped``; everything
        done so far is kept, and the same call goes on.

    Raises:
        ConfigurationError: Something is wrong with the input or the settings; nothing was sent or written.
        StorageError: The destination cannot be used at all; nothing was sent.
    """
    job = Job(
        source=source,
        destination=destination,
        service=service,
        model=model,
        parameters=parameters,
        columns=InputColumns(parameters=columns or {}),
        running=running or Running(),
    )
    return run_job(job)


def run_job(job: Job, progress: Progress | None = None, *, reach: Reach = nullcontext) -> Report:
    """Make a job's dataset, or go on with it; see ``run``.

    Args:
        job: The job.
        progress: Filled while it runs, for a display; None is nobody watches.
        reach: Starts a service that runs only for the job, the local one; as it is, the service is there already.
    """
    return _off_the_loop(lambda: _run_job(job, progress or Progress(), reach))


def plan(job: Job, max_shards: int = 1) -> list[Shard]:
    """Check a job whole, make its dataset's descriptor, and divide its parts.

    Args:
        job: The job.
        max_shards: At most this many shards.

    Returns:
        At least one shard, and the same ones whatever is already done.

    Raises:
        ConfigurationError: Something is wrong; nothing was written.
    """
    prepared = _off_the_loop(lambda: establish(_prepared(job)))
    return shards_of(prepared.descriptor.parts, max_shards)


def run_parts(job: Job, shard: Shard, progress: Progress | None = None) -> Report:
    """Run the parts of one shard; several may run at a time, in any processes. See ``run`` for what it returns."""

    def work() -> Report:
        return _run_parts(establish(_prepared(job, may_grow=False)), shard.numbers(), progress or Progress())

    return _off_the_loop(work)


def publish(job: Job) -> Report:
    """Seal a dataset whose parts are all done: ``parts.json`` and the dataset card.

    Raises:
        StorageError: Parts are not done yet, or a marker's files are not there.
    """
    started = time.monotonic()
    prepared = _off_the_loop(lambda: _prepared(job, may_grow=False))
    _seal(prepared)
    return Report(
        dataset=dataset_totals(prepared.home, prepared.descriptor),
        this_run=Totals(),
        elapsed_s=time.monotonic() - started,
        invocation_id=uuid.uuid4().hex,
        destination=prepared.home.root,
    )


def validate(job: Job) -> Prepared:
    """Check a job whole without sending or writing anything.

    Raises:
        ConfigurationError: Something is wrong; names it and the way out.
    """
    return _off_the_loop(lambda: prepare(job))


def _prepared(job: Job, *, may_grow: bool = True) -> Prepared:
    """Check a job, after what an earlier run had begun to put in place is there."""
    work_dir = work_dir_of(job)
    home = open_store(job.destination, work_dir / "staging")
    complete_swap(home, work_dir, locks_of(home, work_dir))
    return prepare(job, may_grow=may_grow)


def _run_job(job: Job, progress: Progress, reach: Reach) -> Report:
    prepared = establish(_prepared(job))
    report = _run_parts(prepared, range(prepared.descriptor.parts), progress, reach)
    is_in_place = prepared.rebuild is None and is_finished(prepared.store, prepared.descriptor)
    if report.stopped is None and not is_in_place:
        try:
            _seal(prepared)
        except StorageError as error:
            return replace(report, stopped=error)
    return report


def _seal(prepared: Prepared) -> None:
    _sweep(prepared, range(prepared.descriptor.parts))
    finish(prepared.store, prepared.descriptor)
    if prepared.rebuild is not None:
        prepared.rebuild.swap(prepared.locks)
    with suppress(StorageError):  # what was kept for repeated requests is of no use any more, and does no harm
        remove_kept(prepared.kept)
        remove_repeated(prepared.work_dir)


def _sweep(prepared: Prepared, done: Iterable[int]) -> None:
    descriptor = prepared.descriptor
    fingerprints = {number: descriptor.fingerprint_of(number) for number in done if number < descriptor.parts}
    sweep(prepared.store, prepared.journals, prepared.locks, fingerprints)


def _run_parts(prepared: Prepared, numbers: Sequence[int], progress: Progress, reach: Reach = nullcontext) -> Report:
    started = time.monotonic()
    job, card = prepared.job, prepared.card
    invocation = Invocation(
        invocation_id=uuid.uuid4().hex,
        service=job.service.name,
        model=job.model,
        account=job.service.account,
        prices={price.price_id: price for price in card.prices},
        tags=job.running.tags,
        dataset_fingerprint=prepared.descriptor.fingerprint,
    )
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
        budget = budget_of(prepared, progress)
        with reach(job.service) as service, PartLock(prepared.locks / WHOLE, shared=True):
            runner = Runner(replace(prepared, job=replace(job, service=service)), invocation, progress, budget)
            stopped = _expected(runner.run(todo))
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
    )


def _expected(reason: BaseException | None) -> TtsPipelineError | None:
    """Return a stop that a report can tell of; anything else is a bug of ours or a wrong setting, and is raised."""
    if reason is None or isinstance(reason, StoppedError | FatalError | StorageError):
        return reason
    raise reason


def _off_the_loop(work: Callable[[], T]) -> T:
    """Run blocking work here, or in a thread of its own where an event loop is running, as in a notebook."""
    if not _on_a_loop():
        return work()
    with ThreadPoolExecutor(1, thread_name_prefix="tts-pipeline") as thread:
        return thread.submit(work).result()


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
