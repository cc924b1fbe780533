"""Freeze a month: write its rows from many small files to a few sorted tables.

The steps, of which each leaves a ledger with the same sums when the process dies after it:

1. The tables are written. Nobody reads them, as no manifest lists them.
2. The manifest is created, unless there is one. From now on the tables count, and rows of the month in the files that
   the manifest lists do not.
3. Usage files of which all rows are frozen are removed, and so are tables that a killed process, or the loser of step
   2, has left in months that have a manifest.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Self

from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.ledger.contents import is_within, list_usage, read_contents
from tts_pipeline.ledger.layout import FROZEN, usage_path
from tts_pipeline.ledger.manifest import FrozenFile, Interval, Manifest, create_manifest, manifest_path, refuse_overlap
from tts_pipeline.ledger.month_rows import MonthRows
from tts_pipeline.ledger.records import Records
from tts_pipeline.ledger.runs import RunStart, merge_ended_runs, read_open_runs
from tts_pipeline.ledger.table_writer import TableWriter
from tts_pipeline.periods import period_of
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.store import Store


@dataclass(frozen=True, slots=True)
class CompactResult:
    """What a compaction did.

    Args:
        manifest: The manifest of the month.
        was_frozen: Whether the month had been frozen before: then only leftovers were removed.
        removed_files: The usage files that were removed, as all of their rows are frozen.
        open_runs: Runs that began before the month's end and have not ended: their late rows will be corrections.
    """

    manifest: Manifest
    was_frozen: bool
    removed_files: int
    open_runs: tuple[RunStart, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a time zone: its name such as ``2026-11``, and when it begins and ends."""

    name: str
    timezone: str
    interval: Interval

    @classmethod
    def of(cls, name: str, timezone: str) -> Self:
        """Return the month of a name.

        Raises:
            ConfigurationError: It is no month, or the time zone is not known.
        """
        match = re.fullmatch(r"([1-9]\d{3})-(0[1-9]|1[0-2])", name, re.ASCII)
        if match is None:
            raise ConfigurationError(f"{name!r} is not a month", hint="give a year and a month, such as 2026-11")
        middle = datetime(int(match[1]), int(match[2]), 15, tzinfo=UTC)
        period = period_of("month", timezone, middle, "")
        assert period.start_us is not None
        assert period.end_us is not None
        return cls(name, timezone, Interval(period.start_us, period.end_us))

    def overlap_error(self, other: Manifest) -> ConfigurationError:
        """Return the error for a frozen month that has an instant in common with this one."""
        return ConfigurationError(
            f"the month {self.name} of {self.timezone} overlaps {other}",
            hint=f"freeze all months in one time zone: {other.timezone}",
        )


def compact_month(records: Records, month: Month, now_us: int) -> CompactResult:
    """See ``Ledger.compact``. Blocking."""
    existing = _existing(records.manifests.read(), month)
    if existing is None and now_us < month.interval.end_us:
        raise ConfigurationError(
            f"the month {month.name} of {month.timezone} has not ended", hint="compact it when it is over"
        )
    manifest = existing or _freeze(records, month)
    merge_ended_runs(records.store, *month.interval, _unique_name())
    return CompactResult(
        manifest,
        was_frozen=existing is not None,
        removed_files=_remove_leftovers(records),
        open_runs=tuple(
            start for start in read_open_runs(records.store) if start.started_at_us < month.interval.end_us
        ),
    )


def _existing(manifests: Sequence[Manifest], month: Month) -> Manifest | None:
    """Return the month's manifest; refuse a month that overlaps another frozen one."""
    refuse_overlap(manifests)
    for manifest in manifests:
        if manifest.month == month.name and manifest.interval == month.interval:
            return manifest
        if manifest.interval.overlaps(*month.interval):
            raise month.overlap_error(manifest)
    return None


def _freeze(records: Records, month: Month) -> Manifest:
    """Write the tables of a month, then its manifest; return that, or another process's."""
    store = records.store
    rows = MonthRows(read_contents(records, *month.interval), month.interval)
    compaction = _unique_name()
    with TableWriter(store, f"{FROZEN}/{month.name}", compaction) as writer:
        for frame in rows.sorted_frames():
            writer.write(frame)
    manifest = Manifest(
        month=month.name,
        timezone=month.timezone,
        start_us=month.interval.start_us,
        end_us=month.interval.end_us,
        frozen_at_us=time.time_ns() // 1_000,
        compaction=compaction,
        files=rows.files,
        tables=writer.tables,
        totals=writer.totals,
    )
    if not create_manifest(store, manifest):
        return _winner(records, month)  # whose leftovers our tables are
    for other in records.manifests.read():
        if other.compaction != compaction and other.interval == month.interval and other.month == month.name:
            return other  # a store without create-if-absent lets both processes write it
        if other.compaction != compaction and other.interval.overlaps(*month.interval):
            # Two months of different time zones were begun at the same time: both processes may come here.
            store.remove(manifest_path(month.name))
            records.manifests.forget(month.name)
            _remove_tables(store, manifest)
            raise month.overlap_error(other)
    records.manifests.confirm(manifest)
    return manifest


def _unique_name() -> str:
    return f"{time.time_ns():016x}{token_hex(4)}"


def _winner(records: Records, month: Month) -> Manifest:
    """Return the manifest of a process that has frozen the month meanwhile."""
    manifest = _existing(records.manifests.read(), month)
    if manifest is None:
        raise StorageError(
            f"another process has begun to freeze {month.name}, and has given up", hint="run the same command again"
        )
    return manifest


def _remove_tables(store: Store, manifest: Manifest) -> None:
    for name in manifest.table_names:
        store.remove(f"{FROZEN}/{manifest.month}/{name}")


def _remove_leftovers(records: Records) -> int:
    """Remove what no reader needs any more; return the number of usage files."""
    store, months = records.store, records.manifests.read()
    frozen: dict[tuple[str, int], list[Interval]] = defaultdict(list)
    final: dict[tuple[str, int], FrozenFile] = {}
    for month in months:
        folder = f"{FROZEN}/{month.month}"
        for name in set(store.names(folder)) - month.table_names:
            store.remove(f"{folder}/{name}")
        if not records.manifests.is_confirmed(month):
            continue
        for file in month.files:
            frozen[file.name, file.size_bytes].append(month.interval)
            final[file.name, file.size_bytes] = file
    paths = [
        usage_path(dataset_id, name)
        for name, sizes in list_usage(store).items()
        for dataset_id, size_bytes in sizes.items()
        if (name, size_bytes) in final and _is_final(final[name, size_bytes], frozen[name, size_bytes])
    ]
    with DaemonExecutor(FILE_READERS, "ledger") as removers:
        list(removers.map(store.remove, paths))
    return len(paths)


def _is_final(file: FrozenFile, intervals: Sequence[Interval]) -> bool:
    """Return whether a file holds nothing that is not frozen, and will never be replaced.

    Only a file with unknown rows is ever replaced, by the real usage of its journal. It stays, because a process may
    replace it at this very moment.
    """
    return file.unknown == 0 and is_within(file.first_us, file.last_us, intervals)
