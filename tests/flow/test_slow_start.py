"""Under a cap, attempts begin one at a time, and widen as answers confirm the service's counting."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.config import PLAUSIBLE_RATIO, BudgetCap
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.slow_start import SlowStart
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.models import Usage
from tts_pipeline.money import Cost, SpendBound

COST = Decimal("0.001")
"""Of one character, in these tests."""


def make_attempt(name: str = "a", counted: int = 10, ratio: int = 1) -> Attempt:
    return Attempt(name, "u", 0, 0, 1, None, 0, counted, counted * ratio, "p", COST * counted * ratio)


def settlement_of(attempt: Attempt, at_most: int, billed: int, outcome: Outcome = Outcome.SUCCEEDED) -> Settlement:
    costs = (COST * billed, COST * at_most)
    implausible = at_most > PLAUSIBLE_RATIO * attempt.characters_counted
    return Settlement(attempt.attempt_id, outcome, 0, 0, 200, None, None, Usage(), billed, at_most, *costs, implausible)


def test_every_answer_within_what_could_be_foreseen_doubles_what_may_be_in_flight() -> None:
    """An answer without a report too: our count is then the bill; a failure confirms nothing."""
    slow_start, attempt = SlowStart(), make_attempt()
    limits = [slow_start.max_in_flight]
    for at_most, billed, outcome in (
        (10, 0, Outcome.FAILED),
        (10, 10, Outcome.SUCCEEDED),
        (40, 40, Outcome.DISCARDED),
        (0, 0, Outcome.FAILED),
        (10, 10, Outcome.SUCCEEDED),
        (41, 10, Outcome.SUCCEEDED),
    ):
        slow_start.on_settle(attempt, settlement_of(attempt, at_most, billed, outcome))
        limits.append(slow_start.max_in_flight)
    assert limits == [1, 1, 2, 4, 4, 8, 1]


def test_what_is_reserved_already_needs_no_margin() -> None:
    """A known ratio is in the reservation; by token it is ample in money, but not in characters."""
    assert SlowStart().margin_of(make_attempt()) == SpendBound(30, 30 * COST)
    assert SlowStart().margin_of(make_attempt(ratio=3)) == SpendBound(10, 10 * COST)
    assert SlowStart().margin_of(make_attempt(ratio=1_000)) == SpendBound(0, COST * 0)
    assert SlowStart(by_token=True).margin_of(make_attempt()) == SpendBound(30)


def test_side_by_side_needs_room_for_what_the_service_may_count() -> None:
    """A single attempt needs only its reservation, so a small cap can be used up one attempt at a time."""
    budget = Budget(BudgetCap(max_characters=100))
    first, second = make_attempt("a"), make_attempt("b")
    assert budget.has_room_beside(first)
    assert budget.reserve(first)
    assert budget.has_room_beside(second)
    budget.reserve(second)
    assert not budget.has_room_beside(make_attempt("c"))
    for attempt in (first, second):
        budget.settle(settlement_of(attempt, 40, 40))
    assert budget.has_room_beside(make_attempt("c"))
    assert Budget().has_room_beside(make_attempt("c"))


def test_a_refusal_says_how_many_times_our_count_the_service_reports() -> None:
    """It explains why a budget is used up of which little is confirmed."""
    budget = Budget(BudgetCap(max_cost=Decimal(11), currency="CNY"))
    attempt = make_attempt()
    budget.reserve(attempt)
    budget.settle(settlement_of(attempt, 10_000, 10))
    refusal = budget.refusal(make_attempt("b", ratio=1_000))
    assert refusal is not None
    assert "10 CNY are spent at most (0.01 CNY confirmed)" in refusal.message
    assert refusal.message.endswith("may take 10 CNY: the service reports 1,000 times what we count")


_ENDINGS = ("succeeded", "discarded", "failed", "refused", "abandoned", "given back")
_PLANS = st.lists(st.tuples(st.integers(1, 50), st.sampled_from(_ENDINGS), st.integers(0, 60)), max_size=40)


@given(st.integers(1, 2_000), _PLANS, st.randoms(), st.integers(0, 500))
def test_what_is_spent_passes_the_cap_by_what_was_charged_beyond_all_promises(
    max_characters: int, plan: list[tuple[int, str, int]], random: Any, spent_before: int
) -> None:
    """Spent at most is what was settled, was abandoned and is open; confirmed is no more.

    Beyond the cap it is what the service charged beyond the ratio, and what a single attempt had no margin for.
    """
    spending = Cost(characters_upper_bound=min(spent_before, max_characters))
    budget = Budget(BudgetCap(max_characters=max_characters), SpendTally(spending))
    in_flight: list[tuple[Attempt, str, int]] = []
    closed_characters, overcharged, largest, ratio = min(spent_before, max_characters), 0, 0, 1

    def end() -> None:
        nonlocal closed_characters, overcharged, ratio
        attempt, ending, quarters = in_flight.pop(random.randrange(len(in_flight)))
        if ending == "given back":
            budget.release(attempt)
            return
        if ending == "abandoned":
            budget.abandon(attempt)
            closed_characters += attempt.characters_upper_bound
            return
        charged = 0 if ending == "refused" else max(1, attempt.characters_counted * quarters // 4)
        billed = 0 if ending in ("failed", "refused") else min(charged, PLAUSIBLE_RATIO * attempt.characters_counted)
        outcome = Outcome.FAILED if ending == "refused" else Outcome(ending)
        budget.settle(settlement_of(attempt, charged, billed, outcome))
        closed_characters += charged
        overcharged += max(
            0, charged - max(attempt.characters_upper_bound, PLAUSIBLE_RATIO * attempt.characters_counted)
        )
        ratio = max(ratio, -(-charged // attempt.characters_counted))

    for number, (counted, ending, quarters) in enumerate(plan):
        attempt = make_attempt(str(number), counted, ratio)
        if len(in_flight) < budget.max_in_flight and budget.has_room_beside(attempt) and budget.reserve(attempt):
            in_flight.append((attempt, ending, quarters))
            largest = max(largest, (PLAUSIBLE_RATIO - 1) * counted)
        open_characters = sum(attempt.characters_upper_bound for attempt, _, _ in in_flight)
        assert spending.characters_upper_bound == closed_characters + open_characters
        assert spending.characters_billed <= spending.characters_upper_bound
        assert closed_characters + open_characters <= max_characters + overcharged + largest
        if in_flight and random.random() < 0.5:
            end()
    while in_flight:
        end()
    assert spending.characters_upper_bound == closed_characters
    assert budget._slow_start is not None
    assert budget._slow_start.open_margin == SpendBound()
