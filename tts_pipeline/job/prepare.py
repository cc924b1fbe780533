"""Prepare a job: check it against its source, its card and its destination before anything is sent."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from tts_pipeline.audio.convert import check_settings
from tts_pipeline.cache.cache_location import CacheLocation, find_cache
from tts_pipeline.card import Card
from tts_pipeline.catalog.checks import check_parameters
from tts_pipeline.config import CALL_PART_ROWS, Selection
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, Descriptor, part_rows_for
from tts_pipeline.dataset.generations import SWAP_FILE
from tts_pipeline.dataset.growth import Growth, check_descriptor, create_or_extend_descriptor, is_stored
from tts_pipeline.dataset.price_rows import price_row, refuse_changed_prices
from tts_pipeline.errors import ConfigurationError, MissingSourceError, StorageError
from tts_pipeline.flow.budget import check_cap
from tts_pipeline.job.folders import WORK_FOLDER, make_leases, work_dir_of
from tts_pipeline.job.job import Job, list_locations
from tts_pipeline.job.option_checks import check_run_options, refuse_unknown_columns, refuse_unreachable
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.job.rebuild import OldGeneration, Rebuild, find_rebuild
from tts_pipeline.log import logger
from tts_pipeline.source.columns import ColumnRoles, UtteranceMapper, hugging_face_note
from tts_pipeline.source.dropped_columns import check_drop
from tts_pipeline.source.duplicates import load_duplicate_hashes, save_duplicate_hashes
from tts_pipeline.source.listing import describe_left_out
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.scan import scan_source
from tts_pipeline.storage.hash_partitions import SortedHashes
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.location import local_path
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.storage.scratch import WORK_DIR_HINT, is_writable
from tts_pipeline.storage.store import Store


def prepare(job: Job, *, may_grow: bool = True, sends: bool = True) -> PreparedJob:
    """Check a whole job before anything is sent or written.

    A run or publication of another process's plan keeps to the plan: ``may_grow`` is then False. ``sends`` needs a key.

    Raises:
        ConfigurationError: A setting is wrong; the error names it and the way out. Also if ``may_grow`` is False and
            the source needs a rebuild that was not planned: the present dataset is not given up for it.
    """
    card = _check_settings(job, sends=sends)
    source = open_job_source(job)
    growth = (Growth.ANYWHERE if job.options.append else Growth.AT_THE_END) if may_grow else Growth.NONE
    draft = _draft(job, source, _make_mapper(job, card, source), growth)
    existing = check_descriptor(draft.store, draft.descriptor, growth)
    if existing is None:
        _check_new_dataset(job, draft.mapper.roles, None if may_grow else draft.rebuild)
    refuse_changed_prices(existing.prices if existing else (), draft.descriptor.prices)
    descriptor = existing or draft.descriptor
    source = source.with_files([file["path"] for file in descriptor.source])
    rows = select_rows(job.selection, source.rows)
    prepared = replace(draft, source=source, row_indices=rows, descriptor=descriptor)
    if is_stored(prepared.store, descriptor):
        return prepared
    return replace(prepared, repeated_hashes=_scan(prepared))  # a descriptor is written only after a good scan


def prepare_in_memory(job: Job, source: Source) -> PreparedJob:
    """Check a job whose tables are returned and whose destination is its own; nothing is sent or written.

    The destination is a local folder, and its work folder too: each folder more takes a sync before the first request.

    Raises:
        ConfigurationError: A setting is wrong; the error names it and the way out.
    """
    card = _check_settings(job, sends=True)
    mapper = _make_mapper(job, card, source)
    descriptor = replace(_describe(job, mapper, source, source.rows), part_rows=CALL_PART_ROWS)
    folder = local_path(os.fspath(job.destination))
    store, rows = LocalStore(folder), range(source.rows)
    leases, caches = make_leases(job, store, folder), _find_caches(job, folder, None)
    prepared = PreparedJob(job, source, rows, mapper, store, descriptor, folder, leases, caches, is_published=False)
    return replace(prepared, repeated_hashes=_scan(prepared))


def _draft(job: Job, source: Source, mapper: UtteranceMapper, growth: Growth) -> PreparedJob:
    """Return the job as prepared for a new dataset or a new generation, without regard to an existing descriptor."""
    rows = select_rows(job.selection, source.rows)
    target = _describe(job, mapper, source, len(rows))
    work_dir = work_dir_of(job)
    store = open_store(job.destination, work_dir / "staging")
    leases = make_leases(job, store, work_dir)
    _refuse_half_swapped(store)
    rebuild = find_rebuild(store, work_dir, target, growth) if job.options.rebuild else None
    caches = _find_caches(job, work_dir, rebuild)
    if rebuild is not None:
        store, work_dir = rebuild.store, rebuild.work_dir_of(rebuild.number)
        target = replace(target, generation=rebuild.number)
    return PreparedJob(job, source, rows, mapper, store, target, work_dir, leases, caches, rebuild=rebuild)


def _check_settings(job: Job, *, sends: bool) -> Card:
    """Check all settings that need neither the source nor the destination; return the model's card."""
    check_run_options(job.options)
    card = job.card()
    if sends:
        refuse_unreachable(job)
    check_cap(job.options.budget, card, datetime.now(UTC))
    check_settings(job.audio)
    check_drop(job.columns, job.options.tag_columns)
    return card


def _describe(job: Job, mapper: UtteranceMapper, source: Source, rows: int) -> Descriptor:
    """Return the descriptor of a new dataset, with the whole source as one extent."""
    return Descriptor(
        rows=rows,
        part_rows=job.options.part_rows or part_rows_for(rows),
        job={**job.identity(mapper.fixed), **source.identity()},
        source=source.fingerprint(),
        prices=[price_row(price) for price in mapper.card.prices],
    )


def _find_caches(job: Job, work_dir: Path, rebuild: Rebuild | None) -> tuple[CacheLocation | OldGeneration, ...]:
    """Find the caches of ``reuse``; the other generations of a rebuilt dataset come first."""
    own_caches = [find_cache(location, work_dir / "staging") for location in list_locations(job.options.reuse)]
    return (*(rebuild.cache_locations() if rebuild is not None else ()), *own_caches)


def _check_new_dataset(job: Job, roles: ColumnRoles, unplanned: Rebuild | None) -> None:
    if unplanned is not None:
        raise ConfigurationError(
            f"no rebuild of {unplanned.home.root} is planned for the present source {os.fspath(job.source)!r}",
            hint="restore the source, or plan the job again: the rebuild reuses the audio that was bought",
        )
    roles.refuse_case_collisions()


def open_job_source(job: Job) -> Source:
    """Open the source; with ``missing_is_empty``, a missing source has no rows and all requested columns.

    Raises:
        MissingSourceError: The source is missing, without ``missing_is_empty``.
        ConfigurationError: The source cannot be read.
    """
    columns = job.columns
    work_dir = None if job.options.work_dir is None else local_path(job.options.work_dir)
    try:
        return open_source(job.source, hive=columns.hive, work_dir=work_dir, drop=columns.drop)
    except MissingSourceError:
        if not job.options.missing_is_empty:
            raise
    ids = [] if columns.generate_ids else [columns.utterance_id]
    names = [*ids, columns.text, *columns.parameters.values(), *columns.rename, *job.options.tag_columns.values()]
    return Source([], pa.schema([(name, pa.string()) for name in dict.fromkeys(names)]))


def _make_mapper(job: Job, card: Card, source: Source) -> UtteranceMapper:
    roles = _column_roles(job, source)
    refuse_unknown_columns(job, source)
    fixed = check_parameters(card, job.parameters, job.unchecked, from_columns=roles.parameter_columns())
    return UtteranceMapper(roles, card, fixed, job.unchecked)


def _column_roles(job: Job, source: Source) -> ColumnRoles:
    try:
        return ColumnRoles(job.columns, source.schema)
    except ConfigurationError as error:
        if not source.hive:
            raise
        folders = ", ".join(repr(name) for name in source.hive)
        hint = f"{error.hint}. Folder names make the columns {folders}; `hive=False` turns this off"
        raise ConfigurationError(error.message, hint=hint) from None


def _refuse_half_swapped(store: Store) -> None:
    if store.exists(SWAP_FILE):
        raise ConfigurationError(
            f"the dataset at {store.root} is being replaced by a new generation", hint="run the job to finish this"
        )


def create_or_extend_dataset(prepared: PreparedJob) -> PreparedJob:
    """Write the descriptor of a new or grown dataset; return the job with the descriptor at the destination.

    Raises:
        ConfigurationError: Another process was first, with another job; or a new reuse store cannot be made.
        StorageError: The descriptor or the work folder cannot be written, or another process extends the dataset.
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
        _keep_hashes(prepared.store, descriptor, prepared.repeated_hashes)
    return replace(prepared, descriptor=descriptor)


def find_repeated_hashes(prepared: PreparedJob) -> SortedHashes:
    """Return the hashes of requests that occur more than once; scan the source unless they are known. Blocking.

    Raises:
        StorageError: The disk failed, or the source cannot be read.
    """
    if prepared.repeated_hashes is not None:
        return prepared.repeated_hashes
    fingerprint = prepared.descriptor.fingerprint
    hashes = load_duplicate_hashes(prepared.store, fingerprint)
    if hashes is None:
        hashes = _scan(prepared)
        _keep_hashes(prepared.store, prepared.descriptor, hashes)
    return hashes


def _keep_hashes(store: Store, descriptor: Descriptor, hashes: SortedHashes) -> None:
    """Store the hashes for other shards and later runs; the few rows of a single part are scanned again instead."""
    if descriptor.parts > 1:
        save_duplicate_hashes(store, descriptor.fingerprint, hashes)


def _scan(prepared: PreparedJob) -> SortedHashes:
    scratch = prepared.job.options.work_dir
    return scan_source(prepared.source, prepared.row_indices, prepared.mapper, scratch=scratch)


def select_rows(selection: Selection, rows: int) -> Sequence[int]:
    """Return the indices of the selected rows of a source, in ascending order."""
    if selection.sample is not None:
        if selection.sample < 1:
            raise ConfigurationError(f"`sample` is {selection.sample}", hint="give at least 1")
        return sorted(random.Random(selection.seed).sample(range(rows), min(selection.sample, rows)))
    if selection.limit is not None and selection.limit < 1:
        raise ConfigurationError(f"`limit` is {selection.limit}", hint="give at least 1")
    return range(rows if selection.limit is None else min(selection.limit, rows))
