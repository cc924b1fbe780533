"""A part's claim, kept above what the part may have spent: raised before an attempt that would pass it."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import NamedTuple

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StoppedError
from tts_pipeline.models import Price, Usage
from tts_pipeline.money import cost_of
from tts_pipeline.storage.store import Store

_ZERO = Decimal(0)
_NANO = Decimal("1e-9")
_RETRY_WAITS_S = (0.1, 0.3, 0.0)
"""How long to wait, at most, before a claim is tried again that did not fit: two may have claimed at one instant."""


class SpendBound(NamedTuple):
    """The most that may be spent, in characters and in money."""

    characters: int
    cost: Decimal

    def plus(self, other: SpendBound) -> SpendBound:
        """Return the sum of two bounds."""
        return SpendBound(self.characters + other.characters, self.cost + other.cost)

    def minus(self, other: SpendBound) -> SpendBound:
        """Return the difference of two bounds."""
        return SpendBound(self.characters - other.characters, self.cost - other.cost)

    def covers(self, other: SpendBound) -> bool:
        """Say whether another bound is within this one."""
        return other.characters <= self.characters and other.cost <= self.cost


ZERO_BOUND = SpendBound(0, _ZERO)


class ClaimHighWater:
    """What a part may have spent, and the claim that covers it.

    Should the journal be lost with its disk, the claim is what the bill goes by: so it is never below what may have
    been spent, in characters and in money. Where there is a cap, claims are also what other processes count: a claim
    is no larger than the pot has room for.

    Args:
        store: The destination.
        part: Whose claim it is.
        claim: Who claims; its bounds are set here.
        prices: Of the attempts.
        step_characters: What the rows to do are counted at: the first claim, and by how much it is raised.
    """

    def __init__(self, store: Store, part: int, claim: Claim, prices: Collection[Price], step_characters: int) -> None:
        self._store = store
        self._part = part
        self._claim = claim
        self._prices = prices
        self._step_characters = max(step_characters, 1)
        self._spend = self._claim_bound = ZERO_BOUND
        self._pool: BudgetPool | None = None
        self._raise_lock = asyncio.Lock()
        # A claim that is lowered, by another part's thread, stays above what is spent.
        self._lock = threading.Lock()

    @property
    def journal_id(self) -> str:
        """Whose claim it is."""
        return self._claim.journal_id

    @property
    def spend(self) -> SpendBound:
        """What may have been spent."""
        return self._spend

    @property
    def claim_bound(self) -> SpendBound:
        """What the claim covers."""
        return self._claim_bound

    def open(self, pool: BudgetPool | None = None) -> None:
        """Claim what the rows to do are counted at. Blocking.

        Args:
            pool: What all claims are drawn from; None is without a cap.

        Raises:
            StorageError: The destination failed.
        """
        self._pool = pool
        if pool is not None:
            pool.join(self)
        self._raise_claim(ZERO_BOUND)

    async def reserve(self, attempt: Attempt) -> None:
        """Count an attempt that is about to be sent; raises the claim first when it does not fit.

        Raises:
            StorageError: The claim cannot be raised: nothing may be sent.
            StoppedError: Others have claimed what is left of the cap: nothing may be sent.
        """
        needed = SpendBound(attempt.characters_upper_bound, attempt.cost_upper_bound or _ZERO)
        if self.try_reserve(needed):
            return
        async with self._raise_lock:
            while not self.try_reserve(needed):
                if not await asyncio.to_thread(self._raise_claim, needed):
                    assert self._pool is not None
                    raise self._pool.exhausted_error()

    def try_reserve(self, needed: SpendBound) -> bool:
        """Count what is about to be spent, if the claim covers it; say whether it does."""
        with self._lock:
            spend = self._spend.plus(needed)
            if not self._claim_bound.covers(spend):
                return False
            self._spend = spend
            return True

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Give back what an attempt surely did not spend."""
        cost = _ZERO
        if settlement.cost_upper_bound is not None and attempt.cost_upper_bound is not None:
            cost = settlement.cost_upper_bound - attempt.cost_upper_bound
        with self._lock:
            change = settlement.characters_upper_bound - attempt.characters_upper_bound
            self._spend = self._spend.plus(SpendBound(change, cost))

    def minimum_and_headroom(self, needed: SpendBound) -> tuple[SpendBound, SpendBound]:
        """Return the claim that covers what is about to be spent, and how much more is best claimed with it."""
        minimum = self._spend.plus(needed)
        return minimum, SpendBound(self._step_characters, self._step_cost(minimum))

    def write(self, bound: SpendBound) -> None:
        """Write a claim. Blocking."""
        cost = bound.cost if self._prices else None
        claim = replace(self._claim, characters_upper_bound=bound.characters, cost_upper_bound=cost)
        write_claim(self._store, self._part, claim)

    def grant(self, bound: SpendBound) -> None:
        """Let so much be spent; the claim is written."""
        self._claim_bound = bound

    def lower(self) -> None:
        """Claim no more than what is spent. Blocking."""
        with self._lock:
            previous, self._claim_bound = self._claim_bound, self._spend
        if previous != self._spend:
            self.write(self._claim_bound)

    def close(self) -> None:
        """Let nothing more be spent: a usage file tells what was, and the claim is gone."""
        if self._pool is not None:
            self._pool.leave(self)

    def _raise_claim(self, needed: SpendBound) -> bool:
        if self._pool is not None:
            return self._pool.draw(self, needed)
        minimum, headroom = self.minimum_and_headroom(needed)
        self.write(minimum.plus(headroom))
        self.grant(minimum.plus(headroom))
        return True

    def _step_cost(self, spend: SpendBound) -> Decimal:
        """Return what a step may cost: by characters it is known, by tokens it goes by what was spent so far."""
        costs = [cost_of(price, characters=self._step_characters, usage=Usage()) for price in self._prices]
        by_price = max((cost for cost in costs if cost is not None), default=_ZERO)
        by_spend = spend.cost * self._step_characters / max(spend.characters, 1)
        return max(by_price, by_spend.quantize(_NANO, ROUND_CEILING))


class BudgetPool:
    """A cap that all open parts of a process draw their claims from, while other processes draw from it too.

    A claim is written first, then everything else is counted, and only what then fits is kept. Of two processes that
    claim at one time at least one sees the other, so what they claim together never passes the cap. No clock, lock or
    word between them is needed.

    Args:
        cap: The most that may be spent.
        count_others: Counts what is spent and claimed at most by others than some journals. Blocking.
        on_count: Is given the totals that were counted.
    """

    def __init__(
        self, cap: BudgetCap, count_others: Callable[[Collection[str]], Totals], on_count: Callable[[Totals], None]
    ) -> None:
        self._cap = cap
        self._count_others = count_others
        self._on_count = on_count
        self._members: list[ClaimHighWater] = []
        self._journal_ids: set[str] = set()
        self._closed_spend = ZERO_BOUND
        self._lock = threading.Lock()
        self._other_totals = Totals()
        self._is_exhausted = False

    def join(self, member: ClaimHighWater) -> None:
        """Let a part draw from the pot from now on."""
        with self._lock:
            self._members.append(member)
            self._journal_ids.add(member.journal_id)

    def leave(self, member: ClaimHighWater) -> None:
        """Count what a part has spent as spent for good."""
        with self._lock:
            self._members.remove(member)
            self._closed_spend = self._closed_spend.plus(member.spend)

    def draw(self, member: ClaimHighWater, needed: SpendBound) -> bool:
        """Raise a part's claim by what it needs, and by more where there is room; say whether it fits. Blocking.

        Raises:
            StorageError: The destination failed.
        """
        with self._lock:
            for wait_s in () if self._is_exhausted else _RETRY_WAITS_S:
                if self._try_draw(member, needed):
                    return True
                time.sleep(random.uniform(0, wait_s))
            self._is_exhausted = needed != ZERO_BOUND
        return False

    def exhausted_error(self) -> StoppedError:
        """Say why nothing more may be sent."""
        cap, others = self._cap, self._other_totals
        amounts = []
        if cap.max_cost is not None:
            cost = (others.cost_upper_bound or _ZERO).normalize()
            amounts.append(f"{cost:f} of {cap.max_cost.normalize():f} {cap.currency}")
        if cap.max_characters is not None:
            amounts.append(f"{others.characters_upper_bound:,} of {cap.max_characters:,} characters")
        return StoppedError(
            f"the budget is used up: other runs have spent or claimed {' and '.join(amounts)} by now",
            stopped_by="budget",
            hint="everything done is kept; run it again when they have ended, for what they left, or raise the cap",
        )

    def _try_draw(self, member: ClaimHighWater, needed: SpendBound) -> bool:
        minimum, headroom = member.minimum_and_headroom(needed)
        previous, desired = member.claim_bound, minimum.plus(headroom)
        member.write(_maximum(previous, desired))
        self._other_totals = self._count_others(self._journal_ids)
        self._on_count(self._other_totals)
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
        member.grant(bound)
        return available.covers(minimum)

    def _available(self, member: ClaimHighWater) -> SpendBound:
        """Return what a part may claim: the cap, less what is spent and claimed elsewhere and by other parts."""
        cap, others, own = self._cap, self._other_totals, self._closed_spend
        for other in self._members:
            if other is not member:
                own = own.plus(other.claim_bound)
        is_known = not others.characters_without_price and others.currency in {None, cap.currency}
        limit = SpendBound(
            sys.maxsize if cap.max_characters is None else cap.max_characters,
            _UNLIMITED_COST if cap.max_cost is None else cap.max_cost if is_known else _ZERO,
        )
        return limit.minus(own).minus(SpendBound(others.characters_upper_bound, others.cost_upper_bound or _ZERO))


_UNLIMITED_COST = Decimal("1e30")


def _maximum(one: SpendBound, other: SpendBound) -> SpendBound:
    return SpendBound(max(one.characters, other.characters), max(one.cost, other.cost))


def _fair_headroom(headroom: SpendBound, available: SpendBound) -> SpendBound:
    """Return how much more is claimed than is needed: half of what is left at most, for others claim, too."""
    cost = min(headroom.cost, available.cost / 2).quantize(_NANO, ROUND_FLOOR)
    return SpendBound(min(headroom.characters, available.characters // 2), cost)
