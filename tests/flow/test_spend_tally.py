"""The tally counts each attempt once, whoever reports it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import cost_of, settlement_of
from tts_pipeline.attempt import Attempt, Outcome
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.money import Cost, SpendBound


def _attempt(name: str = "a", characters: int = 10) -> Attempt:
    return Attempt(name, "u", 0, 0, 1, None, 0, characters, characters, "p", cost_of(characters))


def _tallies() -> tuple[SpendTally, SpendTally]:
    """Return the tallies of a run and of a part of it."""
    run = SpendTally()
    return run, SpendTally(currency="CNY", run=run)


def test_an_attempt_counts_at_most_until_its_end_is_known() -> None:
    """Then as it ended; one that never ends keeps its bound."""
    tally = SpendTally(currency="CNY")
    for name in "ab":
        tally.reserve(_attempt(name))
    assert tally.spend == Cost(
        attempts=2,
        unknown_attempts=2,
        characters_upper_bound=20,
        cost=Decimal(0),
        cost_upper_bound=cost_of(20),
        currency="CNY",
    )
    tally.settle(settlement_of(_attempt("a", 3)))
    assert tally.spend == Cost(
        attempts=2,
        unknown_attempts=1,
        characters_billed=3,
        characters_upper_bound=13,
        cost=cost_of(3),
        cost_upper_bound=cost_of(13),
        currency="CNY",
    )


def test_an_attempt_that_was_not_sent_is_taken_off() -> None:
    """As often as that is told; one that has ended stays."""
    tally, sent, not_sent = SpendTally(currency="CNY"), _attempt("a"), _attempt("b")
    for attempt in (sent, not_sent):
        tally.reserve(attempt)
    tally.settle(settlement_of(sent))
    for attempt in (not_sent, not_sent, sent):
        tally.release(attempt)
    assert (tally.spend.attempts, tally.spend.bound) == (1, SpendBound.of(sent))


def test_a_report_that_comes_again_changes_nothing() -> None:
    """Neither does the end of an attempt that nobody reserved."""
    tally, attempt = SpendTally(currency="CNY"), _attempt()
    tally.settle(settlement_of(attempt))
    assert tally.spend == Cost()
    for _ in range(2):
        tally.reserve(attempt)
    assert tally.spend.attempts == 1
    for _ in range(2):
        tally.settle(settlement_of(attempt))
    assert (tally.spend.attempts, tally.spend.unknown_attempts, tally.spend.characters_billed) == (1, 0, 10)


@pytest.mark.parametrize("first", [0, 1])
def test_budget_and_ledger_may_report_in_any_order(first: int) -> None:
    """The budget tells the run alone; the ledger tells its part, which tells the run."""
    run, part = _tallies()
    attempt, never_sent = _attempt("a"), _attempt("b")
    reporters = (run, part) if first == 0 else (part, run)
    for tally in reporters:
        tally.reserve(attempt)
        tally.reserve(never_sent)
        assert run.spend.bound == SpendBound(20, cost_of(20))
    for tally in reporters:
        tally.settle(settlement_of(attempt))
        tally.release(never_sent)
        assert (run.spend.attempts, run.spend.unknown_attempts) == (1, 0)
        assert run.spend.bound == SpendBound(10, cost_of(10))
    assert part.spend == run.spend


def test_a_run_is_the_sum_of_its_parts() -> None:
    """It has their currency, and goes on from what was there before."""
    before = Cost(attempts=1, characters_upper_bound=5, cost_upper_bound=cost_of(5), currency="CNY")
    run = SpendTally(before)
    parts = [SpendTally(currency="CNY", run=run) for _ in range(2)]
    for part, name in zip(parts, "ab", strict=True):
        part.reserve(_attempt(name))
    assert [part.spend.characters_upper_bound for part in parts] == [10, 10]
    assert (run.spend.bound, run.spend.currency) == (SpendBound(25, cost_of(25)), "CNY")


_REPORTS = st.tuples(st.sampled_from("abcd"), st.sampled_from(["reserve", "settle", "release"]), st.booleans())


@given(st.lists(_REPORTS, max_size=40))
def test_whatever_is_told_the_bound_is_that_of_all_attempts(reports: Sequence[tuple[str, str, bool]]) -> None:
    """An attempt is open, or has ended, or was never sent; reserved again after that it is a new one."""
    run, part = _tallies()
    open_in_run = set[str]()
    ended_in_run = 0
    for name, report, is_of_part in reports:
        attempt = _attempt(name)
        tally = part if is_of_part else run
        if report == "reserve":
            tally.reserve(attempt)
            open_in_run.add(name)
        elif report == "settle":
            tally.settle(settlement_of(attempt, Outcome.FAILED, characters_upper_bound=4, cost_upper_bound=cost_of(4)))
            ended_in_run += name in open_in_run
            open_in_run.discard(name)
        else:
            tally.release(attempt)
            open_in_run.discard(name)
        characters = 10 * len(open_in_run) + 4 * ended_in_run
        assert run.spend.bound == SpendBound(characters, cost_of(characters))
        assert run.spend.attempts == len(open_in_run) + ended_in_run
