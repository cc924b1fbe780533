"""What a dataset has spent so far, at most: a cap on spending counts from there."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tts_pipeline.dataset.descriptor import NAME, Descriptor
from tts_pipeline.dataset.finish import done_parts, read_markers, totals_by_part
from tts_pipeline.dataset.journal import SUFFIX
from tts_pipeline.dataset.parts import part_of
from tts_pipeline.dataset.replay import Replay, replay
from tts_pipeline.dataset.store import Store
from tts_pipeline.dataset.totals import Totals, totals_at
from tts_pipeline.dataset.usage_files import claimed, open_claims, published_journals

EARLIER = -1
"""Stands for a part's number where an earlier generation of the dataset spent something."""


def spent(store: Store, descriptor: Descriptor, journals: Path) -> Totals:
    """Add up what every attempt of a dataset did cost and may have cost, over all invocations. Blocking.

    See ``spent_by_part``.
    """
    totals = Totals()
    for one in spent_by_part(store, descriptor, journals).values():
        totals.add(one)
    return totals


def spent_by_part(store: Store, descriptor: Descriptor, journals: Path) -> dict[int, Totals]:
    """Add up what every attempt of a dataset did cost and may have cost, part by part. Blocking.

    That is what is published, the journals on this machine whose usage is not, and of claims whose journal is neither
    here nor published all that they claim. What is unknown counts at its worst.

    Args:
        store: The destination.
        descriptor: Of the dataset.
        journals: Where this machine's journals are.

    Returns:
        Attempts, characters and money by the part's number, or ``EARLIER``; the other counts mean nothing. Parts that
        spent nothing may be missing.

    Raises:
        StorageError: The destination or the disk failed, or a journal is of another version.
    """
    found = defaultdict[int, Totals](Totals)
    # Listed before it is added up: what another process publishes meanwhile counts twice rather than not at all.
    known = published_journals(store)
    found[EARLIER].add(totals_at(store.describe(NAME), descriptor.carried or {}))
    for number, totals in totals_by_part(store, read_markers(store, done_parts(store, descriptor))):
        found[number].add(totals)
    for path in sorted(journals.glob(f"part-*{SUFFIX}")):
        if path.stem not in known and (one := replay(path, check_payloads=False)) is not None:
            found[part_of(path.name)].add(totals_of(one))
        known.add(path.stem)
    for number, claim in open_claims(store, known):
        found[number].add(claimed(claim))
    return dict(found)


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
