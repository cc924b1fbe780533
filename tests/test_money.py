from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import price_of, settlement_of, token_price_of
from tts_pipeline.attempt import Attempt
from tts_pipeline.models import Price, Usage
from tts_pipeline.money import Cost, cost_of, price_at, sum_of, total_cost

BY_CHARACTER = price_of("0.8", "by-character")
BY_TOKEN = token_price_of("1.6", price_id="by-token")
OLD = price_of(1, "old", effective_until=date(2026, 1, 1))
NEW = price_of(2, "new", effective_from=date(2026, 1, 1), effective_until=date(2027, 1, 1))


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(1990, 1, 1, tzinfo=UTC), OLD),
        (datetime(2025, 12, 31, 23, 59, tzinfo=UTC), OLD),
        (datetime(2026, 1, 1, tzinfo=UTC), NEW),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), NEW),
        (datetime(2027, 1, 1, tzinfo=UTC), None),
    ],
)
def test_price_holds_from_its_first_day_to_before_its_end(at: datetime, expected: Price | None) -> None:
    """The interval is half open: on the day one price ends, the next one holds."""
    assert price_at([OLD, NEW], at) == expected


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(2025, 12, 31, 15, 59, 59, tzinfo=UTC), OLD),
        (datetime(2025, 12, 31, 16, tzinfo=UTC), NEW),
        (datetime(2026, 12, 31, 16, tzinfo=UTC), None),
    ],
)
def test_the_days_of_a_price_are_those_of_its_time_zone(at: datetime, expected: Price | None) -> None:
    """In Shanghai, the new year begins at 16:00 UTC."""
    old, new = (replace(price, timezone="Asia/Shanghai") for price in (OLD, NEW))
    assert price_at([old, new], at) == (expected and replace(expected, timezone="Asia/Shanghai"))


def test_price_without_dates_always_holds() -> None:
    """None as a bound is no bound; without any price there is none."""
    assert price_at([BY_CHARACTER], datetime(2026, 5, 5, tzinfo=UTC)) == BY_CHARACTER
    assert price_at([], datetime(2026, 5, 5, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("characters", "cost"),
    [(0, "0.000000000"), (1, "0.000080000"), (195, "0.015600000"), (10_000, "0.800000000"), (10**15, "80000000000")],
)
def test_cost_by_character(characters: int, cost: str) -> None:
    """Characters cost a ten-thousandth of the price for 10,000, with nine decimals; tokens play no part."""
    assert cost_of(BY_CHARACTER, characters=characters, usage=Usage(input_tokens=9)) == Decimal(cost)


def test_cost_has_the_scale_of_the_tables() -> None:
    """Nine decimals, also where fewer would do."""
    cost = cost_of(BY_CHARACTER, characters=10_000, usage=Usage())
    assert cost is not None
    assert cost.as_tuple().exponent == -9


def test_cost_by_token() -> None:
    """Text and audio tokens have prices of their own; characters play no part."""
    usage = Usage(input_tokens=1_000, output_tokens=50)
    assert cost_of(BY_TOKEN, characters=77, usage=usage) == Decimal("0.0021")


@pytest.mark.parametrize("usage", [Usage(), Usage(input_tokens=5), Usage(output_tokens=5), Usage(total_tokens=5)])
def test_cost_by_token_needs_both_kinds(usage: Usage) -> None:
    """Without both kinds of tokens the cost is unknown: null, never 0."""
    assert cost_of(BY_TOKEN, characters=77, usage=usage) is None


def test_cost_without_a_price_is_unknown() -> None:
    """No price is null, never 0."""
    assert cost_of(None, characters=77, usage=Usage()) is None


@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_costs_of_attempts_add_up_exactly(characters: list[int]) -> None:
    """At a price of one decimal, the sum of the costs is the cost of the sum."""
    costs = [cost_of(BY_CHARACTER, characters=count, usage=Usage()) or Decimal(0) for count in characters]
    assert sum(costs, Decimal(0)) == cost_of(BY_CHARACTER, characters=sum(characters), usage=Usage())


def test_cost_does_not_depend_on_the_callers_context() -> None:
    """A caller that computes with three digits gets the same bill."""
    with localcontext(prec=3):
        assert cost_of(BY_CHARACTER, characters=123_456_789, usage=Usage()) == Decimal("9876.54312")


def test_costs_add_up_and_unknown_ones_do_not_hide_known_ones() -> None:
    """None only when none is known, and exactly, also where the caller computes with three digits."""
    assert total_cost([None, Decimal("0.1"), Decimal("0.2")]) == Decimal("0.3")
    assert total_cost([None, Decimal(0)]) == 0
    assert total_cost([None, None]) is None
    assert total_cost([]) is None
    with localcontext(prec=3):
        assert total_cost([Decimal(123_456), Decimal("0.5")]) == Decimal("123456.5")


def _attempt(characters: int, cost: Decimal | None) -> Attempt:
    return Attempt("a", "u", 0, 0, 1, None, 0, characters, characters, "p", cost)


def test_a_sum_is_in_the_currency_of_the_first_cost_that_is_bounded() -> None:
    """What has no bound has no currency; an attempt in another currency counts its characters, without a price."""
    total = Cost()
    total.add_attempt(_attempt(20, None), "EUR")
    assert total == Cost(attempts=1, unknown_attempts=1, characters_upper_bound=20, characters_without_price=20)
    total.add_attempt(_attempt(10, Decimal(1)), "CNY")
    in_euro = settlement_of(_attempt(7, Decimal(7)), cost=Decimal(7), cost_upper_bound=Decimal(7), implausible=True)
    total.add_attempt(in_euro, "EUR")
    assert total == Cost(
        attempts=3,
        unknown_attempts=2,
        characters_billed=7,
        characters_upper_bound=37,
        characters_without_price=27,
        cost=Decimal(0),
        cost_upper_bound=Decimal(1),
        currency="CNY",
        implausible_attempts=1,
    )


def test_sums_are_added_by_the_same_rule() -> None:
    """So that it does not matter whether attempts are added, or what others made of them."""
    yuan = Cost.at_most(10, Decimal(1), "CNY")
    euro = Cost.at_most(7, Decimal(7), "EUR")
    euro.implausible_attempts, euro.cost_in_question = 1, Decimal(7)
    unbounded = Cost(attempts=1, characters_upper_bound=20, characters_without_price=20, currency="EUR")
    assert sum_of([unbounded, yuan, euro]) == Cost(
        attempts=3,
        unknown_attempts=2,
        characters_upper_bound=37,
        characters_without_price=27,
        cost=Decimal(0),
        cost_upper_bound=Decimal(1),
        currency="CNY",
        implausible_attempts=1,
    )


_ADDENDS = st.lists(
    st.tuples(
        st.sampled_from([None, "CNY", "EUR"]),
        st.integers(0, 99),
        st.sampled_from(["unknown", "settled", "implausible"]),
        st.booleans(),
    )
)


@given(_ADDENDS)
def test_a_sum_of_sums_is_the_sum_of_attempts(addends: list[tuple[str | None, int, str, bool]]) -> None:
    """One of each attempt alone, in the same order."""
    total, single = Cost(), list[Cost]()
    for currency, characters, ending, is_bounded in addends:
        attempt = _attempt(characters, Decimal(characters) if currency and is_bounded else None)
        end = settlement_of(
            attempt,
            cost=attempt.cost_upper_bound,
            cost_upper_bound=attempt.cost_upper_bound,
            implausible=ending == "implausible",
        )
        single.append(Cost())
        for cost in (total, single[-1]):
            cost.add_attempt(attempt if ending == "unknown" else end, currency)
    assert sum_of(single) == total


@given(_ADDENDS, st.sampled_from(["CNY", "EUR"]), st.integers(0, 99), st.sampled_from([0, 1, -1]), st.booleans())
def test_a_settlement_replaces_its_attempt(
    addends: list[tuple[str | None, int, str, bool]],
    currency: str,
    characters: int,
    excess: int,
    is_bounded: bool,
) -> None:
    """The sum is that without the attempt at its upper bound, and with the settlement."""
    attempt = _attempt(characters, Decimal(characters) if is_bounded else None)
    upper_bound = max(characters + excess, 0)
    settlement = settlement_of(
        attempt,
        characters_billed=upper_bound // 2,
        characters_upper_bound=upper_bound,
        cost=Decimal(upper_bound // 2) if is_bounded else None,
        cost_upper_bound=Decimal(upper_bound) if is_bounded else None,
        implausible=any(ending == "implausible" for *_, ending, _ in addends),
    )
    in_one_step, in_two_steps = Cost(), Cost()
    for cost in (in_one_step, in_two_steps):
        for other_currency, others, _, _ in addends:
            cost.add_attempt(_attempt(others, Decimal(others) if other_currency else None), other_currency)
        cost.add_attempt(attempt, currency)
    in_one_step.settle_attempt(attempt, settlement, currency)
    in_two_steps.add_attempt(attempt, currency, -1)
    in_two_steps.add_attempt(settlement, currency)
    assert in_one_step == in_two_steps
