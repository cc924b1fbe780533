"""Run a whole job, or plan it, run its shards and publish its dataset."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog import AnyCatalog
from tts_pipeline.config import AudioSettings, InputColumns, Selection
from tts_pipeline.dataset.active_part import Progress
from tts_pipeline.dataset.claims import CLAIMS
from tts_pipeline.dataset.commit import PartTables
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE
from tts_pipeline.dataset.finalize import dataset_totals
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.deprecation import renamed_arguments
from tts_pipeline.job.account import has_store, unshared_note
from tts_pipeline.job.account_check import check_account
from tts_pipeline.job.execution import (
    RunControl,
    StartService,
    finalize_job,
    recover_and_prepare,
    run_all_parts,
    run_shard,
    run_unpublished,
)
from tts_pipeline.job.folders import JOURNALS
from tts_pipeline.job.gc_tuning import gc_tuned
from tts_pipeline.job.job import Job, RunOptions, Shard, divide_into_shards
from tts_pipeline.job.prepare import create_or_extend_dataset, prepare, prepare_in_memory
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.report import Report
from tts_pipeline.job.sharding import limits_of_shard
from tts_pipeline.job.stop import CancelToken
from tts_pipeline.log import logger
from tts_pipeline.models import ParameterValue
from tts_pipeline.source.parquet_source import Source
from tts_pipeline.storage.safe_folder import sync_path
from tts_pipeline.storage.store import storage_errors

if TYPE_CHECKING:
    from tts_pipeline.source.frame_stream import RowStream


@renamed_arguments(running="options")
def run(  # noqa: PLR0913 (a public entry point: the settings of every job, by name)
    source: str | os.PathLike[str] | RowStream,
    destination: str | os.PathLike[str],
    service: Endpoint,
    *,
    model: str,
    text: str | None = None,
    utterance_id: str | None = None,
    columns: Mapping[str, str] | InputColumns | None = None,
    audio: AudioSettings | None = None,
    selection: Selection | None = None,
    options: RunOptions | None = None,
    catalog: AnyCatalog | None = None,
    unchecked: Sequence[str] = (),
    hive: bool = InputColumns().hive,
    drop: Sequence[str] = (),
    **parameters: ParameterValue,
) -> Report:
    """Make a speech dataset from a source, or continue one.

    Args:
        source: A Parquet file, a folder of Parquet files, or a glob or an fsspec URL of these. Or the rows themselves:
            a Polars DataFrame or LazyFrame, or any object with ``__arrow_c_stream__``. Rows are first written to the
            local disk, in constant memory; to continue the dataset, pass the same rows in the same order.
        destination: A folder or an fsspec URL, which becomes the dataset.
        service: The service, with its key; see ``find_service``.
        model: The model's name, as the service knows it.
        text: The source column of the text; None takes it from ``columns``, whose default is ``text``.
        utterance_id: The source column of the id, a string or an integer; None takes it from ``columns``, whose default
            is ``id``.
        columns: Voice parameter -> source column with its value for each row; a null leaves the parameter unset. Pass
            ``InputColumns`` for more, for example to generate ids or to rename columns.
        audio: The format and sample rate of the dataset's audio; None is audio as received.
        selection: The rows of the source to take; None is all rows.
        options: How the job is run: limits, budget, reuse, quality; None is the defaults.
        catalog: Services, cards and prices, or the TOML file of your own; None is the built-in catalog.
        unchecked: Names of parameters that are sent without a check against the model's card.
        hive: Whether folders of the source such as ``speaker=Cherry`` become columns.
        drop: Columns of the source that are not read.
        **parameters: Voice parameters with the same value for all rows (``voice="Cherry"``).

    Returns:
        Counts of the dataset and of this run. If the run ended early, ``stopped`` holds the reason: a budget, an
        outage, too many rejects, a signal. Everything done so far is kept, and the same call continues the run.

    Raises:
        ConfigurationError: An argument is wrong; nothing was sent or written. Never retried.
        StorageError: The destination cannot be used; nothing was sent. Not retried: the same call continues.

    Example:
        >>> import polars as pl
        >>> import tts_pipeline as tts
        >>> lines = pl.DataFrame({"key": ["a", "b"], "line": ["Good morning.", "早上好。"]})
        >>> report = tts.run(
        ...     lines, destination, service, model="qwen3-tts-flash", text="line", utterance_id="key", voice="Cherry"
        ... )
        >>> report.dataset.speech, report.dataset.characters_billed, report.stopped
        (2, 20, None)
    """
    options = options or RunOptions()
    job = Job(
        source=source if isinstance(source, str | os.PathLike) else "",
        destination=destination,
        service=service,
        model=model,
        parameters=parameters,
        columns=InputColumns.from_arguments(columns, text=text, utterance_id=utterance_id, hive=hive, drop=drop),
        selection=selection or Selection(),
        audio=audio or AudioSettings(),
        unchecked=tuple(unchecked),
        catalog=catalog,
        options=options,
    )
    if isinstance(source, str | os.PathLike):
        return run_job(job)
    from tts_pipeline.source.frame_stream import temporary_parquet

    with temporary_parquet(source, options.work_dir, job.columns.drop) as file:
        return run_job(replace(job, source=file))


@renamed_arguments(reach="start_service")
def run_job(
    job: Job,
    progress: Progress | None = None,
    *,
    start_service: StartService = nullcontext,
    stop: CancelToken | None = None,
    door: str = "run",
) -> Report:
    """Make a job's dataset, or continue it; see ``run``.

    Args:
        job: The job.
        progress: Updated during the run, for a display; None is without a display.
        start_service: Starts a service for the time of the job, such as the local service; the default starts nothing.
        stop: Stops the job from outside; None leaves only signals and other interruptions of this call.
        door: Where the job is started from, for the bill.
    """
    prepared = recover_and_prepare(job)
    with prepared.leases:
        control = RunControl(progress or Progress(), stop or CancelToken(), start_service, door)
        return run_all_parts(create_or_extend_dataset(prepared), control)


def run_in_memory(job: Job, source: Source, progress: Progress, stop: CancelToken, ledger_name: str) -> PartTables:
    """Run a job whose rows are in memory, and return its speech and its rejects.

    The destination belongs to this job alone, and the caller lets nobody else run it meanwhile. The journals stay: they
    hold the usage, which the caller publishes, as ``commit_all_usage`` does. The ledger knows the destination by
    ``ledger_name``.

    Raises:
        ConfigurationError: An argument is wrong; nothing was sent.
        StoppedError: The job was stopped; the same call continues it.
        FatalError: No row can succeed.
        StorageError: The disk failed; the same call continues.
    """
    with gc_tuned():
        prepared = prepare_in_memory(job, source)
    for location in prepared.cache_locations:
        location.create()
    _make_folders(prepared)
    prepared.store.write(DESCRIPTOR_FILE, prepared.descriptor.to_json(), durable=False)
    return run_unpublished(prepared, RunControl(progress, stop, door="synthesize"), ledger_name)


def _make_folders(prepared: PreparedJob) -> None:
    """Make the folders of a journal and its claim; their names, and those of the two folders above, are on the disk."""
    folder = prepared.work_dir
    with storage_errors(f"making the folder {folder}"):
        for name in (CLAIMS, JOURNALS):
            (folder / name).mkdir(parents=True, exist_ok=True)
        # The innermost first: ext4 writes all names at once then, and the others take 0.1 ms each.
        for path in (folder, folder.parent, folder.parent.parent):
            sync_path(path)


def plan(job: Job, max_shards: int = 1) -> list[Shard]:
    """Check a whole job, write its dataset's descriptor, and divide its parts into shards.

    Args:
        job: The job.
        max_shards: The most shards.

    Returns:
        At least one shard; always the same shards, however many parts are done.

    Raises:
        ConfigurationError: A setting is wrong; nothing was written. A missing source is a ``MissingSourceError``,
            unless ``RunOptions.missing_is_empty`` is set.
    """
    prepared = recover_and_prepare(job)
    with prepared.leases:
        prepared = create_or_extend_dataset(prepared)
    shards = divide_into_shards(prepared.descriptor.parts, max_shards)
    if note := unshared_note(job, len(shards), has_store=has_store(job)):
        logger.warning("%s", note)
    return shards


def run_parts(  # noqa: PLR0913 (public: the settings of a call are keyword arguments)
    job: Job,
    shard: Shard,
    progress: Progress | None = None,
    *,
    at_a_time: int | None = None,
    stop: CancelToken | None = None,
    door: str = "run",
) -> Report:
    """Run the parts of one shard; several shards may run at one time, in any processes. Returns a report, as ``run``.

    The job's cap and the account's limits cover all shards together. All shards draw from the cap; a shard that stops
    for the budget has waited until nothing could come back from the others. Shards share the account's limits in its
    store; without one that all of them reach, each limit is divided among the shards that run at one time.
    ``max_concurrency`` applies to each shard alone.

    Args:
        job: The job.
        shard: A shard that ``plan`` returned.
        progress: Updated during the run, for a display; None is without a display.
        at_a_time: The most shards of the job that run at one time; None is all of them.
        stop: Stops the shard from outside; None leaves only signals and other interruptions of this call.
        door: Where the job is started from, for the bill.
    """
    lone_limits = limits_of_shard(job.options.limits, job.card(), shard, at_a_time)
    prepared = recover_and_prepare(job, may_grow=False)
    with prepared.leases:
        control = RunControl(progress or Progress(), stop or CancelToken(), door=door, lone_limits=lone_limits)
        return run_shard(create_or_extend_dataset(prepared), shard, control)


def publish(job: Job) -> Report:
    """Finalize a dataset whose parts are all done: write ``parts.json`` and the dataset card. Needs no key.

    Raises:
        StorageError: Parts are not done yet, or files that a marker names are missing.
    """
    started = time.monotonic()
    prepared = recover_and_prepare(job, may_grow=False, sends=False)
    with prepared.leases:
        if not prepared.descriptor.parts:
            prepared = create_or_extend_dataset(prepared)  # an empty job may never have been planned
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
    """Check a whole job, also against the budgets of its account store; send and write nothing.

    Raises:
        ConfigurationError: A setting is wrong; the error names it and the way out.
    """
    prepared = prepare(job)
    check_account(prepared)
    return prepared
