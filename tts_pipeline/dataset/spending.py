"""Compute the upper bound of a dataset's spending so far, from which a budget starts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from tts_pipeline.dataset.claims import Claim
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, Descriptor
from tts_pipeline.dataset.finalize import committed_parts, read_markers, totals_of_marker
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

_USAGE = "usage/"


def total_spend(store: Store, descriptor: Descriptor, journals: Path, locks: Path) -> Cost:
    """Add up the confirmed and the possible cost of a dataset over all invocations; see ``DatasetSpend``. Blocking."""
    return DatasetSpend(store, descriptor, journals, locks).total()


class DatasetSpend:
    """The upper bound of a dataset's spending over all invocations; ``refresh`` counts it again. Blocking.

    It is the sum of the published usage, the local journals whose usage is not published, and the open claims whose
    journal is neither local nor published, or is local and still written to. Unknown costs count at their bound.
    """

    def __init__(self, store: Store, descriptor: Descriptor, journals: Path, locks: Path) -> None:
        self._store = store
        self._journals = journals
        self._dead_journals: set[str] = set()
        # Claims first, then usage: usage is published before its claim is removed, so one of the two is always seen.
        self._claims = list(open_claims(store, ()))
        self._counted = Cost()
        self._counted.add(parse_totals(store.describe(DESCRIPTOR_FILE), descriptor.carried_totals or {}))
        self._counted_journals: set[str] = set()
        for marker in read_markers(store, committed_parts(store, descriptor)):
            self._counted.add(totals_of_marker(store, marker))
            usage_files = (name for name in marker["files"] if name.startswith(_USAGE))
            self._counted_journals.update(name.removeprefix(_USAGE).removesuffix(".parquet") for name in usage_files)
        self._count_new_usage(())
        for path in sorted(journals.glob(f"part-*{SUFFIX}")):
            # a journal of a part that is locked may still be written to: its claim counts
            if not is_locked(locks / f"{part_name(parse_part_number(path.name))}.lock"):
                self._add_journal(path)

    def _count_new_usage(self, own_journals: Collection[str]) -> None:
        for name in sorted(committed_journals(self._store) - self._counted_journals):
            usage = f"{_USAGE}{name}.parquet"
            if parse_journal_id(name) not in own_journals and (data := self._store.read(usage)) is not None:
                self._counted.add(usage_cost(data, self._store.describe(usage)))
            self._counted_journals.add(name)

    def _add_journal(self, path: Path) -> None:
        replay = None if path.stem in self._counted_journals else _read_unless_removed(self._store, path)
        if replay is not None:  # else its usage is published, or only its claim is known
            self._counted.add(journal_cost(replay))
            self._counted_journals.add(path.stem)

    def total(self) -> Cost:
        """Return the spending at the last count."""
        return sum_of([self._counted, *(claim_cost(claim) for _, claim in self._uncounted_claims())])

    def _uncounted_claims(self) -> list[tuple[int, Claim]]:
        """Return the claims, with their parts, whose journal's spending is known by nothing else."""
        return [
            (number, claim)
            for number, claim in self._claims
            if f"{part_name(number)}-{claim.journal_id}" not in self._counted_journals
        ]

    def refresh(self, own_journals: Collection[str]) -> Cost:
        """Count new usage and the open claims, without the caller's own journals; return the spending."""
        self._claims = [claim for claim in open_claims(self._store, ()) if claim[1].journal_id not in own_journals]
        self._count_new_usage(own_journals)
        for number, claim in self._uncounted_claims():
            path = self._journals / f"{part_name(number)}-{claim.journal_id}{SUFFIX}"
            if claim.journal_id in self._dead_journals and path.exists():
                self._add_journal(path)
        return self.total()

    def may_shrink(self, has_ended: Callable[[str, str], bool]) -> bool:
        """Return whether a claim at the last count may be lowered yet: its process lives, and does not wait. Blocking.

        ``has_ended`` returns whether an invocation has ended its work on a part. A process may have lowered its claim
        just before it ended: so its claim is final only at the next count, by its journal where that is local.
        """
        open_claims = [
            (number, claim)
            for number, claim in self._uncounted_claims()
            if not claim.is_waiting and claim.journal_id not in self._dead_journals
        ]
        self._dead_journals.update(
            claim.journal_id for number, claim in open_claims if has_ended(part_name(number), claim.invocation_id)
        )
        return bool(open_claims)


def _read_unless_removed(store: Store, path: Path) -> Replay | None:
    try:
        return read_journal(store, path, check_payloads=False)
    except StorageError:
        if path.exists():
            raise
        return None  # its owner has just published it
