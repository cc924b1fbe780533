"""Price characters and tokens of many rows at once, exactly as ``money.cost_of`` prices one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import polars as pl

from tts_pipeline.models import Price
from tts_pipeline.money import NANO
from tts_pipeline.schema import MAX_MONEY

_INT = pl.Int128()
_MONEY = pl.Decimal(38, 9)
_PER_10K, _PER_1M = 4, 6
"""The powers of ten in the units of prices."""

_NANO = 9

Prices = Mapping[tuple[str, str], Sequence[Price]]
"""The prices of each service and model, by their names."""


def cost_expression(price: Price, quantities: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return the cost at a price: 9 decimals, rounded half to even.

    Args:
        price: The price.
        quantities: Expressions of the counts ``characters``, ``input_tokens`` and ``output_tokens``, none below 0; the
            cost is null where a count that the price needs is.
    """
    if price.per_10k_characters is not None:
        return _cost({"characters": price.per_10k_characters}, quantities, _PER_10K)
    tokens = {"input_tokens": price.per_1m_input_tokens, "output_tokens": price.per_1m_output_tokens}
    return _cost({name: amount or Decimal(0) for name, amount in tokens.items()}, quantities, _PER_1M)


def by_price(prices: Prices, value: Mapping[Price, pl.Expr], otherwise: pl.Expr | None = None) -> pl.Expr:
    """Return the value of the price that applied to each row's ``service``, ``model`` and ``started_at``."""
    chosen = pl.lit(None) if otherwise is None else otherwise
    for (service, model), known in prices.items():
        is_of_model = (pl.col("service") == service) & (pl.col("model") == model)
        for price in known:
            chosen = pl.when(is_of_model & _applies(price)).then(value[price]).otherwise(chosen)
    return chosen


def all_prices(prices: Prices) -> Iterable[Price]:
    """Return each price once."""
    return dict.fromkeys(price for known in prices.values() for price in known)


def _applies(price: Price) -> pl.Expr:
    begin, end = price.begin, price.end
    has_begun = pl.lit(value=True) if begin is None else pl.col("started_at") >= begin
    return has_begun if end is None else has_begun & (pl.col("started_at") < end)


def _cost(amounts: Mapping[str, Decimal], quantities: Mapping[str, pl.Expr], unit: int) -> pl.Expr:
    scale = max(0, *(-int(amount.as_tuple().exponent) for amount in amounts.values()))
    total = pl.sum_horizontal(
        (quantities[name].cast(_INT) * pl.lit(int(amount.scaleb(scale)), _INT) for name, amount in amounts.items()),
        ignore_nulls=False,
    )
    nano = _shift(total, _NANO - scale - unit)
    # The largest amount that the tables hold; only an implausible report is that large.
    highest = pl.lit(int(MAX_MONEY / NANO), _INT)
    return pl.when(nano > highest).then(highest).otherwise(nano).cast(pl.Decimal(38, 0)) * pl.lit(NANO, _MONEY)


def _shift(number: pl.Expr, digits: int) -> pl.Expr:
    """Multiply by a power of ten; a negative one divides, and rounds half to even."""
    power = pl.lit(10 ** abs(digits), _INT)
    if digits >= 0:
        return number * power
    quotient, twice = number // power, number % power * 2
    is_up = (twice > power) | ((twice == power) & (quotient % 2 == 1))
    return quotient + is_up.cast(_INT)
