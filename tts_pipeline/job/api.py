"""A job run whole, or planned, run part by part and sealed."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from tts_pipeline.card import Endpoint
from tts_pipeline.config import InputColumns
from tts_pipeline.dataset.active_part import Progress
from tts_pipeline.dataset.finalize import dataset_totals
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.job.execution import (
    RunControl,
    StartService,
    finalize_job,
    recover_and_prepare,
    run_all_parts,
    run_shard,
)
from tts_pipeline.job.job import Job, RunOptions, Shard, divide_into_shards
from tts_pipeline.job.prepare import create_or_extend_dataset, prepare
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.report import Report
from tts_pipeline.job.sharding import limits_of_shard
from tts_pipeline.job.stop import CancelToken
from tts_pipeline.models import ParameterValue

if TYPE_CHECKING:
    from tts_pipeline.source.frame_stream import RowStream


def run(  # noqa: PLR0913 (the public door: what every job has, by name)
    source: str | os.PathLike[str] | RowStream,
    destination: str | os.PathLike[str],
    service: Endpoint,
    *,
    model: str,
    columns: Mapping[str, str] | None = None,
    options: RunOptions | None = None,
    unchecked: Sequence[str] = (),
    hive: bool = InputColumns().hive,
    drop: Sequence[str] = (),
    **parameters: ParameterValue,
) -> Report:
    """Make a speech dataset of a source, or go on with one.

    Args:
        source: A Parquet file, a folder of them, a glob or an fsspec URL of these; columns ``id`` and ``text``. Or the
            rows themselves: a Polars frame, a lazy one too, or anything else with ``__arrow_c_stream__``. They are
            streamed to the local disk first, in flat memory; going on with the dataset takes the same rows in the same
            order again.
        destination: A folder or an fsspec URL; becomes the dataset.
        service: With its key.
        model: As sent.
        columns: Voice parameter -> source column that carries it row by row.
        options: How it is run; None is the defaults.
        unchecked: Parameters whose names and values are not held against the card's lists, nor against our own names.
        hive: Whether folders of the source such as ``speaker=Cherry`` are columns.
        drop: Columns of the source that are not read at all.
        **parameters: Voice parameters that are the same for all rows (``voice="Cherry"``).

    Returns:
        Counts of the dataset and of this run. A run that stopped before its end says so in ``stopped``; everything
        done so far is kept, and the same call goes on.

    Raises:
        ConfigurationError: Something is wrong with the input or the settings; nothing was sent or written.
        StorageError: The destination cannot be used at all; nothing was sent.
    """
    if not isinstance(source, str | os.PathLike):
        from tts_pipeline.source.frame_stream import temporary_parquet

        with temporary_parquet(source, options.work_dir if options else None, drop) as file:
            return run(
                file,
                destination,
                service,
                model=model,
                columns=columns,
                options=options,
                unchecked=unchecked,
                hive=hive,
                drop=drop,
                **parameters,
            )
    job = Job(
        source=source,
        destination=destination,
        service=service,
        model=model,
        parameters=parameters,
        columns=InputColumns(parameters=columns or {}, hive=hive, drop=tuple(drop)),
        unchecked=tuple(unchecked),
        options=options or RunOptions(),
    )
    return run_job(job)


def run_job(
    job: Job,
    progress: Progress | None = None,
    *,
    start_service: StartService = nullcontext,
    stop: CancelToken | None = None,
) -> Report:
    """Make a job's dataset, or go on with it; see ``run``.

    Args:
        job: The job.
        progress: Filled while it runs, for a display; None is nobody watches.
        start_service: Starts a service that runs only for the job, as the local one does; by default it runs already.
        stop: Stops it from outside; None is nobody does, but signals and whatever else interrupts this call.
    """
    prepared = recover_and_prepare(job)
    with prepared.leases:
        return run_all_parts(
            create_or_extend_dataset(prepared), RunControl(progress or Progress(), stop or CancelToken(), start_service)
        )


def plan(job: Job, max_shards: int = 1) -> list[Shard]:
    """Check a job whole, make its dataset's descriptor, and divide its parts.

    Args:
        job: The job.
        max_shards: At most this many shards.

    Returns:
        At least one shard, and the same ones whatever is already done.

    Raises:
        ConfigurationError: Something is wrong; nothing was written. A ``MissingSourceError`` says that there is no
            source, unless ``RunOptions.missing_is_empty``.
    """
    prepared = recover_and_prepare(job)
    with prepared.leases:
        prepared = create_or_extend_dataset(prepared)
    return divide_into_shards(prepared.descriptor.parts, max_shards)


def run_parts(
    job: Job,
    shard: Shard,
    progress: Progress | None = None,
    *,
    at_a_time: int | None = None,
    stop: CancelToken | None = None,
) -> Report:
    """Run the parts of one shard; several may run at a time, in any processes. See ``run`` for what it returns.

    The job's cap and rates are those of all its shards together. A shard has its share of the cap, by its rows,
    counted over all its invocations, and what finished shards left over; and of each rate its share among those that
    run at one time. ``max_concurrency`` is each worker's own.

    Args:
        job: The job.
        shard: As ``plan`` gave it.
        progress: Filled while it runs, for a display; None is nobody watches.
        at_a_time: How many shards of the job run at one time, at most; None is all of them.
        stop: Stops it from outside; None is nobody does, but signals and whatever else interrupts this call.
    """
    limits = limits_of_shard(job.options.limits, job.card(), shard, at_a_time)
    job = replace(job, options=replace(job.options, limits=limits))
    prepared = recover_and_prepare(job, may_grow=False)
    with prepared.leases:
        return run_shard(
            create_or_extend_dataset(prepared), shard, RunControl(progress or Progress(), stop or CancelToken())
        )


def publish(job: Job) -> Report:
    """Seal a dataset whose parts are all done: ``parts.json`` and the dataset card. Needs no key.

    Raises:
        StorageError: Parts are not done yet, or a marker's files are not there.
    """
    started = time.monotonic()
    prepared = recover_and_prepare(job, may_grow=False, sends=False)
    with prepared.leases:
        if not prepared.descriptor.parts:
            prepared = create_or_extend_dataset(prepared)  # nobody had anything to do, so perhaps nobody planned it
        finalize_job(prepared)
    return Report(
        dataset=dataset_totals(prepared.home, prepared.descriptor),
        this_run=Totals(),
        elapsed_s=time.monotonic() - started,
        invocation_id=uuid.uuid4().hex,
        destination=prepared.home.root,
        left_out=prepared.source.left_out,
    )


def validate(job: Job) -> PreparedJob:
    """Check a job whole without sending or writing anything.

    Raises:
        ConfigurationError: Something is wrong; names it and the way out.
    """
    return prepare(job)
