"""A job checked against its source, its card and its destination: everything that can be wrong is found here."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from tts_pipeline.audio.convert import check_settings
from tts_pipeline.catalog.check import check_parameters
from tts_pipeline.catalog.service import is_loopback, refuse_plain_http
from tts_pipeline.config import Selection
from tts_pipeline.dataset.descriptor import Descriptor, check_descriptor, make_descriptor, part_rows_for
from tts_pipeline.dataset.parts import PartRows
from tts_pipeline.dataset.rows import Layout, Voicing
from tts_pipeline.dataset.scan import scan
from tts_pipeline.dataset.source import RowReader, Source, open_source
from tts_pipeline.dataset.store import LocalStore, Store, is_local, local_path, open_store
from tts_pipeline.errors import ConfigurationError, did_you_mean
from tts_pipeline.job.job import Job, Running
from tts_pipeline.models import Card

WORK = ".work"
"""Folder inside a local destination for journals and locks; hidden from listings of the dataset."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that can be run.

    Args:
        job: The job.
        source: Its rows.
        places: Which rows of the source are taken, ascending.
        voicing: How rows become utterances.
        store: The destination.
        descriptor: What identifies the dataset.
        work_dir: For journals and locks.
    """

    job: Job
    source: Source
    places: Sequence[int]
    voicing: Voicing
    store: Store
    descriptor: Descriptor
    work_dir: Path

    @property
    def card(self) -> Card:
        """What the model takes and costs."""
        return self.voicing.card

    @property
    def journals(self) -> Path:
        """Where the journals are."""
        return self.work_dir / "journals"

    @property
    def locks(self) -> Path:
        """Where the locks are: at a local destination, whatever the work folder, so that all runs meet there."""
        store = self.store
        return (store.folder / WORK if isinstance(store, LocalStore) else self.work_dir) / "locks"

    def read_part(self, reader: RowReader, number: int) -> PartRows:
        """Read a part's rows from the source. Blocking."""
        span = self.descriptor.span(number)
        places = self.places[span.start : span.stop]
        table = reader.read(places)
        keys = self.voicing.layout.keys(table, [self.source.locate(place) for place in places])
        return PartRows(number, table, keys, self.voicing.utterances(table, keys))


def prepare(job: Job) -> Prepared:
    """Check a job whole, before anything is sent or written.

    Raises:
        ConfigurationError: Something is wrong; names it and the way out.
    """
    _refuse_nothing(job.running)
    card = job.card()
    _refuse_missing_key(job)
    check_settings(job.audio)
    source = open_source(job.source)
    layout = Layout(job.columns, source.schema)
    _refuse_unknown_columns(job, source)
    voicing = _voicing(job, card, layout)
    places = _places(job.selection, source.rows)
    work_dir = work_dir_of(job)
    store = open_store(job.destination, work_dir / "staging")
    wanted = Descriptor(
        rows=len(places),
        part_rows=job.running.part_rows or part_rows_for(len(places)),
        job=job.identity(voicing.fixed),
        source=source.fingerprint(),
        prices=[_price_row(price) for price in card.prices],
    )
    there = check_descriptor(store, wanted)
    if there is None:  # a descriptor is written only after the source was found good
        scan(source, places, voicing, scratch=_scratch())
    return Prepared(job, source, places, voicing, store, there or wanted, work_dir)


def establish(prepared: Prepared) -> Prepared:
    """Write the descriptor of a new dataset, and return what is then at the destination.

    Raises:
        ConfigurationError: Another process was first, with another job.
        StorageError: It cannot be written.
    """
    made = make_descriptor(prepared.store, prepared.descriptor)
    fields = {name: getattr(prepared, name) for name in Prepared.__dataclass_fields__}
    return Prepared(**{**fields, "descriptor": made})


def work_dir_of(job: Job) -> Path:
    """Return where a job keeps its journals: on a local disk, always, and apart from those of other destinations."""
    destination, given = os.fspath(job.destination), job.running.work_dir
    if given is None and is_local(destination):
        return local_path(destination) / WORK
    folder = Path(platformdirs.user_state_dir("tts-pipeline") if given is None else given).expanduser().absolute()
    whole = os.path.realpath(local_path(destination)) if is_local(destination) else destination.rstrip("/")
    return folder / hashlib.sha256(whole.encode()).hexdigest()[:16]


def _scratch() -> Path:
    return Path(platformdirs.user_cache_dir("tts-pipeline"))


def _refuse_nothing(running: Running) -> None:
    limits = running.limits
    counts = {
        "max_concurrency": limits.max_concurrency,
        "max_attempts": limits.max_attempts,
        "max_open_parts": running.max_open_parts,
        "part_rows": running.part_rows,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ConfigurationError(f"{name} is {value}", hint="give at least 1")


def _refuse_missing_key(job: Job) -> None:
    service = job.service
    if service.auth == "bearer" and not service.api_key and not is_loopback(service.base_url):
        raise ConfigurationError(
            f"service {service.name!r} needs a key", hint="give the service one, or take it from Service.named(...)"
        )
    refuse_plain_http(service)


def _refuse_unknown_columns(job: Job, source: Source) -> None:
    for tag, column in job.running.tag_columns.items():
        if column not in source.schema.names:
            hint = did_you_mean(column, source.schema.names) + "use --tag-column KEY=COLUMN"
            raise ConfigurationError(f"the source has no column {column!r} for the tag {tag!r}", hint=hint)


def _voicing(job: Job, card: Card, layout: Layout) -> Voicing:
    varying = layout.parameter_columns()
    fixed = check_parameters(card, job.parameters, job.unchecked, from_columns=varying)
    return Voicing(layout, card, fixed, job.unchecked)


def _places(selection: Selection, rows: int) -> Sequence[int]:
    if selection.sample is not None:
        if selection.sample < 1:
            raise ConfigurationError(f"--sample is {selection.sample}", hint="give at least 1")
        return sorted(random.Random(selection.seed).sample(range(rows), min(selection.sample, rows)))
    if selection.limit is not None and selection.limit < 1:
        raise ConfigurationError(f"--limit is {selection.limit}", hint="give at least 1")
    return range(rows if selection.limit is None else min(selection.limit, rows))


def _price_row(price: Any) -> dict[str, Any]:
    return {name: None if value is None else str(value) for name, value in asdict(price).items()}
