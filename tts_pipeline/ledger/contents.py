"""Find out which files of a ledger hold the usage of a period, and which of their rows count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tts_pipeline.dataset.names import parse_journal_id
from tts_pipeline.ledger.datasets import KnownDatasets
from tts_pipeline.ledger.layout import (
    SETTLEMENTS,
    USAGE,
    foreign_name,
    is_settlement_name,
    opened_at_us,
    parse_usage_path,
    usage_path,
)
from tts_pipeline.ledger.manifest import FrozenFile, Interval, Manifest, refuse_overlap
from tts_pipeline.ledger.records import Records
from tts_pipeline.ledger.usage_facts import rank_of
from tts_pipeline.storage.store import Store

_Entry = tuple[Manifest, FrozenFile]

CLOCK_SLACK_US = 86_400_000_000
"""A clock that was set back gives a journal's rows earlier times than its id: by less than a day, we assume."""


@dataclass(frozen=True, slots=True)
class FrozenMonth:
    """A frozen month; rows of the ``replaced`` journals in it do not count: their real usage came later."""

    manifest: Manifest
    replaced: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawFile:
    """A usage file that is not frozen, or only in part: its rows in the ``frozen`` intervals do not count."""

    dataset_id: str
    name: str
    size_bytes: int
    frozen: tuple[Interval, ...] = ()

    @property
    def path(self) -> str:
        """Its path in the ledger."""
        return usage_path(self.dataset_id, self.name)


@dataclass(frozen=True, slots=True)
class LedgerContents:
    """What to read of a ledger for a period: see ``scan_ledger``.

    Args:
        store: The ledger's files.
        since_us: The start of the period, in microseconds since 1970; None without a start.
        until_us: The end of the period, which does not belong to it; None without an end.
        months: The frozen months that overlap the period.
        files: Usage files with rows that may be in the period.
        settlements: The paths of all settlements.
        frozen: All frozen intervals: a row of ``files`` in one of these is a correction.
        destinations: The place of each dataset, by its id.
    """

    store: Store
    since_us: int | None
    until_us: int | None
    months: tuple[FrozenMonth, ...]
    files: tuple[RawFile, ...]
    settlements: tuple[str, ...]
    frozen: tuple[Interval, ...]
    destinations: Mapping[str, str]


def read_contents(records: Records, since_us: int | None = None, until_us: int | None = None) -> LedgerContents:
    """List a ledger, and choose what to read for a period. Blocking.

    A compaction that ends meanwhile is seen whole or not at all: usage is listed before the manifests, which are
    created before usage is removed.

    Raises:
        StorageError: The ledger cannot be read, is damaged, or holds foreign names.
    """
    store, datasets = records.store, records.datasets
    copies = list_usage(store)
    settlements = tuple(f"{SETTLEMENTS}/{name}" for name in store.names(SETTLEMENTS))
    for path in settlements:
        if not is_settlement_name(path.partition("/")[2]):
            raise foreign_name(store, path)
    months = records.manifests.read()
    refuse_overlap(months)
    destinations = datasets.read()
    entries = _frozen_files(months)
    replaced = {name: _replaced_months(_best(files), files) for name, files in entries.items()}
    files: list[RawFile] = []
    for name, sizes in copies.items():
        if name not in entries:
            if not _is_opened_after(name, until_us):
                files.append(_choose_copy(store, name, sizes, datasets))
            continue
        file, best = _choose_copy(store, name, sizes, datasets), _best(entries[name])
        if file.size_bytes == best.size_bytes:
            frozen = tuple(month.interval for month, entry in entries[name] if entry.size_bytes == file.size_bytes)
            if not _has_nothing_left(best, frozen, since_us, until_us):
                files.append(replace(file, frozen=frozen))
        elif rank_of(store, file.path) > best.rank:
            replaced[name] = {month.month for month, _ in entries[name]}
            files.append(file)
    return LedgerContents(
        store,
        since_us,
        until_us,
        tuple(
            FrozenMonth(month, tuple(parse_journal_id(name) for name in replaced if month.month in replaced[name]))
            for month in months
            if month.interval.overlaps(since_us, until_us)
        ),
        tuple(files),
        settlements,
        tuple(month.interval for month in months),
        destinations,
    )


def has_lost_files(contents: LedgerContents) -> bool:
    """Return whether usage files were removed since the contents were listed. Blocking."""
    return not {file.path.partition("/")[2] for file in contents.files}.issubset(contents.store.sizes(USAGE))


def list_usage(store: Store) -> dict[str, dict[str, int]]:
    """Return the sizes in bytes of all usage files, by name, then by the dataset's id. Blocking."""
    copies: dict[str, dict[str, int]] = defaultdict(dict)
    for path, size_bytes in store.sizes(USAGE).items():
        dataset_id, name = parse_usage_path(path, store)
        copies[name][dataset_id] = size_bytes
    return copies


def is_within(first_us: int, last_us: int, intervals: Iterable[Interval]) -> bool:
    """Return whether all instants from the first to the last one are in one of the intervals."""
    for interval in sorted(intervals):
        if interval.start_us <= first_us < interval.end_us:
            first_us = interval.end_us
    return first_us > last_us


def _is_opened_after(name: str, until_us: int | None) -> bool:
    opened_us = opened_at_us(name)
    return until_us is not None and opened_us is not None and opened_us >= until_us + CLOCK_SLACK_US


def _has_nothing_left(
    entry: FrozenFile, frozen: Sequence[Interval], since_us: int | None, until_us: int | None
) -> bool:
    """Return whether no row of a file that is frozen in part can be in the period and count."""
    is_outside = not Interval(entry.first_us, entry.last_us + 1).overlaps(since_us, until_us)
    return is_outside or is_within(entry.first_us, entry.last_us, frozen)


def _choose_copy(store: Store, name: str, sizes: Mapping[str, int], datasets: KnownDatasets) -> RawFile:
    """Return the copy of a usage file that counts: datasets are copied, with their bill, and counted once."""
    files = [RawFile(dataset_id, name, size_bytes) for dataset_id, size_bytes in sizes.items()]
    if len(files) == 1:
        return files[0]
    files.sort(key=lambda file: (datasets.first_seen_us(file.dataset_id), file.dataset_id))
    if len(set(sizes.values())) > 1:
        files.sort(key=lambda file: rank_of(store, file.path), reverse=True)
    return files[0]


def _frozen_files(months: Iterable[Manifest]) -> dict[str, list[_Entry]]:
    """Return the frozen usage files with the months that list them, by name."""
    entries: dict[str, list[_Entry]] = defaultdict(list)
    for month in months:
        for file in month.files:
            entries[file.name].append((month, file))
    return entries


def _best(entries: Sequence[_Entry]) -> FrozenFile:
    """Return the file that tells most of its journal: real usage may have replaced a guess between two compactions."""
    return max((file for _, file in entries), key=lambda file: file.rank)


def _replaced_months(best: FrozenFile, entries: Sequence[_Entry]) -> set[str]:
    return {month.month for month, file in entries if file.size_bytes != best.size_bytes}
