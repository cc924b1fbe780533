"""The dataset's descriptor: which job it is, of which source, in parts of which size. Made once, then compared."""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

import orjson

from tts_pipeline.config import MAX_DESCRIPTOR_GENERATIONS, MAX_DESCRIPTOR_PARTS, MAX_PARTS, PART_ROWS
from tts_pipeline.dataset.job_identity import JobIdentity, check_source_file, format_version_of
from tts_pipeline.dataset.price_rows import check_price_row
from tts_pipeline.dataset.totals import parse_totals
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.storage.json_files import JsonFields, json_bytes, read_fields
from tts_pipeline.storage.store import Store

FORMAT_VERSION = 1
DESCRIPTOR_FILE = "dataset.json"
MANIFEST_FILE = "parts.json"
"""Written when all parts are done; while it is there nothing is left to do."""


class Growth(Enum):
    """Which growth of a source a dataset follows: existing parts keep their rows, new rows make new parts."""

    NONE = "what was there when the dataset was planned is all there is"
    AT_THE_END = "new files, all behind the old ones in the order of paths"
    ANYWHERE = "new files wherever they stand; their rows come behind the old ones"


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of the source's files that came at one time, divided into parts of its own.

    Args:
        rows: Rows taken from these files.
        part_rows: Rows in a part; the last one may be shorter.
        files: How many files of the source, in its order.
    """

    rows: int
    part_rows: int
    files: int

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.rows // self.part_rows)


@dataclass(frozen=True)
class Descriptor:
    """What identifies a dataset. What follows from that is found once: there may be thousands of files and parts.

    Args:
        rows: Rows taken from the source.
        part_rows: Rows in a part of the first extent.
        job: What determines the dataset, by name; not how it is run.
        source: Each file's relative path, size, rows and footer hash, in the order of the rows.
        prices: Price rows in force when the dataset was made.
        later_extents: The extents beyond the first one, in order.
        generation: Which one this is, from 1: a rebuild makes another one in the same place.
        carried_totals: What earlier generations spent, as ``Totals`` are in JSON; None is nothing.
    """

    rows: int
    part_rows: int
    job: Mapping[str, Any]
    source: list[dict[str, Any]]
    prices: list[dict[str, Any]]
    later_extents: tuple[Extent, ...] = ()
    generation: int = 1
    carried_totals: Mapping[str, Any] | None = None

    @cached_property
    def extents(self) -> tuple[Extent, ...]:
        """All extents, the first one first."""
        rows = self.rows - sum(extent.rows for extent in self.later_extents)
        files = len(self.source) - sum(extent.files for extent in self.later_extents)
        return (Extent(rows, self.part_rows, files), *self.later_extents)

    @cached_property
    def _part_ends(self) -> list[int]:
        return list(itertools.accumulate(extent.parts for extent in self.extents))

    @cached_property
    def _first_rows(self) -> list[int]:
        return [0, *itertools.accumulate(extent.rows for extent in self.extents)]

    @property
    def parts(self) -> int:
        """How many parts there are; an empty source has none."""
        return self._part_ends[-1]

    def row_range(self, part: int) -> range:
        """Return the places (among the rows taken) of a part's rows."""
        index = self._extent_of(part)
        extent = self.extents[index]
        first_part = self._part_ends[index] - extent.parts
        start, first_row = (part - first_part) * extent.part_rows, self._first_rows[index]
        return range(first_row + start, first_row + min(start + extent.part_rows, extent.rows))

    def _extent_of(self, part: int) -> int:
        return min(bisect.bisect_right(self._part_ends, part), len(self.extents) - 1)

    @cached_property
    def job_fingerprint(self) -> str:
        """Hash of what determines the dataset."""
        return _hash(self.job)

    @cached_property
    def source_fingerprint(self) -> str:
        """Hash of the source's files."""
        return _hash(self.source)

    @property
    def fingerprint(self) -> str:
        """Hash of both."""
        return _hash([self.job_fingerprint, self.source_fingerprint])

    def fingerprint_of(self, part: int) -> str:
        """Return the hash of the job and of the source up to a part's extent; growth does not change it.

        A journal of the part with another one is not of this dataset.
        """
        index = self._extent_of(part)
        if index not in self._fingerprints:
            files = sum(extent.files for extent in self.extents[: index + 1])
            self._fingerprints[index] = _hash([self.job_fingerprint, _hash(self.source[:files])])
        return self._fingerprints[index]

    @cached_property
    def _fingerprints(self) -> dict[int, str]:
        """Those that were asked for, by extent: few of them have journals, or are worked on."""
        return {}

    def with_first_files(self, files: int) -> Descriptor | None:
        """Return what this was when it had so many files; None when it never had just these."""
        for count in range(len(self.later_extents) + 1):
            extents = self.extents[: count + 1]
            if sum(extent.files for extent in extents) == files:
                rows = sum(extent.rows for extent in extents)
                return replace(self, rows=rows, source=self.source[:files], later_extents=extents[1:])
        return None

    def to_json(self) -> bytes:
        """Return the descriptor's file."""
        return json_bytes(
            {
                "format_version": FORMAT_VERSION,
                "rows": self.rows,
                "part_rows": self.part_rows,
                "parts": self.parts,
                "generation": self.generation,
                "job_fingerprint": self.job_fingerprint,
                "source_fingerprint": self.source_fingerprint,
                "job": self.job,
                "prices": self.prices,
                "carried": self.carried_totals,
                "extents": self.extents,
                "source": self.source,
            },
            option=orjson.OPT_INDENT_2,
        )


def part_rows_for(rows: int) -> int:
    """Return the part size for a source: 500, or more so that there are at most 2,000 parts."""
    return max(PART_ROWS, -(-rows // MAX_PARTS))


def read_descriptor(store: Store) -> Descriptor | None:
    """Read a destination's descriptor; None when there is none.

    Raises:
        ConfigurationError: It is of another format version, or no descriptor of ours.
        StorageError: It is damaged.
    """
    data = store.read(DESCRIPTOR_FILE)
    return None if data is None else parse_descriptor(data, store.root)


def parse_descriptor(data: bytes, root: str, file_name: str = DESCRIPTOR_FILE) -> Descriptor:
    """Read a descriptor, which may be damaged or hostile.

    Args:
        data: The descriptor.
        root: Of the dataset, for messages.
        file_name: The file that it was read from, for messages.

    Raises:
        ConfigurationError: It is of another format version, or no descriptor of ours.
        StorageError: It is damaged.
    """
    version = format_version_of(data)
    if version != FORMAT_VERSION:
        raise ConfigurationError(
            f"the dataset at {root} is of format {version!r}, not {FORMAT_VERSION}",
            hint="use the version of tts-pipeline that made it, or another destination",
        )
    fields = read_fields(data, f"{root}/{file_name}")
    descriptor = Descriptor(
        rows=fields.count("rows"),
        part_rows=fields.count("part_rows", minimum=1),
        job=JobIdentity(fields),
        source=[check_source_file(file) for file in fields.objects("source")],
        prices=[check_price_row(row) for row in fields.objects("prices")],
        later_extents=tuple(map(_read_extent, fields.objects("extents")[1:])) if "extents" in fields else (),
        generation=fields.count("generation", minimum=1, maximum=MAX_DESCRIPTOR_GENERATIONS)
        if "generation" in fields
        else 1,
        carried_totals=fields.object("carried").values if fields.values.get("carried") is not None else None,
    )
    _refuse_impossible(descriptor, fields)
    return descriptor


def _read_extent(values: JsonFields) -> Extent:
    return Extent(values.count("rows"), values.count("part_rows", minimum=1), values.count("files"))


def _refuse_impossible(descriptor: Descriptor, fields: JsonFields) -> None:
    """Make sure that a descriptor's numbers fit each other; what stands there twice must be the same."""
    if descriptor.extents[0].rows < 0 or descriptor.extents[0].files < 0 or descriptor.parts > MAX_DESCRIPTOR_PARTS:
        raise fields.damage_error("its numbers of rows, files and parts do not fit each other")
    parse_totals(fields.path, descriptor.carried_totals or {})
    for name in ("parts", "job_fingerprint", "source_fingerprint"):
        if name in fields and fields.values[name] != getattr(descriptor, name):
            raise fields.damage_error(f"{name!r} is not that of what else it tells")


def check_descriptor(store: Store, current: Descriptor, growth: Growth = Growth.AT_THE_END) -> Descriptor | None:
    """Compare with the descriptor that is there; None when the destination is still empty. Writes nothing.

    Args:
        store: The destination.
        current: As the job would be described today, its whole source as one extent.
        growth: Which growth of the source is followed.

    Returns:
        The dataset's descriptor, or what it becomes when its source has grown; the part size is that of the dataset.

    Raises:
        ConfigurationError: The destination holds another job, another source, or files that are no dataset of ours.
    """
    existing = read_descriptor(store)
    if existing is None:
        if store.is_empty():
            return None
        existing = read_descriptor(store)  # another process may have made it between the two looks
    if existing is None:
        raise ConfigurationError(
            f"the destination {store.root} is not empty and holds no dataset", hint="name a new or empty folder"
        )
    _refuse_another_job(store, existing, current)
    _refuse_another_source(store, existing, current)
    _refuse_other_rows(store, existing, current)
    return _extend(store, existing, current, growth)


def refuse_vanished(store: Store) -> None:
    """Make sure that the dataset is still there, before something is written that only it makes sense of.

    A disk that is not mounted any more leaves an empty folder behind: what is written there is lost.

    Raises:
        StorageError: There is no descriptor any more.
    """
    if not store.exists(DESCRIPTOR_FILE):
        raise StorageError(
            f"the dataset at {store.root} has vanished: {DESCRIPTOR_FILE} is not there any more",
            hint="bring the destination back (is it mounted?) and run again: what was received is kept in the journals",
        )


def is_stored(store: Store, descriptor: Descriptor) -> bool:
    """Return whether a descriptor is at the destination already, or one that has grown from it."""
    existing = read_descriptor(store)
    return existing is not None and len(existing.source) >= len(descriptor.source)


def create_or_extend_descriptor(
    store: Store, descriptor: Descriptor, *, lock: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Descriptor:
    """Create the descriptor, or put one that has grown in place of that which is there.

    Args:
        store: The destination.
        descriptor: What ``check_descriptor`` gave, or a new one.
        lock: Keeps other processes from growing the dataset at the same time.

    Returns:
        What holds for this job; what is there may have grown beyond it since.

    Raises:
        ConfigurationError: As ``check_descriptor``.
        StorageError: It cannot be written, or another process grows the dataset right now.
    """
    if not store.exists(DESCRIPTOR_FILE) and store.create(DESCRIPTOR_FILE, descriptor.to_json()):
        return descriptor
    existing = _reconcile(store, descriptor)
    if existing is not descriptor:
        return existing
    with lock():
        existing = _reconcile(store, descriptor)
        if existing is descriptor:
            store.remove(MANIFEST_FILE)  # first, so that a dataset is never sealed with parts that are not done
            store.write(DESCRIPTOR_FILE, descriptor.to_json())
    return existing


def _reconcile(store: Store, descriptor: Descriptor) -> Descriptor:
    """Return what holds: ``descriptor`` itself where it has grown from what is there, else that, as far as wanted."""
    existing = read_descriptor(store) or descriptor
    _refuse_another_job(store, existing, descriptor)
    files = min(len(existing.source), len(descriptor.source))
    if existing.source[:files] == descriptor.source[:files]:
        if len(existing.source) < len(descriptor.source):
            return descriptor
        earlier = existing.with_first_files(files)
        if earlier is not None:
            return earlier
    _refuse_another_source(store, existing, descriptor)
    raise ConfigurationError(f"the dataset at {store.root} has grown otherwise meanwhile", hint="run it again")


def _refuse_another_job(store: Store, existing: Descriptor, current: Descriptor) -> None:
    names = sorted(name for name in {*existing.job, *current.job} if existing.job.get(name) != current.job.get(name))
    if names:
        hints = "".join(_SETTING_HINTS.get(name, "") for name in names)
        differences = "; ".join(f"{n} is {existing.job.get(n)!r} there and {current.job.get(n)!r} now" for n in names)
        raise ConfigurationError(
            f"the dataset at {store.root} is of another job: {differences}",
            hint=f"use the same settings to go on with it{hints}, or another destination",
        )


_SETTING_HINTS = {
    "hive": " (--hive off, where it was made without the columns of folders), --rebuild it",
    "int96_unit": " (INT96 timestamps beyond 2262 wrapped in it), --rebuild it: what is unchanged is not bought again",
}


def _refuse_another_source(store: Store, existing: Descriptor, current: Descriptor) -> None:
    existing_files, current_files = _by_path(existing), _by_path(current)
    changes = [
        *(f"{path!r} is gone" for path in existing_files.keys() - current_files.keys()),
        *(
            f"{path!r} has changed"
            for path in existing_files.keys() & current_files.keys()
            if existing_files[path] != current_files[path]
        ),
    ]
    if not changes:
        return
    changes += [f"{path!r} is new" for path in current_files.keys() - existing_files.keys()]
    raise ConfigurationError(
        f"the source of the dataset at {store.root} has changed: {_summarize(changes)}",
        hint="restore the source to go on with it, use another destination, or --rebuild it: what is unchanged is then "
        "not bought again",
    )


def _refuse_other_rows(store: Store, existing: Descriptor, current: Descriptor) -> None:
    """Make sure that a descriptor of the same job and files is of as many rows: else it is damaged."""
    existing_files = _by_path(existing)
    new_rows = sum(file["rows"] for file in current.source if file["path"] not in existing_files)
    is_pilot = existing.job.get("limit") is not None or existing.job.get("sample") is not None
    if existing.rows != (existing.rows if is_pilot and new_rows else current.rows - new_rows):
        raise StorageError(
            f"{store.describe(DESCRIPTOR_FILE)} is damaged: it tells of {existing.rows} rows, "
            f"and its source has {current.rows}",
            hint="restore it from a copy",
        )


def _extend(store: Store, existing: Descriptor, current: Descriptor, growth: Growth) -> Descriptor:
    existing_files = _by_path(existing)
    new_files = [file for file in current.source if file["path"] not in existing_files]
    if not new_files or growth is Growth.NONE:
        return existing
    listing = _summarize([f"{file['path']!r} is new" for file in new_files])
    if existing.job.get("limit") is not None or existing.job.get("sample") is not None:
        raise ConfigurationError(
            f"the source of the dataset at {store.root} has grown, but a pilot (--limit, --sample) cannot: {listing}",
            hint="use another destination, with --reuse of this one, or --rebuild it",
        )
    if growth is Growth.AT_THE_END and new_files[0]["path"] < max(existing_files, default=""):
        raise ConfigurationError(
            f"the source of the dataset at {store.root} has grown in between: {listing}",
            hint="use --append to take the rows of new files in behind the old ones, wherever the files stand",
        )
    rows = sum(file["rows"] for file in new_files)
    extent = Extent(rows, max(existing.part_rows, -(-rows // MAX_PARTS)), len(new_files))
    return replace(
        existing,
        rows=existing.rows + rows,
        source=[*existing.source, *new_files],
        later_extents=(*existing.later_extents, extent),
    )


def _by_path(descriptor: Descriptor) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in descriptor.source}


def _summarize(changes: list[str]) -> str:
    return "; ".join(sorted(changes)[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")


def _hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
