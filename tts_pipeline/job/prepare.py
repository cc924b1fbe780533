"""A job checked against its source, its card and its destination: everything that can be wrong is found here."""

from __future__ import annotations

import hashlib
import logging
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pyarrow as pa

from tts_pipeline.audio.convert import check_settings
from tts_pipeline.cache.cache_location import CacheLocation, find_cache
from tts_pipeline.card import Card
from tts_pipeline.catalog.checks import check_parameters
from tts_pipeline.catalog.keys import environment
from tts_pipeline.catalog.route import route_of
from tts_pipeline.catalog.service import is_loopback, refuse_plain_http
from tts_pipeline.config import MAX_LEASE_S, SHIP_EVERY_S, Selection, UnspeakableAction
from tts_pipeline.dataset.active_part import PartRows
from tts_pipeline.dataset.descriptor import (
    DESCRIPTOR_FILE,
    Descriptor,
    Growth,
    check_descriptor,
    create_or_extend_descriptor,
    is_stored,
    part_rows_for,
)
from tts_pipeline.dataset.generations import SWAP_FILE
from tts_pipeline.dataset.price_rows import price_row, refuse_changed_prices
from tts_pipeline.errors import ConfigurationError, MissingSourceError, StorageError, did_you_mean
from tts_pipeline.flow.budget import check_cap
from tts_pipeline.http.tls import tls_context
from tts_pipeline.job.job import Job, RunOptions
from tts_pipeline.job.rebuild import OldGeneration, Rebuild, find_rebuild
from tts_pipeline.models import Utterance, UtteranceKey
from tts_pipeline.source.columns import ColumnRoles, UtteranceMapper, hugging_face_note
from tts_pipeline.source.dropped_columns import check_drop
from tts_pipeline.source.duplicates import Hashes, load_duplicate_hashes, save_duplicate_hashes
from tts_pipeline.source.listing import describe_left_out
from tts_pipeline.source.parquet_source import Source, open_source
from tts_pipeline.source.row_reader import RowReader
from tts_pipeline.source.scan import scan_source
from tts_pipeline.source.spooled_rows import SpooledRows
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.location import check_utf8_name, is_local, local_path
from tts_pipeline.storage.safe_folder import SafeFolder
from tts_pipeline.storage.scratch import WORK_DIR_HINT, is_writable, scratch_root, state_folder
from tts_pipeline.storage.store import LocalStore, Store, open_store, storage_errors

logger = logging.getLogger(__name__)

logger = logging.getLogger("tts_pipeline")

WORK_FOLDER = ".work"
"""Folder inside a local destination for journals and locks; hidden from listings of the dataset."""


@dataclass(frozen=True, slots=True)
class PreparedJob:
    """A job that can be run.

    Args:
        job: The job.
        source: Its rows.
        row_indices: Which rows of the source are taken, ascending.
        mapper: How rows become utterances.
        store: The destination.
        descriptor: What identifies the dataset.
        work_dir: For journals and locks.
        leases: What this process holds of the destination; to be entered by whoever runs the job.
        cache_locations: Where audio may be that was bought before.
        repeated_hashes: Which requests stand more than once, when the source was looked through just now; else None.
        rebuild: Set while a new generation is made beside the dataset in place.
    """

    job: Job
    source: Source
    row_indices: Sequence[int]
    mapper: UtteranceMapper
    store: Store
    descriptor: Descriptor
    work_dir: Path
    leases: Leases
    cache_locations: tuple[CacheLocation | OldGeneration, ...] = ()
    repeated_hashes: Hashes | None = None
    rebuild: Rebuild | None = None

    @property
    def home(self) -> Store:
        """The destination itself, also while the dataset is made beside the one that is there."""
        return self.store if self.rebuild is None else self.rebuild.home

    @property
    def card(self) -> Card:
        """What the model takes and costs."""
        return self.mapper.card

    @property
    def journals_dir(self) -> Path:
        """Where the journals are."""
        return self.work_dir / "journals"

    @property
    def job_cache_dir(self) -> Path:
        """Where the audio of repeated requests is kept until the job is done."""
        return self.work_dir / "repeated"

    @property
    def locks_dir(self) -> Path:
        """Where the locks are: at a local destination, whatever the work folder, so that all runs meet there."""
        return self.leases.lock_folder

    @property
    def ship_every_s(self) -> float | None:
        """How often journals go to the destination, at least; None is never."""
        options = self.job.options
        is_shipping = not isinstance(self.store, LocalStore) if options.ship_journals is None else options.ship_journals
        return (options.ship_every_s or SHIP_EVERY_S) if is_shipping else None

    def read_part(self, reader: RowReader, number: int, held_rows: SpooledRows | None = None) -> PartRows:
        """Read a part's rows from the source into ``held_rows``; None holds them in memory. Blocking."""
        span = self.descriptor.row_range(number)
        indices = self.row_indices[span.start : span.stop]
        inputs = SpooledRows(reader.schema) if held_rows is None else held_rows
        keys: list[UtteranceKey] = []
        utterances: list[Utterance] = []
        for piece in reader.batches(indices):
            rows, piece_indices = pa.Table.from_batches([piece]), indices[len(keys) : len(keys) + piece.num_rows]
            piece_keys = self.mapper.roles.keys(rows, [self.source.locate(index) for index in piece_indices])
            utterances += self.mapper.utterances(rows, piece_keys)
            keys += piece_keys
            inputs.add(piece)
        return PartRows(number, inputs, keys, utterances)


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
    _check_run_options(job.options)
    card = job.card()
    if sends:
        _refuse_unreachable(job)
    check_cap(job.options.budget, card, datetime.now(UTC).date())
    check_settings(job.audio)
    check_drop(job.columns, job.options.tag_columns)
    source = open_job_source(job)
    roles = _column_roles(job, source)
    _refuse_unknown_columns(job, source)
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
        hint = f"{error.hint}. The names of folders make the columns {folders}; with --hive off they do not"
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


def work_dir_of(job: Job) -> Path:
    """Return where a job keeps its journals: on a local disk, always, and apart from those of other destinations.

    Raises:
        StorageError: A folder or a journal in there is a link: what is written there would stand elsewhere.
    """
    work_dir = _work_dir(job)
    with storage_errors(f"looking into {work_dir}"):
        for folder in (work_dir, *work_dir.glob("generation-*")):
            inner = str(folder.relative_to(work_dir.parent))
            SafeFolder(work_dir.parent, inner).check_no_links("", "journals", "locks", "repeated", "staging")
    return work_dir


def _work_dir(job: Job) -> Path:
    destination, work_dir = os.fspath(job.destination), job.options.work_dir
    if work_dir is None and is_local(destination):
        return local_path(destination) / WORK_FOLDER
    folder = state_folder() if work_dir is None else local_path(work_dir)
    check_utf8_name(str(folder))
    real_destination = os.path.realpath(local_path(destination)) if is_local(destination) else destination.rstrip("/")
    return folder / hashlib.sha256(os.fsencode(real_destination)).hexdigest()[:16]


def locks_dir_of(home: Store, work_dir: Path) -> Path:
    """Return where the locks of a destination are.

    Raises:
        StorageError: It is a link.
    """
    if not isinstance(home, LocalStore):
        return work_dir / "locks"
    with storage_errors(f"looking into {home.folder}"):
        SafeFolder(home.folder).check_no_links(f"{WORK_FOLDER}/locks")
    return home.folder / WORK_FOLDER / "locks"


def make_leases(job: Job, home: Store, work_dir: Path) -> Leases:
    """Return what a process may hold of a destination; nothing is held yet.

    Raises:
        StorageError: The folder of the locks is a link.
    """
    return Leases(home, locks_dir_of(home, work_dir), job.options.lease_s)


def _check_run_options(options: RunOptions) -> None:
    limits = options.limits
    counts = {
        "max_concurrency": limits.max_concurrency,
        "max_attempts": limits.max_attempts,
        "max_open_parts": options.max_open_parts,
        "part_rows": options.part_rows,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} is {value}", hint="give at least 1")
    if options.unspeakable not in get_args(UnspeakableAction):
        raise ConfigurationError(f"unspeakable is {options.unspeakable!r}", hint="give 'keep' or 'reject'")
    if options.ship_every_s is not None and options.ship_every_s <= 0:
        raise ConfigurationError(f"ship_every_s is {options.ship_every_s}", hint="give more than 0 seconds")
    if not 0 < options.lease_s <= MAX_LEASE_S:
        raise ConfigurationError(
            f"lease_s is {options.lease_s}", hint=f"give more than 0 seconds, and {MAX_LEASE_S:g} at most"
        )
    for tag, text in options.tags.items():
        if not (isinstance(tag, str) and isinstance(text, str)):
            raise ConfigurationError(f"the tag {tag!r} is {text!r}", hint="tags are text: put it into quotes")


def _refuse_unreachable(job: Job) -> None:
    service = job.service
    if service.auth == "bearer" and not service.api_key and not is_loopback(service.base_url):
        raise ConfigurationError(
            f"service {service.name!r} needs a key", hint="give the service one, or take it from Service.named(...)"
        )
    refuse_plain_http(service)
    tls_context(route_of(service, environment()))


def _refuse_unknown_columns(job: Job, source: Source) -> None:
    for tag, column in job.options.tag_columns.items():
        if column not in source.schema.names:
            hint = did_you_mean(column, source.schema.names) + "use --tag-column KEY=COLUMN"
            raise ConfigurationError(f"the source has no column {column!r} for the tag {tag!r}", hint=hint)


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
            raise ConfigurationError(f"--sample is {selection.sample}", hint="give at least 1")
        return sorted(random.Random(selection.seed).sample(range(rows), min(selection.sample, rows)))
    if selection.limit is not None and selection.limit < 1:
        raise ConfigurationError(f"--limit is {selection.limit}", hint="give at least 1")
    return range(rows if selection.limit is None else min(selection.limit, rows))
