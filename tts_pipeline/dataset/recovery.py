"""Recover orphaned journals of committed parts: publish their usage, then delete them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tts_pipeline.dataset.adoption import adopt_journals, remove_shipped_logs
from tts_pipeline.dataset.claims import claim_name
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.dataset.names import file_names, parse_journal_id, parse_part_number, part_name
from tts_pipeline.dataset.part_journals import journal_paths, read_journal, warn_of_damage
from tts_pipeline.dataset.usage_files import account_for_claims, commit_journal_usage, is_provisional, usage_name
from tts_pipeline.storage.file_lock import HeldElsewhereError
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.journal import SUFFIX, remove_journal
from tts_pipeline.wal.replay import Replay
from tts_pipeline.wal.shipping import FOLDER as SHIPPED


def collect_orphans(
    store: Store, journals: Path, leases: Leases, committed_parts: Collection[int], fingerprint_of: Callable[[int], str]
) -> None:
    """Publish the usage of orphaned journals and claims of committed parts, then delete them.

    A kill after the marker leaves orphans. Usually their usage is published already. If two processes held a part at
    the same time, it may not be: then it is published now, and the manifest is removed, because the bill has grown.
    Parts that another process holds stay as they are, and so do the journals of another dataset.
    """
    claims_by_part = _find_open_parts(store, journals)
    claims_by_part |= {
        number: [] for number in map(parse_part_number, leases.leased_parts()) if number not in claims_by_part
    }
    for number, claims in claims_by_part.items():
        if number not in committed_parts:
            continue
        with ExitStack() as stack:
            try:
                stack.enter_context(leases.hold(part_name(number)))
            except HeldElsewhereError:
                continue  # its holder accounts for it
            shipped_ids = {parse_journal_id(name) for name in file_names(store, SHIPPED, f"{part_name(number)}-")}
            adopt_journals(store, journals, number, exclude=shipped_ids - {parse_journal_id(name) for name in claims})
            paths = _commit_usage(
                store, number, _replay_journals(store, journals, number, fingerprint_of(number)), claims
            )
            with storage_errors(f"removing journals of {part_name(number)}"):
                for path in paths:
                    remove_journal(path)
            remove_shipped_logs(store, number)


def commit_all_usage(store: Store, journals: Path, leases: Leases) -> None:
    """Publish the usage of all journals and claims of an abandoned dataset. The journals stay.

    Raises:
        StorageError: The destination or the disk failed, another version wrote a journal, or another process still
            works on one of the parts.
    """
    for number, claims in _find_open_parts(store, journals).items():
        with leases.hold(part_name(number), wait=True):
            adopt_journals(store, journals, number)
            _commit_usage(store, number, _replay_journals(store, journals, number, None), claims)


def _find_open_parts(store: Store, journals: Path) -> dict[int, list[str]]:
    """Return the parts that have a claim or a journal, local or shipped, with their claims."""
    claims = defaultdict[int, list[str]](list)
    for name in file_names(store, "claims"):
        claims[parse_part_number(name)].append(f"claims/{name}")
    for name in (*(path.name for path in journals.glob(f"part-*{SUFFIX}")), *file_names(store, SHIPPED)):
        claims[parse_part_number(name)] += []
    return dict(sorted(claims.items()))


def _replay_journals(store: Store, journals: Path, number: int, fingerprint: str | None) -> dict[Path, Replay | None]:
    replays = {}
    for path in journal_paths(journals, number):
        replay = read_journal(store, path, check_payloads=False)
        if replay is not None:
            warn_of_damage(path, replay)
        if fingerprint is None or replay is None or replay.header.dataset_fingerprint == fingerprint:
            replays[path] = replay
    return replays


def _commit_usage(
    store: Store, number: int, replays_by_path: Mapping[Path, Replay | None], claims: Sequence[str]
) -> Collection[Path]:
    """Publish missing usage, and remove the claims that published usage covers; return the journals."""
    replays = [replay for replay in replays_by_path.values() if replay is not None]
    local_ids = {replay.journal_id for replay in replays}
    spending_ids = {replay.journal_id for replay in replays if replay.attempts} | (
        {parse_journal_id(name) for name in claims} - local_ids
    )
    is_better_known = any(is_provisional(store, number, replay) for replay in replays)
    if is_better_known or not all(store.exists(usage_name(number, journal_id)) for journal_id in spending_ids):
        store.remove(MANIFEST_FILE)
    if is_better_known:  # the marker holds the hash of the guess: the next run publishes the part again
        store.remove(marker_name(number))
    for replay in replays:
        commit_journal_usage(store, number, replay)
    account_for_claims(store, claims, local_ids)
    for replay in replays:
        store.remove(claim_name(number, replay.journal_id))
    return replays_by_path.keys()
