"""A part's claim, kept above what the part may have spent: raised before an attempt that would pass it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal

from tts_pipeline.cost import cost_of
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.dataset.store import Store
from tts_pipeline.models import Attempt, Price, Settlement, Usage

_NOTHING = Decimal(0)
_NANO = Decimal("1e-9")


class Cover:
    """What a part may have spent, and the claim that covers it.

    Should the journal be lost with its disk, the claim is what the bill goes by: so it is never below what may have
    been spent, in characters and in money.

    Args:
        store: The destination.
        part: Whose claim it is.
        claim: Who claims; its bounds are set here.
        prices: Of the attempts.
        characters: What the rows to do are counted at: the first claim, and by how much it is raised.
    """

    def __init__(self, store: Store, part: int, claim: Claim, prices: Collection[Price], characters: int) -> None:
        self._store = store
        self._part = part
        self._claim = claim
        self._prices = prices
        self._step = max(characters, 1)
        self._claimed = self._spent = 0
        self._claimed_cost = self._spent_cost = _NOTHING
        self._raising = asyncio.Lock()

    def begin(self) -> None:
        """Claim what the rows to do are counted at. Blocking.

        Raises:
            StorageError: The destination failed.
        """
        self._raise()

    async def add(self, attempt: Attempt) -> None:
        """Count an attempt that is about to be sent; raises the claim first when it does not fit.

        Raises:
            StorageError: The claim cannot be raised: nothing may be sent.
        """
        self._spent += attempt.characters_upper_bound
        self._spent_cost += attempt.cost_upper_bound or _NOTHING
        if self._fits():
            return
        async with self._raising:
            if not self._fits():
                await asyncio.to_thread(self._raise)

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Give back what an attempt surely did not spend."""
        self._spent += settlement.characters_upper_bound - attempt.characters_upper_bound
        if settlement.cost_upper_bound is not None and attempt.cost_upper_bound is not None:
            self._spent_cost += settlement.cost_upper_bound - attempt.cost_upper_bound

    def _fits(self) -> bool:
        return self._spent <= self._claimed and self._spent_cost <= self._claimed_cost

    def _raise(self) -> None:
        characters = self._spent + self._step
        cost = self._spent_cost + self._cost_of_step()
        has_price = bool(self._prices)
        write_claim(
            self._store,
            self._part,
            replace(self._claim, characters_upper_bound=characters, cost_upper_bound=cost if has_price else None),
        )
        self._claimed, self._claimed_cost = characters, cost

    def _cost_of_step(self) -> Decimal:
        """Return what a step may cost: by characters it is known, by tokens it goes by what was spent so far."""
        costs = [cost_of(price, characters=self._step, usage=Usage()) for price in self._prices]
        known = max((cost for cost in costs if cost is not None), default=_NOTHING)
        by_now = self._spent_cost * self._step / max(self._spent, 1)
        return max(known, by_now.quantize(_NANO, ROUND_CEILING))
