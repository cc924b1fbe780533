"""Compute the upper bound of a dataset's spending so far, from which a budget starts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, Descriptor
from tts_pipeline.dataset.finalize import committed_parts, costs_by_part, read_markers
from tts_pipeline.dataset.names import parse_journal_id, parse_part_number, part_name
from tts_pipeline.dataset.part_journals import journal_cost, read_journal
from tts_pipeline.dataset.totals import parse_totals
from tts_pipeline.dataset.usage_files import claim_cost, committed_journals, open_claims, usage_cost
from tts_pipeline.errors import StorageError
from tts_pipeline.money import Cost, sum_of
from tts_pipeline.storage.file_lock import is_locked
from tts_pipeline.storage.store import Store
from tts_pipeline.wal.journal import SUFFIX
from tts_pipeline.wal.replay import Replay

EARLIER_GENERATIONS = -1
"""The key, in place of a part's number, for the spending of earlier generations."""


def total_spend(store: Store, descriptor: Descriptor, journals: Path, locks: Path) -> Cost:
    """Add up the confirmed and the possible cost of a dataset over all invocations; see ``DatasetSpend``. Blocking."""
    return sum_of(DatasetSpend(store, descriptor, journals, locks).by_part().values())


class DatasetSpend:
    """The upper bound of a dataset's spending over all invocations; ``refresh`` counts it again. Blocking.

    It is the sum of the published usage, the local journals whose usage is not published, and the open claims whose
    journal is neither local nor published, or is local and still written to. Unknown costs count at their bound.
    """

    def __init__(self, store: Store, descriptor: Descriptor, journals: Path, locks: Path) -> None:
        self._store = store
        self._by_part = defaultdict[int, Cost](Cost)
        # Claims first, then usage: usage is published before its claim is removed, so one of the two is always seen.
        self._claims = list(open_claims(store, ()))
        self._counted_journals = committed_journals(store)
        self._by_part[EARLIER_GENERATIONS].add(
            parse_totals(store.describe(DESCRIPTOR_FILE), descriptor.carried_totals or {})
        )
        for number, cost in costs_by_part(store, read_markers(store, committed_parts(store, descriptor))):
            self._by_part[number].add(cost)
        self._add_journals(journals, locks)

    def _add_journals(self, journals: Path, locks: Path) -> None:
        for path in sorted(journals.glob(f"part-*{SUFFIX}")):
            number = parse_part_number(path.name)
            if is_locked(locks / f"{part_name(number)}.lock"):
                continue  # it may still be written to: its claim counts
            replay = None if path.stem in self._counted_journals else _read_unless_removed(self._store, path)
            if replay is not None:  # else its usage is published, or only its claim is known
                self._by_part[number].add(journal_cost(replay))
                self._counted_journals.add(path.stem)

    def by_part(self) -> dict[int, Cost]:
        """Return the spending at the last count by part number, or ``EARLIER_GENERATIONS``.

        Parts without spending may be missing.
        """
        by_part = defaultdict(Cost, {number: sum_of([cost]) for number, cost in self._by_part.items()})
        for number, claim in self._claims:
            if f"{part_name(number)}-{claim.journal_id}" not in self._counted_journals:
                by_part[number].add(claim_cost(claim))
        return dict(by_part)

    def refresh(self, own_journals: Collection[str]) -> dict[int, Cost]:
        """Count new usage and the open claims, without the caller's own journals; return the spending by part."""
        self._claims = [claim for claim in open_claims(self._store, ()) if claim[1].journal_id not in own_journals]
        for name in sorted(committed_journals(self._store) - self._counted_journals):
            usage = f"usage/{name}.parquet"
            if parse_journal_id(name) not in own_journals and (data := self._store.read(usage)) is not None:
                self._by_part[parse_part_number(name)].add(usage_cost(data, self._store.describe(usage)))
            self._counted_journals.add(name)
        return self.by_part()


def _read_unless_removed(store: Store, path: Path) -> Replay | None:
    try:
        return read_journal(store, path, check_payloads=False)
    except StorageError:
        if path.exists():
            raise
        return None  # its owner has just published it
