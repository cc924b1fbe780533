"""Describe a dataset in ``dataset.json``: its job, its source and the size of its parts."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson

from tts_pipeline.config import MAX_DESCRIPTOR_GENERATIONS, MAX_DESCRIPTOR_PARTS, MAX_PARTS, PART_ROWS
from tts_pipeline.dataset.price_rows import check_price_row
from tts_pipeline.dataset.totals import parse_totals
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.storage.json_files import JsonFields, json_bytes, read_fields, sha256_of
from tts_pipeline.storage.store import Store

FORMAT_VERSION = 1
DESCRIPTOR_FILE = "dataset.json"
MANIFEST_FILE = "parts.json"
"""The manifest: written when all parts are done; while it exists, nothing is left to do."""

_TEXTS = frozenset({"service", "model", "text_column", "audio_format"})
_OBJECTS = frozenset({"parameters", "columns", "rename", "query", "headers"})


@dataclass(frozen=True, slots=True)
class Extent:
    """Consecutive source files that were added at the same time, divided into parts of their own.

    The last part may have fewer rows than ``part_rows``.
    """

    rows: int
    part_rows: int
    files: int

    @property
    def parts(self) -> int:
        """The number of parts."""
        return -(-self.rows // self.part_rows)


@dataclass(frozen=True)
class Descriptor:
    """The identity of a dataset: its rows, its job, its source and its prices.

    ``job`` holds the settings that determine the dataset, not those of its execution. ``source`` has each file's
    relative path, size, rows and footer hash, in the order of the rows. ``generation`` counts from 1: a rebuild makes
    the next generation in the same place. ``carried_totals`` is the spending of earlier generations, as the JSON of
    ``Totals``; None means nothing. Extents and parts are computed once: a dataset may have thousands of them.
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
        """All extents, in the order of the rows."""
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
        """The number of parts; 0 for an empty source."""
        return self._part_ends[-1]

    def row_range(self, part: int) -> range:
        """Return the row numbers of a part among all rows of the dataset."""
        index = self._extent_of(part)
        extent = self.extents[index]
        first_part = self._part_ends[index] - extent.parts
        start, first_row = (part - first_part) * extent.part_rows, self._first_rows[index]
        return range(first_row + start, first_row + min(start + extent.part_rows, extent.rows))

    def _extent_of(self, part: int) -> int:
        return min(bisect.bisect_right(self._part_ends, part), len(self.extents) - 1)

    @cached_property
    def job_fingerprint(self) -> str:
        """The hash of the job's settings."""
        return sha256_of(self.job)

    @cached_property
    def source_fingerprint(self) -> str:
        """The hash of the source's files."""
        return sha256_of(self.source)

    @property
    def fingerprint(self) -> str:
        """The hash of the job and the source."""
        return sha256_of([self.job_fingerprint, self.source_fingerprint])

    def fingerprint_of(self, part: int) -> str:
        """Return the hash of the job and of the source up to a part's extent; growth does not change it.

        A journal of the part with another hash belongs to another dataset.
        """
        index = self._extent_of(part)
        if index not in self._fingerprints:
            files = sum(extent.files for extent in self.extents[: index + 1])
            self._fingerprints[index] = sha256_of([self.job_fingerprint, sha256_of(self.source[:files])])
        return self._fingerprints[index]

    @cached_property
    def _fingerprints(self) -> dict[int, str]:
        """The requested hashes, by extent: few extents have journals or open parts."""
        return {}

    def with_first_files(self, files: int) -> Descriptor | None:
        """Return this descriptor as it was with its first ``files`` files; None when it never had this number."""
        for count in range(len(self.later_extents) + 1):
            extents = self.extents[: count + 1]
            if sum(extent.files for extent in extents) == files:
                rows = sum(extent.rows for extent in extents)
                return replace(self, rows=rows, source=self.source[:files], later_extents=extents[1:])
        return None

    def to_json(self) -> bytes:
        """Return the contents of the descriptor's file."""
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
    """Read a destination's descriptor; return None when it has none.

    Raises:
        ConfigurationError: The file has another format version, or is not a descriptor of this package.
        StorageError: It is damaged.
    """
    data = store.read(DESCRIPTOR_FILE)
    return None if data is None else parse_descriptor(data, store.root)


def parse_descriptor(data: bytes, root: str, file_name: str = DESCRIPTOR_FILE) -> Descriptor:
    """Parse a descriptor, which may be damaged or hostile; root and file name appear in messages.

    Raises:
        ConfigurationError: The file has another format version, or is not a descriptor of this package.
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
        job=_JobSettings(fields),
        source=[_source_file(file) for file in fields.objects("source")],
        prices=[check_price_row(row) for row in fields.objects("prices")],
        later_extents=tuple(map(_read_extent, fields.objects("extents")[1:])) if "extents" in fields else (),
        generation=fields.count("generation", minimum=1, maximum=MAX_DESCRIPTOR_GENERATIONS)
        if "generation" in fields
        else 1,
        carried_totals=fields.object("carried").values if fields.values.get("carried") is not None else None,
    )
    _refuse_impossible(descriptor, fields)
    return descriptor


class _JobSettings(dict[str, Any]):
    """The job's settings in a descriptor; reading a setting that the file lacks raises a StorageError."""

    def __init__(self, descriptor: JsonFields) -> None:
        job = descriptor.object("job")
        super().__init__(job.values)
        for name in _TEXTS & self.keys():
            job.text(name)
        for name in _OBJECTS & self.keys():
            job.object(name)
        self._descriptor = descriptor

    def __missing__(self, name: str) -> Any:
        raise self._descriptor.damage_error(f"its job has no {name!r}")


def format_version_of(data: bytes) -> Any:
    """Return the format version that a JSON file states; None when it states none."""
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return values.get("format_version") if isinstance(values, dict) else None


def _source_file(file: JsonFields) -> dict[str, Any]:
    file.text("path")
    file.count("rows")
    return file.values


def _read_extent(values: JsonFields) -> Extent:
    return Extent(values.count("rows"), values.count("part_rows", minimum=1), values.count("files"))


def _refuse_impossible(descriptor: Descriptor, fields: JsonFields) -> None:
    """Refuse a descriptor whose numbers contradict each other, or whose derived values are wrong."""
    if descriptor.extents[0].rows < 0 or descriptor.extents[0].files < 0 or descriptor.parts > MAX_DESCRIPTOR_PARTS:
        raise fields.damage_error("its numbers of rows, files and parts contradict each other")
    parse_totals(fields.path, descriptor.carried_totals or {})
    for name in ("parts", "job_fingerprint", "source_fingerprint"):
        if name in fields and fields.values[name] != getattr(descriptor, name):
            raise fields.damage_error(f"{name!r} contradicts its other values")


def refuse_vanished(store: Store) -> None:
    """Refuse a destination whose descriptor has vanished, before a file of the dataset is written there.

    A disk that is no longer mounted leaves an empty folder behind: files written there are lost.
    """
    if not store.exists(DESCRIPTOR_FILE):
        raise StorageError(
            f"the dataset at {store.root} has vanished: its {DESCRIPTOR_FILE} is missing",
            hint="bring the destination back (is it mounted?) and run again: the journals keep all received audio",
        )
