"""The dataset's descriptor: which job it is, of which source, in parts of which size. Made once, then compared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tts_pipeline.config import MAX_PARTS, PART_ROWS
from tts_pipeline.dataset.store import Store
from tts_pipeline.errors import ConfigurationError

FORMAT_VERSION = 1
NAME = "dataset.json"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What identifies a dataset.

    Args:
        rows: Rows taken from the source.
        part_rows: Rows in a part.
        job: What determines the dataset, by name; not how it is run.
        source: Each file's relative path, size, rows and footer hash.
        prices: Price rows in force when the dataset was made.
    """

    rows: int
    part_rows: int
    job: Mapping[str, Any]
    source: list[dict[str, Any]]
    prices: list[dict[str, Any]]

    @property
    def parts(self) -> int:
        """How many parts there are; an empty source has none."""
        return -(-self.rows // self.part_rows)

    def span(self, part: int) -> range:
        """Return the places (among the rows taken) of a part's rows."""
        return range(part * self.part_rows, min((part + 1) * self.part_rows, self.rows))

    @property
    def job_fingerprint(self) -> str:
        """Hash of what determines the dataset."""
        return _hash(self.job)

    @property
    def source_fingerprint(self) -> str:
        """Hash of the source's files."""
        return _hash(self.source)

    @property
    def fingerprint(self) -> str:
        """Hash of both: a journal with another one is not of this dataset."""
        return _hash([self.job_fingerprint, self.source_fingerprint])

    def to_json(self) -> bytes:
        """Return the descriptor's file."""
        return orjson.dumps(
            {
                "format_version": FORMAT_VERSION,
                "rows": self.rows,
                "part_rows": self.part_rows,
                "parts": self.parts,
                "job_fingerprint": self.job_fingerprint,
                "source_fingerprint": self.source_fingerprint,
                "job": self.job,
                "prices": self.prices,
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
    """
    data = store.read(NAME)
    if data is None:
        return None
    values = _loads(data)
    if values.get("format_version") != FORMAT_VERSION:
        raise ConfigurationError(
            f"the dataset at {store.root} is of format {values.get('format_version')!r}, not {FORMAT_VERSION}",
            hint="use the version of tts-pipeline that made it, or another destination",
        )
    return Descriptor(values["rows"], values["part_rows"], values["job"], values["source"], values["prices"])


def _loads(data: bytes) -> dict[str, Any]:
    try:
        values = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return values if isinstance(values, dict) else {}


def check_descriptor(store: Store, wanted: Descriptor) -> Descriptor | None:
    """Compare with the descriptor that is there; None when the destination is still empty. Writes nothing.

    Returns:
        The dataset's descriptor: its own part size holds.

    Raises:
        ConfigurationError: The destination holds another job, another source, or files that are no dataset of ours.
    """
    there = read_descriptor(store)
    if there is None:
        if store.is_empty():
            return None
        there = read_descriptor(store)  # another process may have made it between the two looks
    if there is None:
        raise ConfigurationError(
            f"the destination {store.root} is not empty and holds no dataset", hint="name a new or empty folder"
        )
    _refuse_another_job(store, there, wanted)
    _refuse_another_source(store, there, wanted)
    return there


def make_descriptor(store: Store, wanted: Descriptor) -> Descriptor:
    """Create the descriptor; when another process was first, compare with its.

    Raises:
        ConfigurationError: As ``check_descriptor``.
        StorageError: It cannot be written.
    """
    return wanted if store.create(NAME, wanted.to_json()) else (check_descriptor(store, wanted) or wanted)


def _refuse_another_job(store: Store, there: Descriptor, wanted: Descriptor) -> None:
    names = sorted(name for name in {*there.job, *wanted.job} if there.job.get(name) != wanted.job.get(name))
    if names:
        told = "; ".join(f"{n} is {there.job.get(n)!r} there and {wanted.job.get(n)!r} now" for n in names)
        raise ConfigurationError(
            f"the dataset at {store.root} is of another job: {told}",
            hint="use the same settings to go on with it, or another destination",
        )


def _refuse_another_source(store: Store, there: Descriptor, wanted: Descriptor) -> None:
    if there.source == wanted.source:
        return
    one = {file["path"]: file for file in there.source}
    two = {file["path"]: file for file in wanted.source}
    changes = [
        *(f"{path!r} is gone" for path in one.keys() - two.keys()),
        *(f"{path!r} is new" for path in two.keys() - one.keys()),
        *(f"{path!r} has changed" for path in one.keys() & two.keys() if one[path] != two[path]),
    ]
    shown = "; ".join(sorted(changes)[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
    raise ConfigurationError(
        f"the source of the dataset at {store.root} has changed: {shown}",
        hint="restore the source to go on with it, or use another destination",
    )


def _hash(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
