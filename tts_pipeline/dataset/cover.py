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

from tts_pipeline.config import BudgetCap
from tts_pipeline.cost import cost_of
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.dataset.store import Store
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StoppedError
from tts_pipeline.models import Attempt, Price, Settlement, Usage

_NOTHING = Decimal(0)
_NANO = Decimal("1e-9")
_WAITS_S = (0.1, 0.3, 0.0)
"""How long to wait, at most, before a claim is tried again that did not fit: two may have claimed at one instant."""


class Bound(NamedTuple):
    """The most that may be spent, in characters and in money."""

    characters: int
    cost: Decimal

    def plus(self, other: Bound) -> Bound:
        """Return the sum of two bounds."""
        return Bound(self.characters + other.characters, self.cost + other.cost)

    def less(self, other: Bound) -> Bound:
        """Return the difference of two bounds."""
        return Bound(self.characters - other.characters, self.cost - other.cost)

    def holds(self, other: Bound) -> bool:
        """Say whether another bound is within this one."""
        return other.characters <= self.characters and other.cost <= self.cost


NO_BOUND = Bound(0, _NOTHING)


class Cover:
    """What a part may have spent, and the claim that covers it.

    Should the journal be lost with its disk, the claim is what the bill goes by: so it is never below what may have
    been spent, in characters and in money. Where there is a cap, claims are also what other processes count: a claim
    is no larger than the pot has room for.

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
        self._spent = self._claimed = NO_BOUND
        self._pot: Pot | None = None
        self._raising = asyncio.Lock()
        # A claim that is lowered, by another part's thread, stays above what is spent.
        self._counting = threading.Lock()

    @property
    def journal_id(self) -> str:
        """Whose claim it is."""
        return self._claim.journal_id

    @property
    def spent(self) -> Bound:
        """What may have been spent."""
        return self._spent

    @property
    def claimed(self) -> Bound:
        """What the claim covers."""
        return self._claimed

    def begin(self, pot: Pot | None = None) -> None:
        """Claim what the rows to do are counted at. Blocking.

        Args:
            pot: What all claims are drawn from; None is without a cap.

        Raises:
            StorageError: The destination failed.
        """
        self._pot = pot
        if pot is not None:
            pot.join(self)
        self._raise(NO_BOUND)

    async def add(self, attempt: Attempt) -> None:
        """Count an attempt that is about to be sent; raises the claim first when it does not fit.

        Raises:
            StorageError: The claim cannot be raised: nothing may be sent.
            StoppedError: Others have claimed what is left of the cap: nothing may be sent.
        """
        needed = Bound(attempt.characters_upper_bound, attempt.cost_upper_bound or _NOTHING)
        if self.take(needed):
            return
        async with self._raising:
            while not self.take(needed):
                if not await asyncio.to_thread(self._raise, needed):
                    assert self._pot is not None
                    raise self._pot.refusal()

    def take(self, needed: Bound) -> bool:
        """Count what is about to be spent, if the claim covers it; say whether it does."""
        with self._counting:
            spent = self._spent.plus(needed)
            if not self._claimed.holds(spent):
                return False
            self._spent = spent
            return True

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Give back what an attempt surely did not spend."""
        cost = _NOTHING
        if settlement.cost_upper_bound is not None and attempt.cost_upper_bound is not None:
            cost = settlement.cost_upper_bound - attempt.cost_upper_bound
        with self._counting:
            change = settlement.characters_upper_bound - attempt.characters_upper_bound
            self._spent = self._spent.plus(Bound(change, cost))

    def wanted(self, needed: Bound) -> tuple[Bound, Bound]:
        """Return the claim that covers what is about to be spent, and how much more is best claimed with it."""
        least = self._spent.plus(needed)
        return least, Bound(self._step, self._cost_of_step(least))

    def write(self, bound: Bound) -> None:
        """Write a claim. Blocking."""
        cost = bound.cost if self._prices else None
        claim = replace(self._claim, characters_upper_bound=bound.characters, cost_upper_bound=cost)
        write_claim(self._store, self._part, claim)

    def grant(self, bound: Bound) -> None:
        """Let so much be spent; the claim is written."""
        self._claimed = bound

    def lower(self) -> None:
        """Claim no more than what is spent. Blocking."""
        with self._counting:
            before, self._claimed = self._claimed, self._spent
        if before != self._spent:
            self.write(self._claimed)

    def end(self) -> None:
        """Let nothing more be spent: a usage file tells what was, and the claim is gone."""
        if self._pot is not None:
            self._pot.leave(self)

    def _raise(self, needed: Bound) -> bool:
        if self._pot is not None:
            return self._pot.draw(self, needed)
        least, beyond = self.wanted(needed)
        self.write(least.plus(beyond))
        self.grant(least.plus(beyond))
        return True

    def _cost_of_step(self, spent: Bound) -> Decimal:
        """Return what a step may cost: by characters it is known, by tokens it goes by what was spent so far."""
        costs = [cost_of(price, characters=self._step, usage=Usage()) for price in self._prices]
        known = max((cost for cost in costs if cost is not None), default=_NOTHING)
        by_now = spent.cost * self._step / max(spent.characters, 1)
        return max(known, by_now.quantize(_NANO, ROUND_CEILING))


class Pot:
    """A cap that all open parts of a process draw their claims from, while other processes draw from it too.

    A claim is written first, then everything else is counted, and only what then fits is kept. Of two processes that
    claim at one time at least one sees the other, so what they claim together never passes the cap. No clock, lock or
    word between them is needed.

    Args:
        cap: The most that may be spent.
        count: Counts what is spent and claimed at most by others than some journals. Blocking.
        learn: Is given what was counted.
    """

    def __init__(
        self, cap: BudgetCap, count: Callable[[Collection[str]], Totals], learn: Callable[[Totals], None]
    ) -> None:
        self._cap = cap
        self._count = count
        self._learn = learn
        self._covers: list[Cover] = []
        self._journals: set[str] = set()
        self._ended = NO_BOUND
        self._drawing = threading.Lock()
        self._elsewhere = Totals()
        self._is_empty = False

    def join(self, cover: Cover) -> None:
        """Let a part draw from the pot from now on."""
        with self._drawing:
            self._covers.append(cover)
            self._journals.add(cover.journal_id)

    def leave(self, cover: Cover) -> None:
        """Count what a part has spent as spent for good."""
        with self._drawing:
            self._covers.remove(cover)
            self._ended = self._ended.plus(cover.spent)

    def draw(self, cover: Cover, needed: Bound) -> bool:
        """Raise a part's claim by what it needs, and by more where there is room; say whether it fits. Blocking.

        Raises:
            StorageError: The destination failed.
        """
        with self._drawing:
            for wait_s in () if self._is_empty else _WAITS_S:
                if self._try(cover, needed):
                    return True
                time.sleep(random.uniform(0, wait_s))
            self._is_empty = needed != NO_BOUND
        return False

    def refusal(self) -> StoppedError:
        """Say why nothing more may be sent."""
        cap, elsewhere = self._cap, self._elsewhere
        amounts = []
        if cap.max_cost is not None:
            held = (elsewhere.cost_upper_bound or _NOTHING).normalize()
            amounts.append(f"{held:f} of {cap.max_cost.normalize():f} {cap.currency}")
        if cap.max_characters is not None:
            amounts.append(f"{elsewhere.characters_upper_bound:,} of {cap.max_characters:,} characters")
        return StoppedError(
            f"the budget is used up: other runs have spent or claimed {' and '.join(amounts)} by now",
            stopped_by="budget",
            hint="everything done is kept; run it again when they have ended, for what they left, or raise the cap",
        )

    def _try(self, cover: Cover, needed: Bound) -> bool:
        least, beyond = cover.wanted(needed)
        before, wanted = cover.claimed, least.plus(beyond)
        cover.write(_larger(before, wanted))
        self._elsewhere = self._count(self._journals)
        self._learn(self._elsewhere)
        if not self._room(cover).holds(least):
            for other in self._covers:
                if other is not cover:
                    other.lower()
        room = self._room(cover)
        granted = _larger(before, least.plus(_portion(beyond, room.less(least)))) if room.holds(least) else before
        if granted != wanted:
            cover.write(granted)
        cover.grant(granted)
        return room.holds(least)

    def _room(self, cover: Cover) -> Bound:
        """Return what a part may claim: the cap, less what is spent and claimed elsewhere and by other parts."""
        cap, elsewhere, own = self._cap, self._elsewhere, self._ended
        for other in self._covers:
            if other is not cover:
                own = own.plus(other.claimed)
        is_known = not elsewhere.characters_without_price and elsewhere.currency in {None, cap.currency}
        most = Bound(
            sys.maxsize if cap.max_characters is None else cap.max_characters,
            _ANY if cap.max_cost is None else cap.max_cost if is_known else _NOTHING,
        )
        return most.less(own).less(Bound(elsewhere.characters_upper_bound, elsewhere.cost_upper_bound or _NOTHING))


_ANY = Decimal("1e30")


def _larger(one: Bound, other: Bound) -> Bound:
    return Bound(max(one.characters, other.characters), max(one.cost, other.cost))


def _portion(beyond: Bound, left: Bound) -> Bound:
    """Return how much more is claimed than is needed: half of what is left at most, for others claim, too."""
    cost = min(beyond.cost, left.cost / 2).quantize(_NANO, ROUND_FLOOR)
    return Bound(min(beyond.characters, left.characters // 2), cost)
