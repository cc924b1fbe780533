"""Keep the high-water mark of a part's claim: raise the claim before an attempt would exceed it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from dataclasses import replace
from decimal import ROUND_CEILING
from typing import NamedTuple

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.models import Price, Usage
from tts_pipeline.money import NANO, ZERO, SpendBound, cost_of
from tts_pipeline.storage.store import Store

NO_SPEND = SpendBound()


class ClaimStep(NamedTuple):
    """The amount by which a claim is raised: the characters of the rows to do, and their cost."""

    characters: int
    prices: Collection[Price]

    def beyond(self, spend: SpendBound) -> SpendBound:
        """Return the step; its cost follows from a price by characters, or, by tokens, from the spending so far."""
        costs = [cost_of(price, characters=self.characters, usage=Usage()) for price in self.prices]
        by_price = max((cost for cost in costs if cost is not None), default=ZERO)
        by_spend = spend.cost * self.characters / max(spend.characters, 1)
        return SpendBound(self.characters, max(by_price, by_spend.quantize(NANO, ROUND_CEILING)))


class ClaimHighWater:
    """The upper bound of a part's spending, and the claim that covers it.

    If the journal is lost with its disk, the claim is the bill: so it is never below the possible spending, in
    characters and in money. Under a cap, other processes count the claim: then a ``BudgetPool`` raises and lowers it.

    Each attempt is reserved here before it is sent; ``spend`` is their bound. Without a pool, the claim rises by a
    step. ``claim_bound`` is the bound of the claim at the destination, which is never lower.
    """

    def __init__(self, store: Store, part: int, claim: Claim, step: ClaimStep) -> None:
        self._store = store
        self._part = part
        self._claim = claim
        self.journal_id = claim.journal_id
        self._step = step
        self.spend = NO_SPEND
        self.claim_bound = NO_SPEND
        self._open_attempts = 0
        self._written: tuple[SpendBound, bool] | None = None
        self._raise_lock = asyncio.Lock()
        # The event loop reserves, while a thread lowers the claim to the spending.
        self._lock = threading.Lock()

    def open(self) -> None:
        """Write the first claim, for the rows to do. Blocking."""
        self._raise_claim(NO_SPEND)

    async def reserve(self, attempt: Attempt) -> None:
        """Count an attempt before it is sent; raise the claim first if the attempt does not fit. Without a pool only.

        Raises:
            StorageError: The claim cannot be raised: nothing may be sent.
        """
        async with self._raise_lock:
            while not self.try_reserve(attempt):
                await asyncio.to_thread(self._raise_claim, SpendBound.of(attempt))

    def try_reserve(self, attempt: Attempt) -> bool:
        """Count an attempt before it is sent; return False, and count nothing, if it does not fit into the claim."""
        with self._lock:
            spend = self.spend.with_attempt(attempt)
            is_covered = self.claim_bound.covers(spend)
            if is_covered:
                self.spend = spend
                self._open_attempts += 1
            return is_covered

    def release(self, attempt: Attempt) -> None:
        """Free the reservation of an attempt that was never recorded, so never sent."""
        with self._lock:
            self.spend = self.spend.minus(SpendBound.of(attempt))
            self._open_attempts -= 1

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Replace an attempt's reservation with its settlement."""
        with self._lock:
            self._open_attempts -= 1
            if not settlement.has_bound_of(attempt):
                self.spend = self.spend.with_settlement(attempt, settlement)

    def minimum_and_headroom(self, needed: SpendBound) -> tuple[SpendBound, SpendBound]:
        """Return the smallest claim that covers the needed spending, and the headroom to claim beyond it."""
        minimum = self.spend.plus(needed)
        return minimum, self._step.beyond(minimum)

    def write(self, bound: SpendBound, *, is_waiting: bool = False) -> None:
        """Write a claim, unless it is there already. Blocking."""
        if self._written == (bound, is_waiting):
            return
        self._written = None  # unknown, if the write fails
        claim = replace(
            self._claim,
            characters_upper_bound=bound.characters,
            cost_upper_bound=bound.cost if self._step.prices else None,
            is_waiting=is_waiting,
        )
        write_claim(self._store, self._part, claim)
        self._written = bound, is_waiting

    def lower(self) -> None:
        """Lower the claim to the spending so far; mark it if nothing of it can come back. Blocking."""
        with self._lock:
            self.claim_bound, is_waiting = self.spend, self._open_attempts == 0
        self.write(self.claim_bound, is_waiting=is_waiting)

    def _raise_claim(self, needed: SpendBound) -> None:
        minimum, headroom = self.minimum_and_headroom(needed)
        # Not below the present claim, which other attempts may use up during the write.
        bound = maximum_of(self.claim_bound, minimum.plus(headroom))
        self.write(bound)
        self.claim_bound = bound


def maximum_of(first: SpendBound, second: SpendBound) -> SpendBound:
    """Return the larger bound, in characters and in money."""
    return SpendBound(max(first.characters, second.characters), max(first.cost, second.cost))
