"""What runs that died left behind of parts that are done: accounted for, then removed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tts_pipeline.dataset.claims import HeldElsewhereError, claim_name
from tts_pipeline.dataset.descriptor import SEAL
from tts_pipeline.dataset.journal import SUFFIX, remove_journal
from tts_pipeline.dataset.journals import journals_of, read_journal, warn_of_damage
from tts_pipeline.dataset.lease import Leases
from tts_pipeline.dataset.names import file_names, journal_of, part_name, part_of
from tts_pipeline.dataset.publish import marker_name
from tts_pipeline.dataset.replay import Replay
from tts_pipeline.dataset.shipping import FOLDER as SHIPPED
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.takeover import remove_shipped, take_over
from tts_pipeline.dataset.usage_files import account_for_claims, is_guess, publish_usage_of, usage_name


def sweep(
    store: Store, journals: Path, leases: Leases, done: Collection[int], fingerprint_of: Callable[[int], str]
) -> None:
    """Account for what a kill left behind after a part was marked as done, and remove it.

    Mostly that is a journal whose usage is published. Where two processes had the part at a time, it may also be a
    journal or a claim that no usage tells of yet: it is published now, and the seal is broken, for the bill has grown.
    What another process has open stays, and so does a journal that is of another dataset.

    Args:
        store: The destination.
        journals: Where the journals are.
        leases: What this process holds.
        done: Parts with a marker.
        fingerprint_of: Tells the fingerprint that a part's journals have.

    Raises:
        StorageError: The destination or the disk failed, or a journal is of another version.
    """
    left = _claimed_or_journalled(store, journals)
    left |= {number: [] for number in map(part_of, leases.leased_parts()) if number not in left}
    for number, claims in left.items():
        if number not in done:
            continue
        with ExitStack() as held:
            try:
                held.enter_context(leases.hold(part_name(number)))
            except HeldElsewhereError:
                continue  # whoever has it accounts for it
            told = {journal_of(name) for name in file_names(store, SHIPPED, f"{part_name(number)}-")}
            take_over(store, journals, number, but=told - {journal_of(name) for name in claims})
            accounted = _account(store, number, _replays(store, journals, number, fingerprint_of(number)), claims)
            with storage_errors(f"removing journals of {part_name(number)}"):
                for path in accounted:
                    remove_journal(path)
            remove_shipped(store, number)


def account_for_all(store: Store, journals: Path, leases: Leases) -> None:
    """Publish the usage of a dataset that nobody will go on with: of all its journals and claims. The journals stay.

    Args:
        store: The destination.
        journals: Where the journals are.
        leases: What this process holds.

    Raises:
        StorageError: The destination or the disk failed, a journal is of another version, or another process still
            works on one of the parts.
    """
    for number, claims in _claimed_or_journalled(store, journals).items():
        with leases.hold(part_name(number), patiently=True):
            take_over(store, journals, number)
            _account(store, number, _replays(store, journals, number, None), claims)


def _claimed_or_journalled(store: Store, journals: Path) -> dict[int, list[str]]:
    """Return the parts that have a claim or a journal, here or shipped, with their claims."""
    claims = defaultdict[int, list[str]](list)
    for name in file_names(store, "claims"):
        claims[part_of(name)].append(f"claims/{name}")
    for name in (*(path.name for path in journals.glob(f"part-*{SUFFIX}")), *file_names(store, SHIPPED)):
        claims[part_of(name)] += []
    return dict(sorted(claims.items()))


def _replays(store: Store, journals: Path, number: int, fingerprint: str | None) -> dict[Path, Replay | None]:
    found = {path: read_journal(store, path, check_payloads=False) for path in journals_of(journals, number)}
    for path, one in found.items():
        if one is not None:
            warn_of_damage(path, one)
    return {
        path: one
        for path, one in found.items()
        if fingerprint is None or one is None or one.header["dataset_fingerprint"] == fingerprint
    }


def _account(store: Store, number: int, found: Mapping[Path, Replay | None], claims: Sequence[str]) -> Collection[Path]:
    """Publish what no usage tells of yet, and remove the claims that are told in full; return the journals."""
    replays = [one for one in found.values() if one is not None]
    here = {one.journal_id for one in replays}
    spent = {one.journal_id for one in replays if one.attempts} | ({journal_of(name) for name in claims} - here)
    is_better_known = any(is_guess(store, number, one) for one in replays)
    if is_better_known or not all(store.exists(usage_name(number, journal_id)) for journal_id in spent):
        store.remove(SEAL)
    if is_better_known:  # its marker tells of the guess: the part is published again by whoever runs the job
        store.remove(marker_name(number))
    for one in replays:
        publish_usage_of(store, number, one)
    account_for_claims(store, claims, here)
    for one in replays:
        store.remove(claim_name(number, one.journal_id))
    return found.keys()
