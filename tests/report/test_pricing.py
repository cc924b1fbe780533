"""Many rows are priced exactly as one is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.models import Price, Usage
from tts_pipeline.money import cost_of, price_at
from tts_pipeline.report.pricing import all_prices, by_price, cost_expression

AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=None, allow_nan=False, allow_infinity=False).map(
    lambda amount: round(amount, 12)
)
COUNTS = st.integers(0, 10**12)
_NAMES = ("characters", "input_tokens", "output_tokens")


@given(AMOUNTS, AMOUNTS, st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=1, max_size=20))
def test_it_is_the_cost_of_one_to_the_last_digit(
    amount: Decimal, other: Decimal, counts: list[tuple[int, int, int]]
) -> None:
    """By characters and by tokens, rounded half to even; up to what the tables hold."""
    prices = (
        Price("c", "CNY", "user", per_10k_characters=amount),
        Price("t", "CNY", "user", per_1m_input_tokens=amount, per_1m_output_tokens=other),
    )
    rows = pl.DataFrame(counts, schema=dict.fromkeys(_NAMES, pl.Int64()), orient="row")
    quantities = {name: pl.col(name) for name in _NAMES}
    for price in prices:
        costs = rows.select(cost_expression(price, quantities)).to_series().to_list()
        expected = [
            cost_of(price, characters=characters, usage=Usage(input_tokens=text, output_tokens=audio))
            for characters, text, audio in counts
        ]
        assert costs == [min(cost or Decimal(0), Decimal("999999999.999999999")) for cost in expected]


def test_a_half_goes_to_the_even_neighbour() -> None:
    """As in every bill."""
    price = Price("half", "CNY", "user", per_10k_characters=Decimal("0.000005"))
    rows = pl.DataFrame({"characters": [1, 2, 3, 5]})
    costs = rows.select(cost_expression(price, {"characters": pl.col("characters")})).to_series().to_list()
    assert costs == [Decimal(cost) for cost in ("0", "1e-9", "2e-9", "2e-9")]  # of 0.5, 1, 1.5 and 2.5


def test_an_unknown_count_has_no_cost() -> None:
    """Null is not 0."""
    price = Price("t", "CNY", "user", per_1m_input_tokens=Decimal(1), per_1m_output_tokens=Decimal(1))
    rows = pl.DataFrame(
        {"input_tokens": [None, 1], "output_tokens": [5, None]}, schema_overrides={"input_tokens": pl.Int64}
    )
    quantities = {name: pl.col(name) for name in _NAMES[1:]}
    assert rows.select(cost_expression(price, quantities)).to_series().to_list() == [None, None]


def test_the_price_is_that_of_the_vendors_day() -> None:
    """A price of Shanghai's new year holds from 16:00 the day before; other models have none."""
    day, zone = date(2027, 1, 1), "Asia/Shanghai"
    old = Price("old", "CNY", "user", per_10k_characters=Decimal(1), effective_until=day, timezone=zone)
    new = Price("new", "CNY", "user", per_10k_characters=Decimal(2), effective_from=day, timezone=zone)
    prices = {("studio", "narrator"): (old, new)}
    times = [datetime(2026, 12, 31, hour, minute, tzinfo=UTC) for hour, minute in ((15, 59), (16, 0))]
    models = ["narrator", "narrator", "reader"]
    rows = pl.DataFrame({"service": "studio", "model": models, "started_at": [*times, times[0]]})
    ids = {price: pl.lit(price.price_id) for price in all_prices(prices)}
    assert rows.select(by_price(prices, ids)).to_series().to_list() == ["old", "new", None]
    assert [price.price_id for at in times if (price := price_at((old, new), at))] == ["old", "new"]
