"""What a dataset has spent so far, at most: a cap on spending counts from there."""

from __future__ import annotations

from pathlib import Path

from tts_pipeline.dataset.claims import read_claim
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.finish import dataset_totals
from tts_pipeline.dataset.journal import SUFFIX
from tts_pipeline.dataset.replay import Replay, replay
from tts_pipeline.dataset.store import Store
from tts_pipeline.dataset.totals import Totals


def spent(store: Store, descriptor: Descriptor, journals: Path) -> Totals:
    """Add up what every attempt of a dataset did cost and may have cost, over all invocations. Blocking.

    That is what is published, the journals on this machine whose usage is not, and of claims whose journal is neither
    here nor published all that they claim. What is unknown counts at its worst.

    Args:
        store: The destination.
        descriptor: Of the dataset.
        journals: Where this machine's journals are.

    Returns:
        Attempts, characters and money; the other counts mean nothing.

    Raises:
        StorageError: The destination or the disk failed, or a journal is of another version.
    """
    # Listed before it is added up: what another process publishes meanwhile counts twice rather than not at all.
    known = {name.removesuffix(".parquet") for name in store.names("usage", "part-")}
    totals = dataset_totals(store, descriptor)
    for path in sorted(journals.glob(f"part-*{SUFFIX}")):
        if path.stem not in known and (one := replay(path, check_payloads=False)) is not None:
            totals.add(_attempted(one))
        known.add(path.stem)
    totals.add(_claimed(store, known))
    return totals


def _attempted(one: Replay) -> Totals:
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
    return totals


def _claimed(store: Store, known: set[str]) -> Totals:
    """Add up the claims whose journals are not known: another machine's, which may be lost or still spending."""
    totals = Totals()
    for name in store.names("claims", "part-"):
        claim = None if name.removesuffix(".json") in known else read_claim(store, f"claims/{name}")
        if claim is None:
            continue
        totals.characters_upper_bound += claim.characters_upper_bound
        if claim.cost_upper_bound is None:
            totals.characters_without_price += claim.characters_upper_bound
        totals.add_cost(None, claim.cost_upper_bound, claim.currency)
    return totals
