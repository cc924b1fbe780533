"""The budget reserves, settles and frees, and never exceeds the cap."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import PRICE, TOKEN_PRICE
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.card import Card
from tts_pipeline.config import BudgetCap
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.flow.budget import Budget, check_cap
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.models import Usage
from tts_pipeline.money import Cost

COST = Decimal("0.001")
"""Of one character, in these tests."""

CHARACTERS = BudgetCap(max_characters=100)
MONEY = BudgetCap(max_cost=Decimal("0.1"), currency="CNY")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def make_attempt(name: str, characters: int, *, priced: bool = True) -> Attempt:
    cost = COST * characters if priced else None
    return Attempt(name, "u", 0, 0, 1, None, 0, characters, characters, "p" if priced else None, cost)


def settlement_of(name: str, at_most: int, billed: int = 0) -> Settlement:
    money = (COST * billed, COST * at_most)
    return Settlement(name, Outcome.SUCCEEDED, 0, 0, 200, None, None, Usage(), billed, at_most, *money)


@pytest.mark.parametrize("cap", [CHARACTERS, MONEY])
def test_what_fits_exactly_fits(cap: BudgetCap) -> None:
    """To the last character and the last fraction of money; one more does not fit."""
    budget = Budget(cap)
    assert budget.reserve(make_attempt("a", 60))
    assert not budget.reserve(make_attempt("b", 41))
    assert budget.reserve(make_attempt("c", 40))
    assert not budget.reserve(make_attempt("d", 1))


def test_without_a_cap_everything_fits() -> None:
    """Attempts count all the same, so that no caller needs to know whether a cap exists."""
    budget = Budget()
    assert budget.reserve(make_attempt("a", 10**12, priced=False))
    budget.settle(settlement_of("a", 10**12))


@pytest.mark.parametrize("cap", [CHARACTERS, MONEY])
def test_what_is_not_spent_is_free_again(cap: BudgetCap) -> None:
    """After an attempt that was surely not billed, cost less than reserved, or was never recorded."""
    budget = Budget(cap)
    budget.reserve(make_attempt("a", 100))
    budget.settle(settlement_of("a", 0))
    budget.reserve(make_attempt("b", 100))
    budget.settle(settlement_of("b", 30, 30))
    never_sent = make_attempt("c", 70)
    assert budget.reserve(never_sent)
    budget.release(never_sent)
    assert budget.reserve(make_attempt("d", 70))


@pytest.mark.parametrize("cap", [CHARACTERS, MONEY])
def test_what_is_unknown_stays_reserved(cap: BudgetCap) -> None:
    """A cancelled or lost attempt may have been billed; a settled attempt cannot be abandoned."""
    budget = Budget(cap)
    unknown, known = make_attempt("a", 60), make_attempt("b", 40)
    budget.reserve(unknown)
    budget.abandon(unknown)
    budget.reserve(known)
    budget.settle(settlement_of("b", 0))
    budget.abandon(known)
    assert not budget.reserve(make_attempt("c", 41))
    assert budget.reserve(make_attempt("d", 40))


def test_more_than_was_reserved_is_counted_in_full() -> None:
    """A service may count differently; its bill is spent, and the next attempt does not fit."""
    budget = Budget(CHARACTERS)
    budget.reserve(make_attempt("a", 50))
    budget.settle(settlement_of("a", 99, 99))
    assert not budget.reserve(make_attempt("b", 2))
    assert budget.reserve(make_attempt("c", 1))


def test_a_refusal_waits_for_what_others_may_give_back() -> None:
    """No refusal while a reservation is open; then the message has every figure and the way on."""
    budget = Budget(MONEY)
    first, next_one = make_attempt("a", 90), make_attempt("b", 20)
    budget.reserve(first)
    assert not budget.reserve(next_one)
    assert budget.refusal(next_one) is None
    budget.settle(settlement_of("a", 90, 85))
    refusal = budget.refusal(next_one)
    assert refusal is not None
    assert refusal.stopped_by == "budget"
    for phrase in ("budget of 0.1 CNY", "0.09 CNY are spent at most", "(0.085 CNY confirmed)", "may take 0.02 CNY"):
        assert phrase in refusal.message
    assert "`max_cost`" in str(refusal)


def test_a_refusal_names_the_cap_that_is_reached() -> None:
    """With two caps, the refusal names the cap that the attempt exceeds."""
    budget = Budget(BudgetCap(Decimal(5), "CNY", max_characters=100))
    refusal = budget.refusal(make_attempt("a", 101))
    assert refusal is not None
    assert "budget of 100 characters is used up: 0 characters are spent" in refusal.message
    assert "`max_characters`" in str(refusal)


def test_a_refusal_names_the_only_cap() -> None:
    """Even if the source, and not the sum of what is known here, found it used up."""
    assert "budget of 0.1 CNY is used up" in str(Budget(MONEY).used_up_error(make_attempt("a", 1)))


def test_a_cost_that_is_not_known_does_not_fit_a_cap_on_cost() -> None:
    """If the last price ends during a run, the cap can no longer be kept."""
    budget = Budget(MONEY)
    unpriced = make_attempt("a", 1, priced=False)
    assert not budget.reserve(unpriced)
    refusal = budget.refusal(unpriced)
    assert refusal is not None
    assert "no price applies now" in str(refusal)
    assert Budget(CHARACTERS).reserve(unpriced)


def test_what_was_spent_before_counts() -> None:
    """The cap belongs to the job, not to a run."""
    assert not Budget(CHARACTERS, SpendTally(Cost(characters_upper_bound=100))).reserve(make_attempt("a", 1))
    assert not Budget(MONEY, SpendTally(Cost(cost_upper_bound=Decimal("0.0991")))).reserve(make_attempt("a", 1))
    assert Budget(MONEY, SpendTally(Cost(cost_upper_bound=Decimal("0.099")))).reserve(make_attempt("a", 1))


@given(st.integers(1, 500), st.lists(st.tuples(st.integers(1, 50), st.sampled_from("sfug")), max_size=60), st.randoms())
def test_spent_and_reserved_never_pass_the_cap(max_characters: int, plan: list[tuple[int, str]], random: Any) -> None:
    """Whatever succeeds, fails, gets lost or is freed, in any order."""
    budget, spent = Budget(BudgetCap(max_characters=max_characters)), 0
    in_flight: list[tuple[Attempt, str]] = []
    for number, (characters, ending) in enumerate(plan):
        new_attempt = make_attempt(str(number), characters)
        if budget.reserve(new_attempt):
            in_flight.append((new_attempt, ending))
        assert spent + sum(open_one.characters_upper_bound for open_one, _ in in_flight) <= max_characters
        if in_flight and random.random() < 0.5:
            attempt, end = in_flight.pop(random.randrange(len(in_flight)))
            if end == "g":
                budget.release(attempt)
            elif end == "u":
                budget.abandon(attempt)
            else:
                budget.settle(settlement_of(attempt.attempt_id, attempt.characters_upper_bound if end == "s" else 0))
            spent += attempt.characters_upper_bound if end in "su" else 0


@pytest.mark.parametrize(
    ("cap", "card", "message"),
    [
        (BudgetCap(Decimal(5)), Card("s", "m", prices=(PRICE,)), "no currency"),
        (BudgetCap(Decimal(0), "CNY"), Card("s", "m", prices=(PRICE,)), "more than 0"),
        (BudgetCap(Decimal("NaN"), "CNY"), Card("s", "m", prices=(PRICE,)), "more than 0"),
        (BudgetCap(max_characters=0), Card("s", "m"), "at least 1"),
        (BudgetCap(Decimal(5), "CNY"), Card("s", "m"), "`prices`"),
        (BudgetCap(Decimal(5), "USD"), Card("s", "m", prices=(PRICE,)), "price of m on s is in CNY"),
        (BudgetCap(Decimal(5), "CNY"), Card("s", "m", billing="tokens", prices=(TOKEN_PRICE,)), "`max_characters`"),
    ],
)
def test_a_cap_that_cannot_be_kept_is_refused(cap: BudgetCap, card: Card, message: str) -> None:
    """Before anything is sent, and with the way out."""
    with pytest.raises(ConfigurationError, match=message):
        check_cap(cap, card, NOW)


@pytest.mark.parametrize(
    ("cap", "card"),
    [
        (BudgetCap(), Card("s", "m")),
        (BudgetCap(max_characters=1), Card("s", "m", billing="tokens")),
        (BudgetCap(Decimal(5), "CNY"), Card("s", "m", prices=(PRICE,))),
        (
            BudgetCap(Decimal(5), "CNY"),
            Card("s", "m", billing="tokens", output_tokens_per_second=50, prices=(TOKEN_PRICE,)),
        ),
    ],
)
def test_a_cap_that_can_be_kept_is_taken(cap: BudgetCap, card: Card) -> None:
    """No cap, characters without a price, money by characters, and by tokens with a bound."""
    check_cap(cap, card, NOW)
