"""Keep the high-water mark of a part's claim: raise the claim before an attempt would exceed it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR
from typing import NamedTuple

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.errors import StoppedError
from tts_pipeline.models import Price, Usage
from tts_pipeline.money import NANO, ZERO, Cost, SpendBound, cost_of
from tts_pipeline.storage.store import Store

_RETRY_WAITS_S = (0.1, 0.3, 0.0)
"""The longest waits before a refused claim is retried: two processes may have claimed at the same instant."""

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
    characters and in money. Under a cap, other processes count the claim: so it is never above the rest of the pool.

    A claim rises by ``step``. Each attempt is reserved here before it is sent; ``spend`` is their bound.
    """

    def __init__(self, store: Store, part: int, claim: Claim, step: ClaimStep) -> None:
        self._store = store
        self._part = part
        self._claim = claim
        self.journal_id = claim.journal_id
        self._step = step
        self.spend = NO_SPEND
        self.claim_bound = NO_SPEND
        self._pool: BudgetPool | None = None
        self._raise_lock = asyncio.Lock()
        # Another part's thread may lower the claim; it must stay above the spending.
        self._lock = threading.Lock()

    def open(self, pool: BudgetPool | None = None) -> None:
        """Write the first claim, for the rows to do; a pool of None means no cap. Blocking."""
        self._pool = pool
        if pool is not None:
            pool.join(self)
        self._raise_claim(NO_SPEND)

    async def reserve(self, attempt: Attempt) -> None:
        """Count an attempt before it is sent; raise the claim first if the attempt does not fit.

        Raises:
            StorageError: The claim cannot be raised: nothing may be sent.
            StoppedError: Other processes have claimed the rest of the cap: nothing may be sent.
        """
        async with self._raise_lock:
            while not self.try_reserve(attempt):
                if not await asyncio.to_thread(self._raise_claim, SpendBound.of(attempt)):
                    assert self._pool is not None
                    raise self._pool.exhausted_error()

    def try_reserve(self, attempt: Attempt) -> bool:
        """Count an attempt before it is sent; return False, and count nothing, if it does not fit into the claim."""
        with self._lock:
            spend = self.spend.with_attempt(attempt)
            is_covered = self.claim_bound.covers(spend)
            if is_covered:
                self.spend = spend
            return is_covered

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Replace an attempt's reservation with its settlement."""
        if settlement.has_bound_of(attempt):
            return
        with self._lock:
            self.spend = self.spend.with_settlement(attempt, settlement)

    def minimum_and_headroom(self, needed: SpendBound) -> tuple[SpendBound, SpendBound]:
        """Return the smallest claim that covers the needed spending, and the headroom to claim beyond it."""
        minimum = self.spend.plus(needed)
        return minimum, self._step.beyond(minimum)

    def write(self, bound: SpendBound) -> None:
        """Write a claim. Blocking."""
        cost = bound.cost if self._step.prices else None
        claim = replace(self._claim, characters_upper_bound=bound.characters, cost_upper_bound=cost)
        write_claim(self._store, self._part, claim)

    def lower(self) -> None:
        """Lower the claim to the spending so far. Blocking."""
        with self._lock:
            previous, self.claim_bound = self.claim_bound, self.spend
        if previous != self.claim_bound:
            self.write(self.claim_bound)

    def close(self) -> None:
        """Leave the pool: from now on a usage file holds the spending, and the claim is gone."""
        if self._pool is not None:
            self._pool.leave(self)

    def _raise_claim(self, needed: SpendBound) -> bool:
        if self._pool is not None:
            return self._pool.draw(self, needed)
        minimum, headroom = self.minimum_and_headroom(needed)
        # Not below the present claim, which other attempts may use up during the write.
        bound = _maximum(self.claim_bound, minimum.plus(headroom))
        self.write(bound)
        self.claim_bound = bound
        return True


class BudgetPool:
    """A cap from which all open parts of a process draw their claims, while other processes draw from it, too.

    A part writes its claim first, then counts all other claims, and keeps only the amount that then fits. Of two
    processes that claim at the same time, at least one sees the other, so their claims together never exceed the cap.
    They need no clock, no lock and no message between them.

    ``count_others`` counts the spending and the claims of all journals except the given ids; it blocks. ``on_count``
    receives each count.
    """

    def __init__(
        self, cap: BudgetCap, count_others: Callable[[Collection[str]], Cost], on_count: Callable[[Cost], None]
    ) -> None:
        self._cap = cap
        self._count_others = count_others
        self._on_count = on_count
        self._members: list[ClaimHighWater] = []
        self._journal_ids: set[str] = set()
        self._closed_spend = NO_SPEND
        self._lock = threading.Lock()
        self._external = Cost()
        self._is_exhausted = False

    def join(self, member: ClaimHighWater) -> None:
        """Add a part, which may draw from now on."""
        with self._lock:
            self._members.append(member)
            self._journal_ids.add(member.journal_id)

    def leave(self, member: ClaimHighWater) -> None:
        """Remove a part, and keep counting its spending."""
        with self._lock:
            self._members.remove(member)
            self._closed_spend = self._closed_spend.plus(member.spend)

    def draw(self, member: ClaimHighWater, needed: SpendBound) -> bool:
        """Raise a part's claim by the needed spending, or more if the cap allows; return whether it fits. Blocking."""
        with self._lock:
            for wait_s in () if self._is_exhausted else _RETRY_WAITS_S:
                if self._try_draw(member, needed):
                    return True
                time.sleep(random.uniform(0, wait_s))
            self._is_exhausted = needed != NO_SPEND
        return False

    def exhausted_error(self) -> StoppedError:
        """Return the error that stops a run whose cap is used up."""
        cap, external = self._cap, self._external
        amounts = []
        if cap.max_cost is not None:
            amounts.append(f"{external.bound.cost.normalize():f} of {cap.max_cost.normalize():f} {cap.currency}")
        if cap.max_characters is not None:
            amounts.append(f"{external.characters_upper_bound:,} of {cap.max_characters:,} characters")
        return StoppedError(
            f"the budget is used up: other runs have spent or claimed {' and '.join(amounts)} by now",
            stopped_by="budget",
            hint="all finished rows are kept; run the job again when the other runs have ended, or raise the cap",
        )

    def _try_draw(self, member: ClaimHighWater, needed: SpendBound) -> bool:
        minimum, headroom = member.minimum_and_headroom(needed)
        previous, desired = member.claim_bound, minimum.plus(headroom)
        member.write(_maximum(previous, desired))
        self._external = self._count_others(self._journal_ids)
        self._on_count(self._external)
        if not self._available(member).covers(minimum):
            for other in self._members:
                if other is not member:
                    other.lower()
        available = self._available(member)
        bound = (
            _maximum(previous, minimum.plus(_fair_headroom(headroom, available.minus(minimum))))
            if available.covers(minimum)
            else previous
        )
        if bound != desired:
            member.write(bound)
        member.claim_bound = bound
        return available.covers(minimum)

    def _available(self, member: ClaimHighWater) -> SpendBound:
        """Return the upper bound of a part's claim: the cap minus all other spending and claims."""
        cap, external, own = self._cap, self._external, self._closed_spend
        for other in self._members:
            if other is not member:
                own = own.plus(other.claim_bound)
        limit = SpendBound.of_cap(cap)
        is_known = not external.characters_without_price and external.currency in {None, cap.currency}
        if cap.max_cost is not None and not is_known:
            limit = limit._replace(cost=ZERO)
        return limit.minus(own).minus(external.bound)


def _maximum(first: SpendBound, second: SpendBound) -> SpendBound:
    return SpendBound(max(first.characters, second.characters), max(first.cost, second.cost))


def _fair_headroom(headroom: SpendBound, available: SpendBound) -> SpendBound:
    """Return the headroom to claim: at most half of the rest, because other processes claim, too."""
    cost = min(headroom.cost, available.cost / 2).quantize(NANO, ROUND_FLOOR)
    return SpendBound(min(headroom.characters, available.characters // 2), cost)
