"""A job's slices of the budgets that count its attempts: reserved here, and drawn by the session's thread."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.budgets import Budget, amount_of, check_prices, matching
from tts_pipeline.account.exchange import Standing
from tts_pipeline.account.pot_rows import PotKey
from tts_pipeline.account.pots import Refusal, Spending, Want
from tts_pipeline.account.session import AccountSession
from tts_pipeline.account.worker_rows import LEASE_US
from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.card import Card
from tts_pipeline.errors import ConfigurationError, StoppedError, TtsPipelineError
from tts_pipeline.flow.budget import Budget as SpendBudget
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.rates import store_away_error
from tts_pipeline.log import logger
from tts_pipeline.money import SpendBound
from tts_pipeline.periods import Period, instant, period_of

_POLL_S = (0.25, 1.0)
"""The least and the most time until a worker that was refused asks again."""

_FIRST_WANT = 4
_QUICK_S, _SLOW_S = 2.0, 8.0
"""A worker first wants four times the attempt that it needs; twice as much as before, if that was used up within two
seconds, and half as much if it lasted for eight: so it draws about every few seconds."""


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What decides which budgets count a job's attempts; ``run`` is its run's id, as ``periods.run_id`` gives it.

    After ``max_outage_s`` without the store, the job stops.
    """

    card: Card
    service: str
    tags: Mapping[str, str]
    tag_columns: Collection[str]
    run: str
    max_outage_s: float

    def matching(self, budgets: Sequence[Budget], at_us: int) -> list[Budget]:
        """Return the budgets that count the job's attempts.

        Raises:
            ConfigurationError: One of them cannot be kept: it has another currency, or depends on the row.
        """
        matches = matching(budgets, self.service, self.card.model, self.tags, self.tag_columns)
        check_prices(matches, self.card, instant(at_us))
        return matches


@dataclass(slots=True)
class _Slice:
    """A slice of a pot, in the pot's unit; ``granted`` is what the store has counted as ours.

    ``figures`` are settled, confirmed and in flight, in one value: another thread may look at any time.
    """

    budget: Budget
    period: Period
    granted: int = 0
    figures: tuple[int, int, int] = (0, 0, 0)
    want: int = 0
    drawn_at_s: float = 0.0

    @property
    def rest(self) -> int:
        """What is neither spent nor reserved."""
        settled, _, open_bound = self.figures
        return self.granted - settled - open_bound

    @property
    def spending(self) -> Spending:
        """What was spent of it."""
        return Spending(self.budget.budget_id, self.period, *self.figures)

    def add(self, settled: int = 0, confirmed: int = 0, open_bound: int = 0) -> None:
        """Change the figures."""
        before = self.figures
        self.figures = before[0] + settled, before[1] + confirmed, before[2] + open_bound

    def adapt_want(self, bound: int, now_s: float) -> None:
        """Adapt what is wanted to how long the last draw lasted."""
        lasted_s, self.drawn_at_s = now_s - self.drawn_at_s, now_s
        if lasted_s < _QUICK_S:
            self.want *= 2
        elif lasted_s > _SLOW_S:
            self.want //= 2
        self.want = max(self.want, _FIRST_WANT * bound)

    def take_size(self, size: int, *, is_drawn: bool) -> None:
        """Take the size that the store says; a pot that gives less than is wanted would else be asked all the time."""
        self.granted = size
        if is_drawn:
            self.want = min(self.want, max(self.rest, 0))


class SharedPots:
    """See ``flow.spend_source.SpendSource``: every budget that counts a job's attempts, by its present period.

    It joins the run's budget as soon as a budget of the store counts its attempts, and follows changes of these.

    Args:
        session: The worker's session with the store.
        facts: What decides which budgets count the attempts.
        budget: The run's budget.
        clock: The time.
        settle_dead: Settle what dead workers of the dataset were granted of these budgets; return whether there was
            something to settle.
    """

    def __init__(
        self,
        session: AccountSession,
        facts: JobFacts,
        budget: SpendBudget,
        clock: Clock,
        settle_dead: Callable[[Sequence[Budget]], Awaitable[bool]],
    ) -> None:
        self._session = session
        self._facts = facts
        self._budget = budget
        self._clock = clock
        self._settle_dead = settle_dead
        self._settling: asyncio.Future[None] | None = None
        self._is_sure = False
        self._margin = SpendBound()
        self._store_budgets: Sequence[Budget] = ()
        self._budgets: Sequence[Budget] = ()
        self._misfit: ConfigurationError | None = None
        self._slices: dict[PotKey, _Slice] = {}
        self._periods: dict[str, Period] = {}
        self._open: dict[str, list[tuple[_Slice, int]]] = {}
        self._refusals: Sequence[Refusal] = ()
        self._is_asking = self._gives_back = self._was_idle = False
        self._next_ask_s = 0.0
        self._away_s = 0.0
        self._fresh_until_s = -math.inf
        session.spending = self.spending
        self._set_budgets(session.budgets)

    def spending(self) -> list[Spending]:
        """Return what was spent of each slice. From any thread."""
        return [each.spending for each in tuple(self._slices.values())]

    def begin(self) -> None:
        """Ask again what another event loop had asked before it ended."""
        self._is_asking = self._gives_back = False
        self._settling = None

    def take_standing(self, standing: Standing) -> None:
        """Take notice of an exchange with the store."""
        now_s, was_fresh = self._clock.monotonic_s(), self._is_fresh()
        self._away_s = standing.away_s
        if not standing.away_s:
            self._fresh_until_s = standing.renewed_s + LEASE_US / 1e6
        if self._session.budgets is not self._store_budgets:
            self._set_budgets(self._session.budgets)
        for key, size in standing.granted.items():
            if key in self._slices:
                self._slices[key].take_size(size, is_drawn=standing.has_drawn)
        if standing.has_drawn:
            self._end_draw(now_s, standing.refusals)
        elif standing.away_s or not was_fresh:
            self._budget.on_change()

    def _is_fresh(self) -> bool:
        """Return whether this worker surely counts as living: what a dead one was granted may be another's."""
        return self._clock.monotonic_s() < self._fresh_until_s

    def try_reserve(self, attempt: Attempt, margin: SpendBound) -> bool:
        """See ``SpendSource``: reserve an attempt in all slices, or in none."""
        self._margin = margin
        if self._misfit is not None or self._gives_back or not self._is_fresh():
            return False
        reserved = []
        for slice_ in self._slices_of(attempt):
            bound = amount_of(slice_.budget, attempt.characters_upper_bound, attempt.cost_upper_bound)
            if bound is None or bound + self._margin_of(slice_) > slice_.rest:
                return False
            reserved.append((slice_, bound))
        for slice_, bound in reserved:
            slice_.add(open_bound=bound)
        self._open[attempt.attempt_id] = reserved
        if any(2 * slice_.rest < slice_.want for slice_, _ in reserved):
            self._ask(attempt, is_idle=False)
        return True

    def release(self, attempt: Attempt) -> None:
        """See ``SpendSource``."""
        for slice_, bound in self._open.pop(attempt.attempt_id, ()):
            slice_.add(open_bound=-bound)

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """See ``SpendSource``."""
        for slice_, bound in self._open.pop(attempt.attempt_id, ()):
            possible = amount_of(slice_.budget, settlement.characters_upper_bound, settlement.cost_upper_bound)
            confirmed = amount_of(slice_.budget, settlement.characters_billed, settlement.cost) or 0
            slice_.add(bound if possible is None else possible, confirmed, -bound)

    def request(self, attempt: Attempt, *, is_idle: bool) -> StoppedError | None:
        """See ``SpendSource``."""
        if self._misfit is not None:
            return StoppedError(self._misfit.message, stopped_by="budget", hint=self._misfit.hint)
        if self._away_s > self._facts.max_outage_s:
            return store_away_error(self._away_s)
        if is_idle:
            self._settle_abandoned()
            final = {refusal.pot: refusal for refusal in self._refusals if refusal.is_final}
            for slice_ in self._slices_of(attempt):
                bound = amount_of(slice_.budget, attempt.characters_upper_bound, attempt.cost_upper_bound)
                if bound is None:
                    return _no_price_error(slice_.budget)
                refusal = final.get(slice_.spending.pot)
                if refusal is not None and refusal.need <= bound:
                    if self._is_sure:
                        return _used_up_error(slice_, refusal)
                    self._settling = self._settling or asyncio.ensure_future(self._settle())
                    return None
        self._ask(attempt, is_idle=is_idle)
        return None

    def give_back(self) -> None:
        """See ``SpendSource``."""
        if not self._is_asking and any(slice_.rest for slice_ in self._slices.values()):
            self._is_asking = self._gives_back = True
            self._session.request_draw((), gives_back=True)

    def close(self) -> None:
        """See ``SpendSource``; the session's end returns what is not spent."""

    def _set_budgets(self, budgets: Sequence[Budget]) -> None:
        self._store_budgets, self._refusals, self._misfit = budgets, (), None
        try:
            self._budgets = self._facts.matching(budgets, self._clock.utc_us())
        except ConfigurationError as error:
            self._misfit = error
        terms = {budget.budget_id: budget for budget in self._budgets}
        for slice_ in self._slices.values():
            slice_.budget = terms.get(slice_.budget.budget_id, slice_.budget)
        if (self._budgets or self._misfit) and self not in self._budget.sources:
            self._session.is_binding = True
            self._budget.add_source(self)
        self._budget.on_change()

    def _settle_abandoned(self) -> None:
        """Settle the attempts that ended without a settlement at their bounds: nobody may wait for their rest."""
        for slice_, bound in (each for reserved in self._open.values() for each in reserved):
            slice_.add(settled=bound, open_bound=-bound)
        self._open.clear()

    async def _settle(self) -> None:
        """Look for what dead workers did not spend: a process that was killed may have been begun again at once."""
        try:
            self._is_sure = not await self._settle_dead(self._budgets)
        except TtsPipelineError as error:
            logger.warning("what dead workers were granted stays counted as spent: %s", error)
            self._is_sure = True
        finally:
            self._settling = None
        if not self._is_sure:
            self._refusals = ()
        self._budget.on_change()

    def _slices_of(self, attempt: Attempt) -> list[_Slice]:
        return [self._slice_of(budget, attempt.started_at_us) for budget in self._budgets]

    def _slice_of(self, budget: Budget, at_us: int) -> _Slice:
        period = self._periods.get(budget.budget_id)
        if period is None or not period.contains(at_us):
            terms = budget.terms
            period = period_of(terms.period, terms.timezone, instant(at_us), self._facts.run)
            self._periods[budget.budget_id] = period
        key = budget.budget_id, period.key
        if key not in self._slices:
            self._slices[key] = _Slice(budget, period)
        return self._slices[key]

    def _margin_of(self, slice_: _Slice) -> int:
        return amount_of(slice_.budget, self._margin.characters, self._margin.cost) or 0

    def _ask(self, attempt: Attempt, *, is_idle: bool) -> None:
        """Ask the store for more, unless it was asked just now; a worker that has nothing in flight asks once more."""
        now_s = self._clock.monotonic_s()
        is_newly_idle = is_idle and not self._was_idle
        if self._is_asking or (now_s < self._next_ask_s and not is_newly_idle):
            return
        gives_back = is_idle and bool(self._refusals)
        wants = []
        for slice_ in self._slices_of(attempt):
            bound = amount_of(slice_.budget, attempt.characters_upper_bound, attempt.cost_upper_bound) or 0
            bound += self._margin_of(slice_)
            slice_.adapt_want(bound, now_s)
            need = max(bound - (0 if gives_back else slice_.rest), 0)
            if need or (not is_idle and 2 * slice_.rest < slice_.want):
                wants.append(Want(slice_.budget.budget_id, slice_.period, need, max(need, slice_.want)))
        self._is_asking, self._gives_back, self._was_idle = True, gives_back, is_idle
        self._session.request_draw(wants, gives_back=gives_back)

    def _end_draw(self, now_s: float, refusals: Sequence[Refusal]) -> None:
        self._is_asking = self._gives_back = False
        self._refusals, self._next_ask_s = refusals, now_s
        self._is_sure = self._is_sure and bool(refusals)
        for refusal in refusals:  # wanted while it was short; with more money, it begins small again
            if refusal.pot in self._slices:
                self._slices[refusal.pot].want = 0
        if refusals:
            wait_s = random.uniform(*_POLL_S)
            self._next_ask_s += wait_s
            asyncio.get_running_loop().call_later(wait_s, self._budget.on_change)
            self._budget.give_back_others(self)
        self._budget.on_change()


def _used_up_error(slice_: _Slice, refusal: Refusal) -> StoppedError:
    terms = slice_.budget.terms
    currency = terms.amount.currency
    spent, need = Amount(refusal.amount - refusal.free, currency), Amount(refusal.need, currency)
    when = "" if slice_.period.start is None else f" for {slice_.period.key} ({terms.timezone})"
    return StoppedError(
        f"the budget {terms.name!r} of {terms.amount}{when} is used up: {spent} are spent at most, and the next "
        f"request may take {need}",
        stopped_by="budget",
        hint=f"everything done is kept; see 'tts-pipeline budget list', and raise it with 'tts-pipeline budget set "
        f"{terms.name}'",
    )


def _no_price_error(budget: Budget) -> StoppedError:
    return StoppedError(
        f"no price applies now: the cost of the next request is unknown, so the budget {budget.terms.name!r} cannot be "
        "kept",
        stopped_by="budget",
        hint="give today's price with `prices`",
    )
