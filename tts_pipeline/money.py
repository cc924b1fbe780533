"""Price usage and add up costs, in exact decimals."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache, reduce
from typing import NamedTuple

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.config import BudgetCap
from tts_pipeline.models import Price, Usage

ZERO = Decimal(0)
NANO = Decimal("1e-9")
"""The scale of every cost, that of ``decimal128(18, 9)`` in the tables."""

_UNLIMITED_COST = Decimal("1e30")

_ARITHMETIC = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""Makes a bill independent of the caller's decimal context."""


def price_at(prices: Iterable[Price], at: datetime) -> Price | None:
    """Return the price of an instant; None without one: then the cost is unknown, which is not 0.

    A price applies from its ``effective_from`` up to, not including, its ``effective_until``, days of its time zone; at
    most one applies, because the catalog refuses overlapping prices.
    """
    return next((price for price in prices if price.applies_at(at)), None)


def cost_of(price: Price | None, *, characters: int, usage: Usage) -> Decimal | None:
    """Return the cost of an attempt: 9 decimals, rounded half to even, in the price's currency.

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


def add_costs(cost: Decimal | None, other: Decimal | None, sign: int = 1) -> Decimal | None:
    """Add a cost to another, or subtract it with a sign of -1: None is unknown, not 0, and adds nothing."""
    if other is None:
        return cost
    if sign < 0:
        return _ARITHMETIC.subtract(cost or ZERO, other)
    return other if cost is None else _ARITHMETIC.add(cost, other)


def total_cost(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Add costs up, as ``add_costs`` does. Show such a sum together with the number of its unknown costs."""
    return reduce(add_costs, costs, None)


def confirmed_if_unknown(upper_bound: Decimal | None) -> Decimal | None:
    """Return the confirmed cost of an attempt whose outcome is unknown: 0; None without a price."""
    return None if upper_bound is None else ZERO


class SpendBound(NamedTuple):
    """The most that may be spent, in characters and money."""

    characters: int = 0
    cost: Decimal = ZERO

    @classmethod
    def of(cls, attempt: Attempt | Settlement) -> SpendBound:
        """Return the bound of one attempt; its money is 0 without a price."""
        return cls(attempt.characters_upper_bound, attempt.cost_upper_bound or ZERO)

    @classmethod
    def of_cap(cls, cap: BudgetCap) -> SpendBound:
        """Return the bound that a cap sets; where it is unset, the bound is beyond all spending."""
        return cls(
            sys.maxsize if cap.max_characters is None else cap.max_characters,
            _UNLIMITED_COST if cap.max_cost is None else cap.max_cost,
        )

    def plus(self, other: SpendBound) -> SpendBound:
        """Return the sum of two bounds."""
        return SpendBound(self.characters + other.characters, self.cost + other.cost)

    def with_attempt(self, attempt: Attempt) -> SpendBound:
        """Return the bound once another attempt is sent; without a price the attempt adds no money."""
        cost = add_costs(self.cost, attempt.cost_upper_bound) or ZERO
        return SpendBound(self.characters + attempt.characters_upper_bound, cost)

    def with_settlement(self, attempt: Attempt, settlement: Settlement) -> SpendBound:
        """Return the bound with an attempt's settlement in place of its own bound."""
        characters = self.characters + settlement.characters_upper_bound - attempt.characters_upper_bound
        cost = add_costs(add_costs(self.cost, settlement.cost_upper_bound), attempt.cost_upper_bound, -1) or ZERO
        return SpendBound(characters, cost)

    def minus(self, other: SpendBound) -> SpendBound:
        """Return the difference of two bounds."""
        return SpendBound(self.characters - other.characters, self.cost - other.cost)

    def covers(self, other: SpendBound) -> bool:
        """Return whether another bound is within this one."""
        return other.characters <= self.characters and other.cost <= self.cost


@dataclass(slots=True, kw_only=True)
class Cost:
    """The cost of attempts: the sum behind every bill, budget, claim and progress display.

    ``unknown_attempts`` counts attempts with an unknown outcome. Amounts are None until an attempt has a price;
    ``characters_without_price`` counts the characters with an unknown cost. ``implausible_attempts`` counts attempts
    with an implausible report of usage; ``cost_in_question`` is their part of ``cost_upper_bound``.

    The first attempt with an upper bound of its cost gives the sum its currency. Amounts in another currency, and
    amounts without an upper bound, are not added.
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
        """Return the cost of attempts with known bounds only; ``upper_bound`` is None without a price.

        They count as one unknown attempt, because the usage table has one row for them.
        """
        cost = cls(attempts=1, unknown_attempts=1, characters_upper_bound=characters)
        if upper_bound is None:
            cost.characters_without_price = characters
        else:
            cost.cost, cost.cost_upper_bound, cost.currency = ZERO, upper_bound, currency
        return cost

    @property
    def bound(self) -> SpendBound:
        """The most that may have been spent; characters without a price count no money."""
        return SpendBound(self.characters_upper_bound, self.cost_upper_bound or ZERO)

    def add(self, other: Cost) -> None:
        """Add another cost. Currencies are never mixed: characters in another currency count as without a price."""
        self.attempts += other.attempts
        self.unknown_attempts += other.unknown_attempts
        self.characters_billed += other.characters_billed
        self.characters_upper_bound += other.characters_upper_bound
        self.implausible_attempts += other.implausible_attempts
        if not self._takes(None if other.cost_upper_bound is None else other.currency):
            self.characters_without_price += other.characters_upper_bound
            return
        self.characters_without_price += other.characters_without_price
        self.cost = add_costs(self.cost, other.cost)
        self.cost_upper_bound = add_costs(self.cost_upper_bound, other.cost_upper_bound)
        self.cost_in_question = add_costs(self.cost_in_question, other.cost_in_question)

    def add_attempt(self, attempt: Attempt | Settlement, currency: str | None, sign: int = 1) -> None:
        """Add a settlement, or an attempt with an unknown outcome at its upper bound. A sign of -1 subtracts it."""
        characters, upper_bound = attempt.characters_upper_bound, attempt.cost_upper_bound
        self.attempts += sign
        self.characters_upper_bound += sign * characters
        cost: Decimal | None = None
        in_question: Decimal | None = None
        if isinstance(attempt, Attempt):
            self.unknown_attempts += sign
            cost = ZERO if self.cost is None else None  # skips the addition of 0 to an existing sum
        else:
            cost = attempt.cost
            self.characters_billed += sign * attempt.characters_billed
            if attempt.implausible:
                self.implausible_attempts += sign
                in_question = upper_bound
        if upper_bound is None or (currency != self.currency and not self._takes(currency)):
            self.characters_without_price += sign * characters
            return
        self.cost = add_costs(self.cost, cost, sign)
        self.cost_upper_bound = add_costs(self.cost_upper_bound, upper_bound, sign)
        if in_question is not None:
            self.cost_in_question = add_costs(self.cost_in_question, in_question, sign)

    def settle_attempt(self, attempt: Attempt, settlement: Settlement, currency: str | None) -> None:
        """Replace an attempt at its upper bound with its settlement; where the bound stays, it is not added anew."""
        if not settlement.has_bound_of(attempt) or settlement.implausible or currency != self.currency:
            self.add_attempt(attempt, currency, -1)
            self.add_attempt(settlement, currency)
            return
        self.unknown_attempts -= 1
        self.characters_billed += settlement.characters_billed
        if settlement.cost_upper_bound is not None:
            self.cost = add_costs(self.cost, settlement.cost)

    def _takes(self, currency: str | None) -> bool:
        """Return whether this sum takes money of a currency; the first currency becomes the sum's."""
        if self.currency is None:
            self.currency = currency
        return currency is None or currency == self.currency


def sum_of(costs: Iterable[Cost]) -> Cost:
    """Add costs up."""
    total = Cost()
    for cost in costs:
        total.add(cost)
    return total


@lru_cache(maxsize=4_096)  # texts have few lengths, and a row's cost is computed several times
def _character_cost(per_10k: Decimal, characters: int) -> Decimal:
    with localcontext(_ARITHMETIC):
        return (per_10k * characters / 10_000).quantize(NANO)


def are_consistent_amounts(characters: tuple[int, int], costs: tuple[Decimal | None, Decimal | None]) -> bool:
    """Return whether (confirmed, upper bound) of characters and of costs can both be true; None is unknown."""
    confirmed, upper_bound = costs
    if not 0 <= characters[0] <= characters[1]:
        return False
    if confirmed is not None and not (confirmed.is_finite() and confirmed >= 0):
        return False
    if upper_bound is None:
        return True
    return upper_bound.is_finite() and upper_bound >= (confirmed or ZERO)
