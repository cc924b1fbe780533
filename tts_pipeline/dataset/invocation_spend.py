"""Say what dead invocations spent of a dataset, attempt by attempt, from its journals and its usage."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.dataset.names import part_name
from tts_pipeline.dataset.part_journals import read_journal
from tts_pipeline.dataset.usage_files import committed_journals, open_claims
from tts_pipeline.storage.parquet import read_columns
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.journal import SUFFIX

_COLUMNS = [
    "invocation_id",
    "utterance_id",
    "started_at",
    "characters_upper_bound",
    "characters_billed",
    "cost_upper_bound",
    "cost",
]


class AttemptSpend(NamedTuple):
    """What one attempt may have cost at most, and what of it is confirmed; money is None without a price."""

    started_at_us: int
    characters_upper_bound: int
    characters_billed: int
    cost_upper_bound: Decimal | None
    cost: Decimal | None


def spend_of_invocations(
    store: Store, journals: Path, invocation_ids: Collection[str], has_ended: Callable[[str, str], bool]
) -> dict[str, list[AttemptSpend]]:
    """Return the attempts of invocations by id; one whose attempts are not all known by now is missing.

    It may still send, its journal may be elsewhere, or damaged, or a claim may stand for its attempts. Nothing is known
    of one that has left neither a claim nor usage.
    ``has_ended`` returns whether an invocation has ended its work on a part. Blocking.

    Raises:
        StorageError: A journal or a usage file cannot be read.
    """
    # Claims first, then usage: usage is published before its claim is removed, so one of the two is always seen.
    claims = [each for each in open_claims(store, ()) if each[1].invocation_id in invocation_ids]
    published = committed_journals(store)
    spend: dict[str, list[AttemptSpend]] = {invocation_id: [] for invocation_id in invocation_ids}
    seen = {claim.invocation_id for _, claim in claims}
    for number, claim in claims:
        path = journals / f"{part_name(number)}-{claim.journal_id}{SUFFIX}"
        if not has_ended(part_name(number), claim.invocation_id):
            spend.pop(claim.invocation_id, None)
        elif path.stem not in published and claim.invocation_id in spend:
            attempts = _in_journal(store, path)
            if attempts is None:
                del spend[claim.invocation_id]
            else:
                spend[claim.invocation_id] += attempts
    for name in sorted(published) if spend else ():
        for invocation_id, attempt in _in_usage(store, f"usage/{name}.parquet", spend.keys()):
            if attempt is None:
                spend.pop(invocation_id, None)
            elif invocation_id in spend:
                spend[invocation_id].append(attempt)
                seen.add(invocation_id)
    return {invocation_id: attempts for invocation_id, attempts in spend.items() if invocation_id in seen}


def _in_journal(store: Store, path: Path) -> list[AttemptSpend] | None:
    """Return the attempts of a journal; None if it is not here, or if damage hides some."""
    replay = read_journal(store, path, check_payloads=False) if path.exists() else None
    if replay is None or not (replay.unaccounted is None or replay.unaccounted.is_nothing):
        return None
    return [_spend_of(*each) for each in replay.attempts.values()]


def _spend_of(attempt: Attempt, settlement: Settlement | None) -> AttemptSpend:
    if settlement is None:
        cost = None if attempt.cost_upper_bound is None else Decimal(0)
        return AttemptSpend(attempt.started_at_us, attempt.characters_upper_bound, 0, attempt.cost_upper_bound, cost)
    return AttemptSpend(
        attempt.started_at_us,
        settlement.characters_upper_bound,
        settlement.characters_billed,
        settlement.cost_upper_bound,
        settlement.cost,
    )


def _in_usage(store: Store, name: str, invocation_ids: Collection[str]) -> Iterator[tuple[str, AttemptSpend | None]]:
    """Yield the attempts of invocations; None for the amount of a claim, of which nobody knows when it was spent."""
    data = store.read(name)
    if data is None:
        return
    with storage_errors(f"reading {store.describe(name)}", Exception):
        table = read_columns(data, _COLUMNS)
        table = table.filter(pc.is_in(table["invocation_id"], pa.array(invocation_ids, pa.string())))
        columns = [table[column].to_pylist() for column in _COLUMNS]
        columns[2] = table["started_at"].cast("int64").to_pylist()
    for invocation_id, utterance_id, *spend in zip(*columns, strict=True):
        yield invocation_id, None if utterance_id is None else AttemptSpend(*spend)
