"""Journals of a part on this machine, and the spending that damage may hide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tts_pipeline.attempt import Attempt
from tts_pipeline.dataset.claims import Claim, claim_name, read_claim
from tts_pipeline.dataset.names import parse_journal_id, parse_part_number, part_name
from tts_pipeline.dataset.usage_files import usage_name
from tts_pipeline.errors import StorageError
from tts_pipeline.log import logger
from tts_pipeline.models import Price
from tts_pipeline.money import ZERO, Cost
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.journal import SUFFIX, remove_journal
from tts_pipeline.wal.records import UnaccountedSpend
from tts_pipeline.wal.replay import Replay, replay_journal

QUARANTINE_SUFFIX = ".damaged"
"""Suffix of a journal that tells nothing any more: nobody reads it, and nobody removes it."""

_MIN_INTENT_BYTES = 256
"""The record of an attempt is not shorter, whatever its ids are."""

NOTHING_UNACCOUNTED = UnaccountedSpend(0, 0, ZERO, None)


def journal_paths(folder: Path, part: int) -> list[Path]:
    """Return the local journals of a part, oldest first."""
    return sorted(folder.glob(f"{part_name(part)}-*{SUFFIX}"))


def replay_part(
    store: Store, folder: Path, part: int, dataset_fingerprint: str, *, own_journal_id: str | None = None
) -> list[Replay]:
    """Read the local journals of a part back; one that was torn in its first frame sent nothing and is removed.

    The store's claims say what a damaged journal may have spent. The payloads of ``own_journal_id``, which this
    process wrote, need no check.

    Raises:
        StorageError: The disk failed, or a journal is of another version, or of another dataset that was at the same
            destination: its audio is of other texts or other voices.
    """
    replays = []
    for path in journal_paths(folder, part):
        replay = read_journal(
            store, path, check_payloads=own_journal_id is None or not path.stem.endswith(own_journal_id)
        )
        if replay is None:
            _quarantine(store, path)
        else:
            check_fingerprint(path, replay, dataset_fingerprint)
            replays.append(replay)
            if own_journal_id is None:
                warn_of_damage(path, replay)
    return replays


def read_journal(store: Store, path: Path, *, check_payloads: bool = True) -> Replay | None:
    """Read a journal, and find what may have been spent where it is damaged.

    Returns:
        None when it does not tell whose it is, or is another one than its name says: what it spent is then what its
        claim says, as if it were not there.

    Raises:
        StorageError: As for ``replay_journal``, or the claim is damaged, too.
    """
    replay = replay_journal(path, check_payloads=check_payloads)
    if replay is None or replay.journal_id != parse_journal_id(path.name):
        return None
    if replay.unread_bytes:
        replay.unaccounted = _spend_in_gaps(store, parse_part_number(path.name), replay)
    return replay


def warn_of_damage(path: Path, replay: Replay) -> None:
    """Tell the user what a damaged journal means: for the bill, and for what is bought again."""
    if replay.unread_bytes and replay.unaccounted is not None:
        logger.warning(
            "the journal %s is damaged: %d bytes cannot be read. What was sent there is unknown and counts at its "
            "most, %d characters; audio that stood there is bought again. Look after the disk",
            path,
            replay.unread_bytes,
            replay.unaccounted.characters_upper_bound,
        )
    if replay.damaged_answers:
        logger.warning(
            "the journal %s is damaged: audio of %d records is not what was written, and is bought again. "
            "Look after the disk",
            path,
            replay.damaged_answers,
        )


def _quarantine(store: Store, path: Path) -> None:
    """Remove a journal that was killed in its first write; one that was claimed on has lost what it told."""
    with storage_errors(f"removing the journal {path}"):
        if not store.exists(claim_name(parse_part_number(path.name), parse_journal_id(path.name))):
            remove_journal(path)
            return
        path.rename(path.with_suffix(QUARANTINE_SUFFIX))
    logger.warning(
        "the journal %s is damaged where it says whose it is, and was set aside as %s: what it spent is unknown and "
        "counts at its most; audio that stood there is bought again. Look after the disk",
        path,
        path.with_suffix(QUARANTINE_SUFFIX).name,
    )


def _spend_in_gaps(store: Store, part: int, replay: Replay) -> UnaccountedSpend:
    """Return what may have been spent in the gaps of a journal."""
    claim = read_claim(store, claim_name(part, replay.journal_id))
    if claim is not None:
        return unaccounted_spend(replay, claim)
    if replay.unaccounted is not None:
        return replay.unaccounted
    if store.exists(usage_name(part, replay.journal_id)):  # published when the journal was whole
        return NOTHING_UNACCOUNTED
    return _worst_case(replay)


def unaccounted_spend(replay: Replay, claim: Claim | None) -> UnaccountedSpend:
    """Return what a claim covers beyond what its journal tells; without one nothing is left to account for."""
    if claim is None:
        return NOTHING_UNACCOUNTED
    known, cost = journal_cost(replace(replay, unaccounted=None)).bound, claim.cost_upper_bound
    return UnaccountedSpend(
        claim.opened_at_us,
        max(0, claim.characters_upper_bound - known.characters),
        None if cost is None else max(ZERO, cost - known.cost),
        claim.currency,
    )


def _worst_case(replay: Replay) -> UnaccountedSpend:
    """Return a bound where no claim tells one: as many attempts as fit into the gaps, each the largest known."""
    attempts = [attempt for attempt, _ in replay.attempts.values()]
    max_attempts = replay.unread_bytes // _MIN_INTENT_BYTES + 1
    costs = [attempt.cost_upper_bound for attempt in attempts if attempt.cost_upper_bound is not None]
    prices = (_price(replay, attempt) for attempt in attempts)
    return UnaccountedSpend(
        max((attempt.started_at_us for attempt in attempts), default=0),
        max_attempts * max((attempt.characters_upper_bound for attempt in attempts), default=0),
        max_attempts * max(costs) if costs else None,
        next((price.currency for price in prices if price), None),
    )


def _price(replay: Replay, attempt: Attempt) -> Price | None:
    return replay.header.prices.get(attempt.price_id or "")


def journal_cost(replay: Replay) -> Cost:
    """Return what a journal's attempts did cost and may have cost; what is not settled counts at its worst."""
    total = Cost()
    for attempt, settlement in replay.attempts.values():
        price = _price(replay, attempt)
        total.add_attempt(settlement or attempt, price.currency if price else None)
    lost = replay.unaccounted
    if lost is not None:
        total.add(Cost.at_most(lost.characters_upper_bound, lost.cost_upper_bound, lost.currency))
    return total


def check_fingerprint(path: Path, replay: Replay, dataset_fingerprint: str) -> None:
    """Make sure that a journal is of this dataset, not of another one that was at the same destination."""
    if replay.header.dataset_fingerprint != dataset_fingerprint:
        raise StorageError(
            f"the journal {path} is of another job or source than the dataset now at the destination",
            hint="it may hold audio already paid for: go on with that dataset, or remove the journal to give it up",
        )
