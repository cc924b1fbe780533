"""Draw claims from a dataset's cap, which is one pot for all processes, shards and machines.

A process writes its claim first, then counts all other claims, and keeps only the amount that then fits. Of two
processes that claim at the same time, at least one sees the other, so their claims together never exceed the cap. They
need no clock, no lock and no message between them.

A process whose next attempt does not fit gives back: it lowers its claims to its spending, and marks those of which
nothing can come back. It counts again, until the attempt fits, or until every other claim is marked or belongs to a
dead process: then nothing can come back, and the refusal is final. So processes that wait for each other all end.
"""

from __future__ import annotations

import asyncio
import enum
import random
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from decimal import ROUND_FLOOR

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.claim_high_water import NO_SPEND, ClaimHighWater, maximum_of
from tts_pipeline.errors import StoppedError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.log import logger
from tts_pipeline.models import UtteranceKey
from tts_pipeline.money import NANO, ZERO, Cost, SpendBound

_FIRST_DIVISOR, _LATER_DIVISOR = 64, 8
"""A claim takes at most this part of the rest as headroom: the first claim of a part, and each later one.

A process opens many parts ahead of its work: with more for each, the first process would claim nearly all of a small
rest, and all others would wait for it.
"""


@dataclass(frozen=True, slots=True)
class OtherSpend:
    """The spending of other processes; both functions block.

    ``count`` counts the spending and the claims of all journals except the given ids. ``may_shrink`` returns whether
    one of the claims at the last count may still be lowered.
    """

    count: Callable[[Collection[str]], Cost]
    may_shrink: Callable[[], bool]


class _Draw(enum.Enum):
    """The result of a draw: it fits, it may fit later, or nothing can come back."""

    FITS = enum.auto()
    LATER = enum.auto()
    NEVER = enum.auto()


class BudgetPool:
    """A cap from which all open parts of a process draw their claims, while other processes draw from it, too.

    It is the source of a ``Budget``, whose event loop calls it; any thread may call ``open`` and ``leave``. A process
    that waits counts again after a random time between the two of ``poll_s``.
    """

    def __init__(self, cap: BudgetCap, budget: Budget, others: OtherSpend, poll_s: tuple[float, float]) -> None:
        self._limit = SpendBound.of_cap(cap)
        self._cap = cap
        self._budget = budget
        self._others = others
        self._poll_s = poll_s
        self._members: list[ClaimHighWater] = []
        self._member_by_key: dict[UtteranceKey, ClaimHighWater] = {}
        self._journal_ids: set[str] = set()
        self._closed_spend = NO_SPEND
        self._external = NO_SPEND
        self._gives_back = False
        self._lock = threading.RLock()
        self._drawing: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._was_idle = False
        self._has_told_wait = False
        self._refused: SpendBound | None = None
        self._failure: Exception | None = None

    def open(self, member: ClaimHighWater, keys: Iterable[UtteranceKey]) -> None:
        """Add a part with the keys of its rows, and write its first claim, for the rows to do. Blocking."""
        with self._lock:
            self._members.append(member)
            self._journal_ids.add(member.journal_id)
            self._member_by_key.update(dict.fromkeys(keys, member))
            if self._gives_back or not self._try_draw(member, NO_SPEND):
                member.lower()

    def leave(self, member: ClaimHighWater) -> None:
        """Remove a part, and keep counting its spending; its claim is written no more. Waits for a draw."""
        with self._lock:
            if member not in self._members:
                return
            self._members.remove(member)
            self._closed_spend = self._closed_spend.plus(member.spend)
            self._member_by_key = {key: other for key, other in self._member_by_key.items() if other is not member}

    def try_reserve(self, attempt: Attempt, margin: SpendBound) -> bool:  # noqa: ARG002 (kept by the budget's cap)
        """See ``SpendSource``: reserve an attempt within the claim of its part."""
        return self._member_of(attempt).try_reserve(attempt)

    def release(self, attempt: Attempt) -> None:
        """See ``SpendSource``."""
        self._member_of(attempt).release(attempt)

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """See ``SpendSource``."""
        self._member_of(attempt).settle(attempt, settlement)

    def request(self, attempt: Attempt, *, is_idle: bool) -> StoppedError | None:
        """See ``SpendSource``."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        needed = SpendBound.of(attempt)
        if is_idle and self._refused is not None and needed.covers(self._refused):
            return self._budget.used_up_error(attempt)
        # An attempt that was refused while others were in flight is worth another draw as soon as they have ended.
        if self._drawing is None and (self._timer is None or (is_idle and not self._was_idle)):
            self.close()
            self._was_idle = is_idle
            self._drawing = asyncio.ensure_future(self._draw(self._member_of(attempt), needed, is_idle=is_idle))
        return None

    def give_back(self) -> None:
        """See ``SpendSource``: lower all claims."""
        if self._drawing is None and not self._gives_back:
            self._drawing = asyncio.ensure_future(self._give_back())

    def close(self) -> None:
        """See ``SpendSource``; a draw that has begun goes on in its thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _member_of(self, attempt: Attempt) -> ClaimHighWater:
        return self._member_by_key[attempt.utterance_id, attempt.take]

    async def _draw(self, member: ClaimHighWater, needed: SpendBound, *, is_idle: bool) -> None:
        draw = _Draw.LATER
        try:
            draw = await asyncio.to_thread(self._draw_blocking, member, needed, is_idle=is_idle)
        except Exception as error:
            self._failure = error
        finally:
            self._drawing = None
        if draw is _Draw.LATER and self._failure is None:
            self._tell_wait(is_idle=is_idle)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(random.uniform(*self._poll_s), self._ask_again)
            self._budget.give_back_others(self)
        if draw is not _Draw.LATER or self._failure is not None or not is_idle:
            self._refused = needed if draw is _Draw.NEVER else None
            self._budget.on_change()
            self._refused = None

    async def _give_back(self) -> None:
        try:
            await asyncio.to_thread(self._lower_all)
        except Exception as error:
            self._failure = error
        finally:
            self._drawing = None
        self._budget.on_change()

    def _tell_wait(self, *, is_idle: bool) -> None:
        if is_idle and not self._has_told_wait:
            self._has_told_wait = True
            logger.warning("other runs have claimed the rest of the budget: waiting for what they give back")

    def _ask_again(self) -> None:
        self._timer = None
        self._budget.on_change()

    def _draw_blocking(self, member: ClaimHighWater, needed: SpendBound, *, is_idle: bool) -> _Draw:
        """Raise a part's claim by the needed spending, or more if the cap allows; else give back."""
        with self._lock:
            if member not in self._members:
                return _Draw.LATER
            if self._try_draw(member, needed):
                self._gives_back = False
                return _Draw.FITS
            self._lower_all()
            return _Draw.NEVER if is_idle and not self._others.may_shrink() else _Draw.LATER

    def _lower_all(self) -> None:
        with self._lock:
            self._gives_back = True
            for member in self._members:
                member.lower()

    def _try_draw(self, member: ClaimHighWater, needed: SpendBound) -> bool:
        minimum, headroom = member.minimum_and_headroom(needed)
        if self._gives_back:  # look first: a claim in vain would keep others from an amount that is enough for them
            self._count()
            if not self._available(member).covers(minimum):
                return False
        previous, divisor = member.claim_bound, _FIRST_DIVISOR if needed == NO_SPEND else _LATER_DIVISOR
        claimed = maximum_of(previous, self._fair_bound(member, minimum, headroom, divisor))
        member.write(claimed)
        self._count()
        if not self._available(member).covers(minimum):
            for other in self._members:
                if other is not member:
                    other.lower()
        if not self._available(member).covers(minimum):
            return False
        bound = _minimum(claimed, maximum_of(previous, self._fair_bound(member, minimum, headroom, divisor)))
        member.write(bound)
        member.claim_bound = bound
        return True

    def _count(self) -> None:
        external = self._others.count(self._journal_ids)
        self._budget.set_external_spend(external)
        is_known = not external.characters_without_price and external.currency in {None, self._cap.currency}
        self._external = external.bound
        if self._cap.max_cost is not None and not is_known:
            self._external = self._external._replace(cost=self._cap.max_cost)

    def _available(self, member: ClaimHighWater) -> SpendBound:
        """Return the upper bound of a part's claim: the cap minus all other spending and claims."""
        own = self._closed_spend
        for other in self._members:
            if other is not member:  # a service that charges more may have brought the spending above the claim
                own = own.plus(maximum_of(other.claim_bound, other.spend))
        return self._limit.minus(own).minus(self._external)

    def _fair_bound(
        self, member: ClaimHighWater, minimum: SpendBound, headroom: SpendBound, divisor: int
    ) -> SpendBound:
        """Return the minimum with headroom: at most a part of the rest, because other processes claim, too."""
        rest = self._available(member).minus(minimum)
        cost = min(headroom.cost, max(rest.cost, ZERO) / divisor).quantize(NANO, ROUND_FLOOR)
        return minimum.plus(SpendBound(min(headroom.characters, max(rest.characters, 0) // divisor), cost))


def _minimum(first: SpendBound, second: SpendBound) -> SpendBound:
    return SpendBound(min(first.characters, second.characters), min(first.cost, second.cost))
