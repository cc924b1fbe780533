"""The tally counts each attempt once, whoever reports it."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import cost_of, settlement_of
from tts_pipeline.attempt import Attempt, Outcome
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.money import Cost, SpendBound


def _attempt(name: str = "a", characters: int = 10) -> Attempt:
    return Attempt(name, "u", 0, 0, 1, None, 0, characters, characters, "p", cost_of(characters))


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


def test_a_tally_goes_on_from_what_was_there_before() -> None:
    """The sum is that of the run's totals, which others read."""
    before = Cost(attempts=1, characters_upper_bound=5, cost_upper_bound=cost_of(5), currency="CNY")
    tally = SpendTally(before, currency="CNY")
    tally.reserve(_attempt())
    assert tally.spend is before
    assert (before.attempts, before.bound) == (2, SpendBound(15, cost_of(15)))


_REPORTS = st.tuples(st.sampled_from("abcd"), st.sampled_from(["reserve", "settle", "release"]))


@given(st.lists(_REPORTS, max_size=40))
def test_whatever_is_told_the_bound_is_that_of_all_attempts(reports: Sequence[tuple[str, str]]) -> None:
    """An attempt is open, or has ended, or was never sent; reserved again after that it is a new one."""
    tally = SpendTally(currency="CNY")
    open_attempts = set[str]()
    ended = 0
    for name, report in reports:
        attempt = _attempt(name)
        if report == "reserve":
            tally.reserve(attempt)
            open_attempts.add(name)
        elif report == "settle":
            tally.settle(settlement_of(attempt, Outcome.FAILED, characters_upper_bound=4, cost_upper_bound=cost_of(4)))
            ended += name in open_attempts
            open_attempts.discard(name)
        else:
            tally.release(attempt)
            open_attempts.discard(name)
        characters = 10 * len(open_attempts) + 4 * ended
        assert tally.spend.bound == SpendBound(characters, cost_of(characters))
        assert tally.spend.attempts == len(open_attempts) + ended
