"""Read and create the manifests of frozen months: what a month held, and which files hold it now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

import msgspec

from tts_pipeline.dataset.names import is_valid_name
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.ledger.layout import FROZEN, check_month, is_dataset_id, is_table_name
from tts_pipeline.ledger.runs import InstantUs
from tts_pipeline.models import Count
from tts_pipeline.storage.json_files import json_bytes, read_fields
from tts_pipeline.storage.store import Store

FORMAT = 1


class Interval(NamedTuple):
    """A period of time in microseconds since 1970; ``end_us`` does not belong to it."""

    start_us: int
    end_us: int

    def overlaps(self, start_us: int | None, end_us: int | None) -> bool:
        """Return whether it has an instant in common with a period, which may have no start and no end."""
        return (end_us is None or self.start_us < end_us) and (start_us is None or start_us < self.end_us)


class UsageRank(NamedTuple):
    """How much a usage file tells: of two files of one journal, the greater rank counts.

    A guess about a lost journal has no settled row, and a row for its whole claim.
    """

    settled: int
    minus_claims: int


class FrozenFile(msgspec.Struct, frozen=True, array_like=True):
    """A usage file that had rows in a month: its rows are in the month's tables.

    ``first_us`` and ``last_us`` are of all its rows; ``settled``, ``claims`` and ``unknown`` count rows by outcome.
    """

    dataset_id: str
    name: str
    size_bytes: Count
    first_us: InstantUs
    last_us: InstantUs
    settled: Count
    claims: Count
    unknown: Count

    @property
    def rank(self) -> UsageRank:
        """The rank among the files of its journal."""
        return UsageRank(self.settled, -self.claims)


class FrozenTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table of a frozen month, with the table of its sums if that is much smaller."""

    name: str
    rows: Count
    size_bytes: Count
    sums_name: str | None = None
    sums_rows: Count = 0


class CurrencyTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The sums of a month in one currency when it was frozen."""

    requests: Count
    characters_billed: Count
    characters_upper_bound: Count
    cost: Decimal | None
    cost_upper_bound: Decimal | None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The manifest of a frozen month. ``totals`` are by currency; empty text for none."""

    format: int = FORMAT
    month: str
    timezone: str
    start_us: InstantUs
    end_us: InstantUs
    frozen_at_us: InstantUs
    compaction: str
    files: Sequence[FrozenFile]
    tables: Sequence[FrozenTable]
    totals: Mapping[str, CurrencyTotals]

    @property
    def interval(self) -> Interval:
        """The frozen period."""
        return Interval(self.start_us, self.end_us)

    @property
    def rows(self) -> int:
        """The rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def table_names(self) -> set[str]:
        """The names of all tables in the month's folder."""
        names = ({table.name, table.sums_name} for table in self.tables)
        return {name for pair in names for name in pair if name is not None}

    def __str__(self) -> str:
        frozen_at = datetime.fromtimestamp(self.frozen_at_us / 1_000_000, UTC)
        return f"{self.month} ({self.timezone}), frozen {frozen_at:%Y-%m-%d %H:%M} UTC"


def manifest_path(month: str) -> str:
    """Return the path of a month's manifest."""
    return f"{FROZEN}/{month}.json"


def manifest_months(store: Store) -> list[str]:
    """Return the months that have a manifest, in order. Blocking."""
    names = [name for name in store.names(FROZEN) if name.endswith(".json")]
    return [check_month(name.removesuffix(".json"), store.describe(f"{FROZEN}/{name}")) for name in names]


def create_manifest(store: Store, manifest: Manifest) -> bool:
    """Write a month's manifest unless there is one; return whether it was written. Blocking."""
    return store.create(manifest_path(manifest.month), json_bytes(msgspec.to_builtins(manifest)))


def read_manifest(store: Store, month: str) -> Manifest | None:
    """Return a month's manifest; None without one. Blocking.

    Raises:
        ConfigurationError: A later program has written it.
        StorageError: It is damaged, or names files that cannot be its own.
    """
    data = store.read(manifest_path(month))
    if data is None:
        return None
    fields = read_fields(data, store.describe(manifest_path(month)), "restore it: it says what the month holds")
    if fields.count("format", minimum=1) > FORMAT:
        raise newer_format(fields.path)
    try:
        manifest = msgspec.convert(fields.values, Manifest)
    except msgspec.ValidationError as error:
        raise fields.damage_error(str(error)) from error
    if manifest.month != month or manifest.start_us >= manifest.end_us:
        raise fields.damage_error(f"it is of the month {manifest.month!r}")
    for file in manifest.files:
        if not (is_dataset_id(file.dataset_id) and is_valid_name("usage", file.name) and file.first_us <= file.last_us):
            raise fields.damage_error(f"it lists the usage file {file.name!r} of {file.dataset_id!r}")
    for name in manifest.table_names:
        if not is_table_name(name):
            raise fields.damage_error(f"it lists the table {name!r}")
    return manifest


def newer_format(location: str) -> ConfigurationError:
    """Return the error for a file of a later program."""
    return ConfigurationError(
        f"{location} is of a later version of tts-pipeline", hint="install that version to use this ledger"
    )


def refuse_overlap(manifests: Sequence[Manifest]) -> None:
    """Check that no instant is frozen twice.

    Raises:
        StorageError: Two months overlap.
    """
    ordered = sorted(manifests, key=lambda manifest: manifest.start_us)
    for earlier, later in pairwise(ordered):
        if later.start_us < earlier.end_us:
            raise StorageError(
                f"two frozen months of the ledger overlap: {earlier} and {later}",
                hint="if a compaction is running, try again in a minute; else restore the folder frozen/",
            )
