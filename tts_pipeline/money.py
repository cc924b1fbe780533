"""Costs: usage times price. Exact decimals, never floats."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache, reduce
from typing import NamedTuple

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.config import BudgetCap
from tts_pipeline.models import Price, Usage

ZERO = Decimal(0)
NANO = Decimal("1e-9")
"""The scale of every cost: what ``decimal128(18, 9)`` in the tables holds."""

_UNLIMITED_COST = Decimal("1e30")

_ARITHMETIC = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""So that a bill does not depend on the decimal context that a caller happens to have set."""


def price_at(prices: Sequence[Price], day: date) -> Price | None:
    """Choose the price that holds on a day (UTC); None when there is none: then cost is unknown, which is not 0.

    A price holds from its ``effective_from`` up to, not including, its ``effective_until``; the catalog refuses
    overlapping ones, so at most one fits.
    """
    for price in prices:
        has_begun = price.effective_from is None or price.effective_from <= day
        if has_begun and (price.effective_until is None or day < price.effective_until):
            return price
    return None


def cost_of(price: Price | None, *, characters: int, usage: Usage) -> Decimal | None:
    """Work out what an attempt costs: money with 9 decimals, rounded half to even, in the price's currency.

    None without a price, and with a price by token when the service did not report both kinds of tokens.
    """
    if price is None:
        return None
    if price.per_10k_characters is not None:
        return _character_cost(price.per_10k_characters, characters)
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    with localcontext(_ARITHMETIC):
        text = (price.per_1m_input_tokens or ZERO) * usage.input_tokens
        audio = (price.per_1m_output_tokens or ZERO) * usage.output_tokens
        return ((text + audio) / 1_000_000).quantize(NANO)


def add_costs(one: Decimal | None, other: Decimal | None, sign: int = 1) -> Decimal | None:
    """Add a cost to another, or take it off with a sign of -1: None is not 0, so what is not known adds nothing."""
    if other is None:
        return one
    if sign < 0:
        return _ARITHMETIC.subtract(one or ZERO, other)
    return other if one is None else _ARITHMETIC.add(one, other)


def total_cost(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Add costs up, as ``add_costs`` does.

    Whoever shows a sum of which some are not known says beside it how many these are.
    """
    return reduce(add_costs, costs, None)


def confirmed_if_unknown(upper_bound: Decimal | None) -> Decimal | None:
    """Return the confirmed cost of an attempt whose outcome is unknown: 0; None without a price."""
    return None if upper_bound is None else ZERO


class SpendBound(NamedTuple):
    """The most that may be spent."""

    characters: int = 0
    cost: Decimal = ZERO

    @classmethod
    def of(cls, attempt: Attempt | Settlement) -> SpendBound:
        """Return the bound of one attempt; without a price no money is counted."""
        return cls(attempt.characters_upper_bound, attempt.cost_upper_bound or ZERO)

    @classmethod
    def of_cap(cls, cap: BudgetCap) -> SpendBound:
        """Return what a cap allows, which is beyond all spending where it is not set."""
        return cls(
            sys.maxsize if cap.max_characters is None else cap.max_characters,
            _UNLIMITED_COST if cap.max_cost is None else cap.max_cost,
        )

    def plus(self, other: SpendBound) -> SpendBound:
        """Return the sum of two bounds."""
        return SpendBound(self.characters + other.characters, self.cost + other.cost)

    def minus(self, other: SpendBound) -> SpendBound:
        """Return the difference of two bounds."""
        return SpendBound(self.characters - other.characters, self.cost - other.cost)

    def covers(self, other: SpendBound) -> bool:
        """Say whether another bound is within this one."""
        return other.characters <= self.characters and other.cost <= self.cost


@dataclass(slots=True, kw_only=True)
class Cost:
    """What attempts cost. Nothing else in the package adds costs up.

    Outcomes that are not known are ``unknown_attempts``. Amounts are None as long as nothing has a price; characters
    whose cost is not known are ``characters_without_price``. Attempts whose report of usage cannot be true are
    ``implausible_attempts``, and their part of ``cost_upper_bound`` is ``cost_in_question``.
    """

    attempts: int = 0
    unknown_attempts: int = 0
    characters_billed: int = 0
    characters_upper_bound: int = 0
    characters_without_price: int = 0
    cost: Decimal | None = None
    cost_upper_bound: Decimal | None = None
    currency: str | None = None
    implausible_attempts: int = 0
    cost_in_question: Decimal | None = None

    @classmethod
    def at_most(cls, characters: int, upper_bound: Decimal | None, currency: str | None) -> Cost:
        """Return the cost of attempts of which only the bounds are known; ``upper_bound`` is None without a price."""
        if upper_bound is None:
            return cls(characters_upper_bound=characters, characters_without_price=characters)
        return cls(characters_upper_bound=characters, cost=ZERO, cost_upper_bound=upper_bound, currency=currency)

    @property
    def bound(self) -> SpendBound:
        """The most that may have been spent; characters without a price count no money."""
        return SpendBound(self.characters_upper_bound, self.cost_upper_bound or ZERO)

    def bound_with(self, attempt: Attempt) -> SpendBound:
        """The most that may have been spent when another attempt is sent, too."""
        characters = self.characters_upper_bound + attempt.characters_upper_bound
        return SpendBound(characters, add_costs(self.cost_upper_bound, attempt.cost_upper_bound) or ZERO)

    def add(self, other: Cost) -> None:
        """Add another cost. Two currencies are never added: characters of another one count as without a price."""
        self.attempts += other.attempts
        self.unknown_attempts += other.unknown_attempts
        self.characters_billed += other.characters_billed
        self.characters_upper_bound += other.characters_upper_bound
        self.implausible_attempts += other.implausible_attempts
        if not self._takes(other.currency):
            self.characters_without_price += other.characters_upper_bound
            return
        self.characters_without_price += other.characters_without_price
        self.cost = add_costs(self.cost, other.cost)
        self.cost_upper_bound = add_costs(self.cost_upper_bound, other.cost_upper_bound)
        self.cost_in_question = add_costs(self.cost_in_question, other.cost_in_question)

    def add_attempt(self, attempt: Attempt | Settlement, currency: str | None, sign: int = 1) -> None:
        """Add one attempt: as it was settled, else at most, for its outcome is unknown. A sign of -1 takes it off."""
        characters, upper_bound = attempt.characters_upper_bound, attempt.cost_upper_bound
        self.attempts += sign
        self.characters_upper_bound += sign * characters
        cost: Decimal | None = None
        if isinstance(attempt, Attempt):
            self.unknown_attempts += sign
            cost = ZERO if self.cost is None else None  # what adds nothing to a sum is not added
        else:
            cost = attempt.cost
            self.characters_billed += sign * attempt.characters_billed
            if attempt.implausible:
                self.implausible_attempts += sign
                self.cost_in_question = add_costs(self.cost_in_question, upper_bound, sign)
        if upper_bound is None or (currency != self.currency and not self._takes(currency)):
            self.characters_without_price += sign * characters
            return
        self.cost = add_costs(self.cost, cost, sign)
        self.cost_upper_bound = add_costs(self.cost_upper_bound, upper_bound, sign)

    def _takes(self, currency: str | None) -> bool:
        """Say whether money of a currency is added here; the first currency is the sum's."""
        if self.currency is None:
            self.currency = currency
        return currency is None or currency == self.currency


def sum_of(costs: Iterable[Cost]) -> Cost:
    """Add costs up."""
    total = Cost()
    for cost in costs:
        total.add(cost)
    return total


@lru_cache(maxsize=4_096)  # texts are of few lengths, and a row's cost is asked for several times
def _character_cost(per_10k: Decimal, characters: int) -> Decimal:
    with localcontext(_ARITHMETIC):
        return (per_10k * characters / 10_000).quantize(NANO)


def are_consistent_amounts(characters: tuple[int, int], costs: tuple[Decimal | None, Decimal | None]) -> bool:
    """Say whether what is confirmed and what is possible can be true together; None is not known."""
    confirmed, upper_bound = costs
    if not all(cost is None or cost.is_finite() for cost in costs):
        return False
    if not 0 <= characters[0] <= characters[1] or (confirmed or 0) < 0 or (upper_bound or 0) < 0:
        return False
    return confirmed is None or upper_bound is None or confirmed <= upper_bound
