"""Read the local journals of a part, and bound the spending that damage in them may hide."""

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
"""Suffix of a journal with an unreadable header: it is never read again, and never removed."""

_MIN_INTENT_BYTES = 256
"""The minimum size of the record of an attempt, whatever its ids are."""

NOTHING_UNACCOUNTED = UnaccountedSpend(0, 0, ZERO, None)


def journal_paths(folder: Path, part: int) -> list[Path]:
    """Return the local journals of a part, oldest first."""
    return sorted(folder.glob(f"{part_name(part)}-*{SUFFIX}"))


def replay_part(
    store: Store, folder: Path, part: int, dataset_fingerprint: str, *, own_journal_id: str | None = None
) -> list[Replay]:
    """Replay the local journals of a part, oldest first.

    A journal that was torn in its first frame sent nothing and is removed. The claims in the store bound the spending
    of a damaged journal. The payloads of ``own_journal_id``, which this process wrote, need no check.

    Raises:
        StorageError: The disk failed, or a journal belongs to another version, or to another dataset that was at the
            same destination: its audio is of other texts or other voices.
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
    """Replay a journal, and bound the spending that its damage may hide.

    Returns:
        None when the header is unreadable, or does not agree with the file's name: the claim is then its spending, as
        if the journal did not exist.

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
    """Warn the user of a damaged journal: of its effect on the bill, and of the audio that is bought again."""
    if replay.unread_bytes and replay.unaccounted is not None:
        logger.warning(
            "the journal %s is damaged: %d bytes are unreadable. The attempts in them are unknown and count at their "
            "upper bound, %d characters; the audio in them is bought again. Check the disk",
            path,
            replay.unread_bytes,
            replay.unaccounted.characters_upper_bound,
        )
    if replay.damaged_answers:
        logger.warning(
            "the journal %s is damaged: the audio of %d records has changed, and is bought again. Check the disk",
            path,
            replay.damaged_answers,
        )


def _quarantine(store: Store, path: Path) -> None:
    """Remove a journal without a claim, which was killed in its first write; rename a damaged one with a claim."""
    with storage_errors(f"removing the journal {path}"):
        if not store.exists(claim_name(parse_part_number(path.name), parse_journal_id(path.name))):
            remove_journal(path)
            return
        path.rename(path.with_suffix(QUARANTINE_SUFFIX))
    logger.warning(
        "the header of the journal %s is damaged, and the file was set aside as %s: its spending is unknown and counts "
        "at its upper bound; its audio is bought again. Check the disk",
        path,
        path.with_suffix(QUARANTINE_SUFFIX).name,
    )


def _spend_in_gaps(store: Store, part: int, replay: Replay) -> UnaccountedSpend:
    """Return the bound of the spending that the gaps of a journal may hide."""
    claim = read_claim(store, claim_name(part, replay.journal_id))
    if claim is not None:
        return unaccounted_spend(replay, claim)
    if replay.unaccounted is not None:
        return replay.unaccounted
    if store.exists(usage_name(part, replay.journal_id)):  # published while the journal was whole
        return NOTHING_UNACCOUNTED
    return _worst_case(replay)


def unaccounted_spend(replay: Replay, claim: Claim | None) -> UnaccountedSpend:
    """Return the rest of a claim beyond the known spending of its journal; without a claim, nothing."""
    if claim is None:
        return NOTHING_UNACCOUNTED
    known_spend, cost = journal_cost(replace(replay, unaccounted=None)).bound, claim.cost_upper_bound
    return UnaccountedSpend(
        claim.opened_at_us,
        max(0, claim.characters_upper_bound - known_spend.characters),
        None if cost is None else max(ZERO, cost - known_spend.cost),
        claim.currency,
    )


def _worst_case(replay: Replay) -> UnaccountedSpend:
    """Return the bound without a claim: as many attempts as fit into the gaps, each as large as the largest known."""
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
    """Return the cost of a journal's attempts, and its unaccounted spend; unsettled attempts count at most."""
    total = Cost()
    for attempt, settlement in replay.attempts.values():
        price = _price(replay, attempt)
        total.add_attempt(settlement or attempt, price.currency if price else None)
    spend = replay.unaccounted
    if spend is not None and not spend.is_nothing:
        total.add(Cost.at_most(spend.characters_upper_bound, spend.cost_upper_bound, spend.currency))
    return total


def check_fingerprint(path: Path, replay: Replay, dataset_fingerprint: str) -> None:
    """Refuse a journal of another dataset that was at the same destination."""
    if replay.header.dataset_fingerprint != dataset_fingerprint:
        raise StorageError(
            f"the journal {path} is of another job or source than the dataset now at the destination",
            hint="it may hold audio already paid for: continue its dataset, or remove the journal to give the audio up",
        )
