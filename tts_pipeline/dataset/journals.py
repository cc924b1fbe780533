"""The journals of a part that are on this machine, and what may have been spent that damage hides."""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from tts_pipeline.dataset.claims import Claim, claim_name, read_claim
from tts_pipeline.dataset.journal import SUFFIX, remove_journal
from tts_pipeline.dataset.names import journal_of, part_name, part_of
from tts_pipeline.dataset.replay import Lost, Replay, replay
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import usage_name
from tts_pipeline.errors import StorageError

logger = logging.getLogger("tts_pipeline")

SET_ASIDE = ".damaged"
"""Suffix of a journal that tells nothing any more: nobody reads it, and nobody removes it."""

_INTENT_BYTES = 256
"""The record of an attempt is not shorter, whatever its ids are."""

_NOTHING = Decimal(0)
NOTHING_LOST = Lost(0, 0, _NOTHING, None)


def journals_of(folder: Path, part: int) -> list[Path]:
    """Return the local journals of a part, oldest first."""
    return sorted(folder.glob(f"{part_name(part)}-*{SUFFIX}"))


def replays_of(
    store: Store, folder: Path, part: int, dataset_fingerprint: str, *, ours: str | None = None
) -> list[Replay]:
    """Read the local journals of a part back; one that was torn in its first frame sent nothing and is removed.

    Args:
        store: The destination, whose claims say what a damaged journal may have spent.
        folder: Where the journals are.
        part: Whose.
        dataset_fingerprint: What they must be of.
        ours: A journal that this process wrote, whose payloads need no check; damage was told when the part was opened.

    Raises:
        StorageError: The disk failed, or a journal is of another version, or of another dataset that was at the same
            destination: its audio is of other texts or other voices.
    """
    found = []
    for path in journals_of(folder, part):
        one = read_journal(store, path, check_payloads=ours is None or not path.stem.endswith(ours))
        if one is None:
            _set_aside(store, path)
        else:
            refuse_foreign(path, one, dataset_fingerprint)
            found.append(one)
            if ours is None:
                warn_of_damage(path, one)
    return found


def read_journal(store: Store, path: Path, *, check_payloads: bool = True) -> Replay | None:
    """Read a journal, and find what may have been spent where it is damaged.

    Args:
        store: The destination.
        path: The journal.
        check_payloads: As for ``replay``.

    Returns:
        None when it does not tell whose it is, or is another one than its name says: what it spent is then what its
        claim says, as if it were not there.

    Raises:
        StorageError: As for ``replay``, or the claim is damaged, too.
    """
    one = replay(path, check_payloads=check_payloads)
    if one is None or one.journal_id != journal_of(path.name):
        return None
    if one.unread_bytes:
        one.lost = _hidden(store, part_of(path.name), one)
    return one


def warn_of_damage(path: Path, one: Replay) -> None:
    """Tell the user what a damaged journal means: for the bill, and for what is bought again."""
    if one.unread_bytes and one.lost is not None:
        logger.warning(
            "the journal %s is damaged: %d bytes cannot be read. What was sent there is unknown and counts at its "
            "most, %d characters; audio that stood there is bought again. Look after the disk",
            path,
            one.unread_bytes,
            one.lost.characters_upper_bound,
        )
    if one.damaged_answers:
        logger.warning(
            "the journal %s is damaged: audio of %d records is not what was written, and is bought again. "
            "Look after the disk",
            path,
            one.damaged_answers,
        )


def _set_aside(store: Store, path: Path) -> None:
    """Remove a journal that was killed in its first write; one that was claimed on has lost what it told."""
    with storage_errors(f"removing the journal {path}"):
        if not store.exists(claim_name(part_of(path.name), journal_of(path.name))):
            remove_journal(path)
            return
        path.rename(path.with_suffix(SET_ASIDE))
    logger.warning(
        "the journal %s is damaged where it says whose it is, and was set aside as %s: what it spent is unknown and "
        "counts at its most; audio that stood there is bought again. Look after the disk",
        path,
        path.with_suffix(SET_ASIDE).name,
    )


def _hidden(store: Store, part: int, one: Replay) -> Lost:
    """Return what may have been spent in the gaps of a journal."""
    claim = read_claim(store, claim_name(part, one.journal_id))
    if claim is not None:
        return lost_of(one, claim)
    if one.lost is not None:
        return one.lost
    if store.exists(usage_name(part, one.journal_id)):  # published when the journal was whole
        return NOTHING_LOST
    return _as_many_as_fit(one)


def lost_of(one: Replay, claim: Claim | None) -> Lost:
    """Return what a claim covers beyond what its journal tells; without one nothing is left to account for."""
    if claim is None:
        return NOTHING_LOST
    known, cost = totals_of(replace(one, lost=None)), claim.cost_upper_bound
    return Lost(
        claim.opened_at_us,
        max(0, claim.characters_upper_bound - known.characters_upper_bound),
        None if cost is None else max(_NOTHING, cost - (known.cost_upper_bound or _NOTHING)),
        claim.currency,
    )


def _as_many_as_fit(one: Replay) -> Lost:
    """Return a bound where no claim tells one: as many attempts as fit into the gaps, each the largest known."""
    attempts = [attempt for attempt, _ in one.attempts.values()]
    most = one.unread_bytes // _INTENT_BYTES + 1
    costs = [attempt.cost_upper_bound for attempt in attempts if attempt.cost_upper_bound is not None]
    priced = (one.header["prices"].get(attempt.price_id) for attempt in attempts)
    return Lost(
        max((attempt.started_at_us for attempt in attempts), default=0),
        most * max((attempt.characters_upper_bound for attempt in attempts), default=0),
        most * max(costs) if costs else None,
        next((price["currency"] for price in priced if price), None),
    )


def totals_of(one: Replay) -> Totals:
    """Return what a journal's attempts did cost and may have cost; what is not settled counts at its worst."""
    totals = Totals()
    for attempt, settlement in one.attempts.values():
        price = one.header["prices"].get(attempt.price_id)
        totals.attempts += 1
        totals.characters_billed += settlement.characters_billed if settlement else 0
        bounds = settlement or attempt
        totals.characters_upper_bound += bounds.characters_upper_bound
        if bounds.cost_upper_bound is None:
            totals.characters_without_price += bounds.characters_upper_bound
        cost = settlement.cost if settlement else None
        totals.add_cost(cost, bounds.cost_upper_bound, price["currency"] if price else None)
        if settlement is not None and settlement.implausible:
            totals.add_implausible(settlement.cost_upper_bound)
    if one.lost is not None:
        totals.characters_upper_bound += one.lost.characters_upper_bound
        if one.lost.cost_upper_bound is None:
            totals.characters_without_price += one.lost.characters_upper_bound
        totals.add_cost(None, one.lost.cost_upper_bound, one.lost.currency)
    return totals


def refuse_foreign(path: Path, one: Replay, dataset_fingerprint: str) -> None:
    """Make sure that a journal is of a dataset.

    Raises:
        StorageError: It is of another one that was at the same destination.
    """
    if one.header["dataset_fingerprint"] != dataset_fingerprint:
        raise StorageError(
            f"the journal {path} is of another job or source than the dataset now at the destination",
            hint="it may hold audio already paid for: go on with that dataset, or remove the journal to give it up",
        )
