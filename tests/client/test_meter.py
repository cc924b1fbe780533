"""The two halves of the bill: confirmed costs and upper bounds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import price_of, token_price_of
from tts_pipeline.attempt import Attempt, Outcome
from tts_pipeline.card import Card
from tts_pipeline.client.meter import AttemptResult, Meter
from tts_pipeline.errors import FatalError, PermanentError, ServiceError, ThrottledError, TransientError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.models import Price, Segment, Usage, Utterance

OLD = price_of("0.8", "old", effective_until=date(2026, 2, 1))
NEW = price_of("1.6", "new", effective_from=date(2026, 2, 1))
TOKENS = token_price_of("1.6")
CARD = Card("s", "m", billing="han_double", prices=(OLD, NEW))
LAST_INSTANT_OF_JANUARY_US = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp() * 1e6) - 1


class ManualClock:
    """A clock that a test sets."""

    def __init__(self, utc_us: int = LAST_INSTANT_OF_JANUARY_US) -> None:
        self.now_us = utc_us
        self.clock = Clock(utc_us=lambda: self.now_us)


def attempt_of(meter: Meter, text: str = "Hello 你好.") -> Attempt:
    return meter.new_attempt(
        Utterance("a", text, {"voice": "Cherry"}, take=2), Segment(0, text, 0, len(text)), meter.count(text), number=3
    )


def test_an_attempt_says_whose_it_is_and_what_it_may_cost() -> None:
    """Before it is sent: our count, the price at that instant, and the upper bound."""
    attempt = attempt_of(Meter(CARD, ManualClock().clock))
    assert (attempt.utterance_id, attempt.take, attempt.segment, attempt.number) == ("a", 2, 0, 3)
    assert (attempt.voice, attempt.characters_counted, attempt.characters_upper_bound) == ("Cherry", 11, 11)
    assert (attempt.price_id, attempt.cost_upper_bound) == ("old", Decimal("0.000880000"))


@pytest.mark.parametrize("reported", [None, 11, 12])
@pytest.mark.parametrize("prices", [(OLD, NEW), ()])
def test_a_report_of_what_was_reserved_is_settled_like_any_other(
    reported: int | None, prices: tuple[Price, ...]
) -> None:
    """Without figures in between: what was reserved is what is billed."""
    meter = Meter(replace(CARD, prices=prices), ManualClock().clock)
    result = AttemptResult(attempt_of(meter), 1_234, 200, "r-1", Usage(characters_reported=reported))
    settlement = meter.settle_success(result)
    assert settlement == meter._settle_by_figures(result, Outcome.SUCCEEDED)
    assert settlement.characters_billed == (reported or 11)


def test_attempt_ids_are_unique() -> None:
    """For all time."""
    meter = Meter(CARD, ManualClock().clock)
    assert len({attempt_of(meter).attempt_id for _ in range(1_000)}) == 1_000


def test_the_price_is_that_of_the_attempts_day_in_utc() -> None:
    """Even if it is answered the day after."""
    manual_clock = ManualClock()
    meter = Meter(CARD, manual_clock.clock)
    before = attempt_of(meter)
    manual_clock.now_us += 1
    after = attempt_of(meter)
    assert (before.price_id, after.price_id) == ("old", "new")
    assert meter.settle_success(AttemptResult(before, 5)).cost == Decimal("0.000880000")
    assert meter.settle_success(AttemptResult(after, 5)).cost == Decimal("0.001760000")


def test_without_a_price_cost_is_unknown_and_never_0() -> None:
    """The confirmed cost and the upper bound alike."""
    meter = Meter(Card("s", "m"), ManualClock().clock)
    attempt = attempt_of(meter)
    settlement = meter.settle_failure(AttemptResult(attempt, 5), TransientError("", code="Timeout"))
    assert {
        attempt.cost_upper_bound,
        meter.settle_success(AttemptResult(attempt, 5)).cost,
        settlement.cost,
        settlement.cost_upper_bound,
    } == {None}
    assert meter.currency_at(LAST_INSTANT_OF_JANUARY_US) is None


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.DISCARDED])
@pytest.mark.parametrize(("reported", "billed"), [(None, 11), (11, 11), (13, 13), (7, 7)])
def test_an_answer_is_billed_as_reported_else_as_counted(outcome: Outcome, reported: int | None, billed: int) -> None:
    """Nothing is then uncertain: the upper bound is the same. A discarded answer costs as much as a kept one."""
    meter = Meter(CARD, ManualClock().clock)
    result = AttemptResult(attempt_of(meter), 1_234, 200, "r-1", Usage(characters_reported=reported))
    settlement = meter.settle_success(result, outcome=outcome)
    assert (settlement.outcome, settlement.characters_billed, settlement.characters_upper_bound) == (
        outcome,
        billed,
        billed,
    )
    assert settlement.cost == settlement.cost_upper_bound == Decimal("0.8") * billed / 10_000
    assert (settlement.latency_ms, settlement.http_status, settlement.request_id, settlement.error_code) == (
        1_234,
        200,
        "r-1",
        None,
    )


@pytest.mark.parametrize(
    ("error", "reported", "most"),
    [
        (TransientError("", code="ConnectionFailed", may_be_billed=False), None, 0),
        (PermanentError("", code="InvalidParameter", http_status=400, may_be_billed=False), None, 0),
        (FatalError("", code="InvalidApiKey", http_status=401, may_be_billed=False), None, 0),
        (ThrottledError("", code="Throttling", http_status=429, may_be_billed=False), None, 0),
        (TransientError("", code="ConnectionLost"), None, 11),
        (TransientError("", code="Timeout"), None, 11),
        (TransientError("", code="InternalError", http_status=500), None, 11),
        (TransientError("", code="MalformedAudio", http_status=200), 13, 13),
        (TransientError("", code="MalformedAudio", http_status=200), 7, 11),
        (TransientError("", code="InternalError", http_status=500, characters_reported=20), None, 20),
    ],
)
def test_a_failure_is_billed_nothing_and_at_most_what_is_possible(
    error: ServiceError, reported: int | None, most: int
) -> None:
    """The bound is 0 if surely nothing was charged; else our count or the report, whichever is more."""
    meter = Meter(CARD, ManualClock().clock)
    settlement = meter.settle_failure(
        AttemptResult(attempt_of(meter), 5, usage=Usage(characters_reported=reported)), error
    )
    assert (settlement.outcome, settlement.error_code) == (Outcome.FAILED, error.code)
    assert (settlement.characters_billed, settlement.cost) == (0, Decimal(0))
    assert (settlement.characters_upper_bound, settlement.cost_upper_bound) == (most, Decimal("0.8") * most / 10_000)


def test_reservations_follow_the_largest_ratio_seen() -> None:
    """A larger count is applied, rounded up, to every later attempt; a smaller count is not."""
    meter = Meter(CARD, ManualClock().clock)
    meter.settle_success(AttemptResult(attempt_of(meter, "abc"), 5, usage=Usage(characters_reported=4)))
    meter.settle_success(AttemptResult(attempt_of(meter, "abc"), 5, usage=Usage(characters_reported=2)))
    assert attempt_of(meter, "abcdef").characters_upper_bound == 8
    assert attempt_of(meter, "abcd").characters_upper_bound == 6
    assert attempt_of(meter, "abcd").characters_counted == 4


@given(st.integers(1, 10_000), st.integers(0, 30_000))
def test_a_reservation_covers_the_very_attempt_that_taught_it(counted: int, reported: int) -> None:
    """Exactly: rounding a ratio makes it neither too small nor larger than needed."""
    meter = Meter(Card("s", "m", billing="characters"), ManualClock().clock)
    meter.settle_success(AttemptResult(attempt_of(meter, "x" * counted), 5, usage=Usage(characters_reported=reported)))
    assert attempt_of(meter, "x" * counted).characters_upper_bound == max(counted, reported)


def test_a_price_by_token_is_reserved_by_a_bound_and_billed_by_report() -> None:
    """If the service reports no tokens, the bound is the possible cost."""
    meter = Meter(Card("s", "m", billing="tokens", prices=(TOKENS,)), ManualClock().clock)
    attempt = attempt_of(meter, "Hello")
    assert attempt.cost_upper_bound == Decimal("0.002508000")
    known = meter.settle_success(AttemptResult(attempt, 5, usage=Usage(input_tokens=5, output_tokens=100)))
    assert known.cost == known.cost_upper_bound == Decimal("0.001008000")
    unknown = meter.settle_success(AttemptResult(attempt, 5))
    assert (unknown.cost, unknown.cost_upper_bound) == (None, attempt.cost_upper_bound)
    settlement = meter.settle_failure(AttemptResult(attempt, 5), TransientError("", code="Timeout"))
    assert (settlement.cost, settlement.cost_upper_bound) == (Decimal(0), attempt.cost_upper_bound)


def test_a_card_says_what_a_second_of_audio_takes() -> None:
    """The bound then follows the card: a second for each character, at least one."""
    meter = Meter(Card("s", "m", billing="tokens", output_tokens_per_second=20, prices=(TOKENS,)), ManualClock().clock)
    assert attempt_of(meter, "Hello").cost_upper_bound == (5 * Decimal("1.6") + 100 * 10) / 1_000_000
