"""Usage x price -> money. Exact decimals, never floats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache

from tts_pipeline.models import Price, Usage

ZERO = Decimal(0)
NANO = Decimal("1e-9")
"""The scale of every cost: what ``decimal128(18, 9)`` in the tables holds."""

_ARITHMETIC = Context(prec=60, rounding=ROUND_HALF_EVEN)
"""So that a bill does not depend on the decimal context that a caller happens to have set."""


def price_at(prices: Sequence[Price], day: date) -> Price | None:
    """Choose the price that holds on a day.

    Args:
        prices: A card's prices; the catalog refuses overlapping ones, so at most one fits.
        day: A day in UTC; a price holds from its ``effective_from`` up to, not including, its ``effective_until``.

    Returns:
        The price; None when there is none that day: then cost is unknown, which is not 0.
    """
    for price in prices:
        has_begun = price.effective_from is None or price.effective_from <= day
        if has_begun and (price.effective_until is None or day < price.effective_until):
            return price
    return None


def cost_of(price: Price | None, *, characters: int, usage: Usage) -> Decimal | None:
    """Work out what an attempt costs.

    Args:
        price: The price that holds at the attempt's time; None where there is none.
        characters: Billed characters; used by a price per character.
        usage: What the service reported; a price by token needs its input and output tokens.

    Returns:
        Money in the price's currency with 9 decimals, rounded half to even; None without a price, and with a price
        by token when the service did not report both kinds of tokens.
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


def total_cost(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Add costs up: None is not 0, so the sum of costs of which none is known is None.

    Whoever shows a sum of which some are not known says beside it how many these are.
    """
    total: Decimal | None = None
    with localcontext(_ARITHMETIC):
        for cost in costs:
            if cost is not None:
                total = cost if total is None else total + cost
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
