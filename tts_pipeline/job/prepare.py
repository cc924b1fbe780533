"""Prepare a job: check it against its source, its card and its destination before anything is sent."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa

from tts_pipeline.audio.convert import check_settings
from tts_pipeline.cache.cache_location import CacheLocation, find_cache
from tts_pipeline.card import Card
from tts_pipeline.catalog.checks import check_parameters
from tts_pipeline.config import Selection
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, Descriptor, part_rows_for
from tts_pipeline.dataset.generations import SWAP_FILE
from tts_pipeline.dataset.growth import Growth, check_descriptor, create_or_extend_descriptor, is_stored
from tts_pipeline.dataset.price_rows import price_row, refuse_changed_prices
from tts_pipeline.errors import ConfigurationError, MissingSourceError, StorageError
from tts_pipeline.flow.budget import check_cap
from tts_pipeline.job.folders import WORK_FOLDER, make_leases, work_dir_of
from tts_pipeline.job.job import Job
from tts_pipeline.job.option_checks import check_run_options, refuse_unknown_columns, refuse_unreachable
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.rebuild import OldGeneration, find_rebuild
from tts_pipeline.log import logger
from tts_pipeline.source.columns import ColumnRoles, UtteranceMapper, hugging_face_note
from tts_pipeline.source.dropped_columns import check_drop
from tts_pipeline.source.duplicates import load_duplicate_hashes, save_duplicate_hashes
from tts_pipeline.source.listing import describe_left_out
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.scan import scan_source
from tts_pipeline.storage.hash_partitions import Hashes
from tts_pipeline.storage.location import local_path
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.scratch import WORK_DIR_HINT, is_writable, scratch_root
from tts_pipeline.storage.store import Store


def prepare(job: Job, *, may_grow: bool = True, sends: bool = True) -> PreparedJob:
    """Check a job whole, before anything is sent or written.

    Args:
        job: The job.
        may_grow: Whether the dataset follows a source that has grown. Who runs or publishes what another one planned
            keeps to that plan.
        sends: Whether anything may be sent, which needs a key.

    Raises:
        ConfigurationError: Something is wrong; names it and the way out. Also where ``may_grow`` is False and nobody
            planned the rebuild that the source calls for: what is there is not given up for it.
    """
    check_run_options(job.options)
    card = job.card()
    if sends:
        refuse_unreachable(job)
    check_cap(job.options.budget, card, datetime.now(UTC).date())
    check_settings(job.audio)
    check_drop(job.columns, job.options.tag_columns)
    source = open_job_source(job)
    roles = _column_roles(job, source)
    refuse_unknown_columns(job, source)
    mapper = _make_mapper(job, card, roles)
    row_indices = select_rows(job.selection, source.rows)
    work_dir = work_dir_of(job)
    store = open_store(job.destination, work_dir / "staging")
    leases = make_leases(job, store, work_dir)
    target = Descriptor(
        rows=len(row_indices),
        part_rows=job.options.part_rows or part_rows_for(len(row_indices)),
        job={**job.identity(mapper.fixed), **source.identity()},
        source=source.fingerprint(),
        prices=[price_row(price) for price in card.prices],
    )
    growth = (Growth.ANYWHERE if job.options.append else Growth.AT_THE_END) if may_grow else Growth.NONE
    _refuse_half_swapped(store)
    rebuild = find_rebuild(store, work_dir, target, growth) if job.options.rebuild else None
    reuse = job.options.reuse
    locations = [reuse] if isinstance(reuse, str | os.PathLike) else reuse
    cache_locations: list[CacheLocation | OldGeneration] = [
        find_cache(location, work_dir / "staging") for location in locations
    ]
    if rebuild is not None:
        cache_locations = [*rebuild.cache_locations(), *cache_locations]
        store, work_dir = rebuild.store, rebuild.work_dir_of(rebuild.number)
        target = replace(target, generation=rebuild.number)
    existing = check_descriptor(store, target, growth)
    if rebuild is not None and existing is None and not may_grow:
        raise ConfigurationError(
            f"no rebuild of {rebuild.home.root} is planned for the source {os.fspath(job.source)!r} as it is now",
            hint="restore the source, or plan the job again: what is bought is not bought again",
        )
    if existing is None:
        roles.refuse_case_collisions()
    refuse_changed_prices(existing.prices if existing else (), target.prices)
    descriptor, repeated_hashes = existing or target, None
    source = source.with_files([file["path"] for file in descriptor.source])
    row_indices = select_rows(job.selection, source.rows)
    if not is_stored(store, descriptor):  # a descriptor is written only after the source was found good
        repeated_hashes = scan_source(source, row_indices, mapper, scratch=scratch_root(job.options.work_dir))
    return PreparedJob(
        job,
        source,
        row_indices,
        mapper,
        store,
        descriptor,
        work_dir,
        leases,
        tuple(cache_locations),
        repeated_hashes,
        rebuild,
    )


def open_job_source(job: Job) -> Source:
    """Open the source; one that is not there has no rows, where that is allowed, and the columns that are asked for.

    Raises:
        MissingSourceError: It is not there, and that is not allowed.
        ConfigurationError: It cannot be read.
    """
    work_dir = job.options.work_dir
    try:
        return open_source(
            job.source,
            hive=job.columns.hive,
            work_dir=None if work_dir is None else local_path(work_dir),
            drop=job.columns.drop,
        )
    except MissingSourceError:
        if not job.options.missing_is_empty:
            raise
    columns = job.columns
    ids = [] if columns.generate_ids else [columns.utterance_id]
    names = [*ids, columns.text, *columns.parameters.values(), *columns.rename, *job.options.tag_columns.values()]
    return Source([], pa.schema([(name, pa.string()) for name in dict.fromkeys(names)]))


def _column_roles(job: Job, source: Source) -> ColumnRoles:
    try:
        return ColumnRoles(job.columns, source.schema)
    except ConfigurationError as error:
        if not source.hive:
            raise
        folders = ", ".join(repr(name) for name in source.hive)
        hint = f"{error.hint}. The names of folders make the columns {folders}; with `hive=False` they do not"
        raise ConfigurationError(error.message, hint=hint) from None


def _refuse_half_swapped(store: Store) -> None:
    if store.exists(SWAP_FILE):
        raise ConfigurationError(
            f"the dataset at {store.root} is being replaced by a new generation", hint="run the job to finish that"
        )


def create_or_extend_dataset(prepared: PreparedJob) -> PreparedJob:
    """Write the descriptor of a dataset that is new or has grown, and return what is then at the destination.

    Raises:
        ConfigurationError: Another process was first, with another job; or a new reuse store cannot be made.
        StorageError: It or the work folder cannot be written, or another process grows the dataset right now.
    """
    target = prepared.descriptor
    folder = work_dir_of(prepared.job)
    if folder.name != WORK_FOLDER and not is_writable(folder):
        raise StorageError(f"the folder for journals, {folder}, cannot be written", hint=WORK_DIR_HINT)
    note = hugging_face_note(prepared.mapper.roles.passthrough)
    if note is not None and not prepared.store.exists(DESCRIPTOR_FILE):
        logger.warning("%s", note)
    if prepared.source.left_out:
        logger.warning("left out of the source: %s", describe_left_out(prepared.source.left_out))
    for location in prepared.cache_locations:
        location.create()
    if prepared.rebuild is not None:
        target = replace(target, carried_totals=prepared.rebuild.carry_over(prepared.leases))
    descriptor = create_or_extend_descriptor(
        prepared.store, target, lock=lambda: prepared.leases.hold("growth", wait=True)
    )
    if prepared.repeated_hashes is not None:
        save_duplicate_hashes(prepared.store, descriptor.fingerprint, prepared.repeated_hashes)
    return replace(prepared, descriptor=descriptor)


def find_repeated_hashes(prepared: PreparedJob) -> Hashes:
    """Return the hashes of the requests that stand more than once; looks through the source unless they are known.

    Raises:
        StorageError: The disk failed, or the source cannot be read. Blocking.
    """
    fingerprint = prepared.descriptor.fingerprint
    hashes = (
        prepared.repeated_hashes
        if prepared.repeated_hashes is not None
        else load_duplicate_hashes(prepared.store, fingerprint)
    )
    if hashes is None:
        scratch = scratch_root(prepared.job.options.work_dir)
        hashes = scan_source(prepared.source, prepared.row_indices, prepared.mapper, scratch=scratch)
        save_duplicate_hashes(prepared.store, fingerprint, hashes)
    return hashes


def _make_mapper(job: Job, card: Card, roles: ColumnRoles) -> UtteranceMapper:
    column_parameters = roles.parameter_columns()
    fixed = check_parameters(card, job.parameters, job.unchecked, from_columns=column_parameters)
    return UtteranceMapper(roles, card, fixed, job.unchecked)


def select_rows(selection: Selection, rows: int) -> Sequence[int]:
    """Return which rows of a source a selection takes, ascending.

    Args:
        selection: Which rows.
        rows: Rows of the source.

    Raises:
        ConfigurationError: Fewer than one row is asked for.
    """
    if selection.sample is not None:
        if selection.sample < 1:
            raise ConfigurationError(f"`sample` is {selection.sample}", hint="give at least 1")
        return sorted(random.Random(selection.seed).sample(range(rows), min(selection.sample, rows)))
    if selection.limit is not None and selection.limit < 1:
        raise ConfigurationError(f"`limit` is {selection.limit}", hint="give at least 1")
    return range(rows if selection.limit is None else min(selection.limit, rows))
