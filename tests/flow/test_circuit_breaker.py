"""The circuit breaker detects outages, with times passed in."""

from __future__ import annotations

import pytest

from tts_pipeline.flow.circuit_breaker import CircuitBreaker
from tts_pipeline.flow.retry_state import RetryState


def fail_all(breaker: CircuitBreaker, rows: list[RetryState], *, at_s: float = 10.0, was_sent: bool = True) -> None:
    for row in rows:
        breaker.on_failure(row, at_s, was_sent=was_sent)


def rows(count: int) -> list[RetryState]:
    return [RetryState() for _ in range(count)]


@pytest.mark.parametrize(("max_concurrency", "needed"), [(1, 5), (16, 5), (64, 8), (256, 32)])
def test_it_takes_failures_of_many_different_rows(max_concurrency: int, needed: int) -> None:
    """Five rows, or an eighth of the concurrency."""
    breaker = CircuitBreaker(max_concurrency)
    fail_all(breaker, rows(needed - 1))
    assert not breaker.is_open
    fail_all(breaker, rows(1))
    assert breaker.is_open


def test_one_rows_failures_are_no_outage() -> None:
    """However often the row fails."""
    breaker = CircuitBreaker(16)
    fail_all(breaker, rows(1) * 50)
    assert not breaker.is_open


def test_a_success_in_between_ends_the_streak() -> None:
    """Scattered failures are the rows' own."""
    breaker, failed = CircuitBreaker(16), rows(8)
    fail_all(breaker, failed[:4])
    breaker.on_success(11.0, sent_at_s=5.0)
    fail_all(breaker, failed[4:])
    assert not breaker.is_open
    assert [breaker.own_failures(row) for row in failed] == [1] * 8


def test_failures_of_an_outage_are_not_the_rows() -> None:
    """Failures that led to an outage are forgiven, and those during it do not count; earlier ones stay."""
    breaker, failed = CircuitBreaker(16), rows(5)
    fail_all(breaker, failed[:1])
    breaker.on_success(10.0, sent_at_s=10.0)
    fail_all(breaker, failed)
    fail_all(breaker, failed)
    assert [breaker.own_failures(row) for row in failed] == [1, 0, 0, 0, 0]


def test_what_was_never_sent_is_never_the_rows_failure() -> None:
    """A refused connection says nothing about a text; a few of them, even of one row, are an outage."""
    breaker, (row,) = CircuitBreaker(16), rows(1)
    fail_all(breaker, [row] * 5, was_sent=False)
    assert breaker.is_open
    assert breaker.own_failures(row) == 0


def test_probes_follow_at_growing_intervals_of_three_seconds_at_most() -> None:
    """An outage of 30 s costs few requests, and its end is noticed within 3 s."""
    breaker, now_s, intervals = CircuitBreaker(16), 10.0, []
    fail_all(breaker, rows(5))
    for _ in range(8):
        intervals.append(breaker.delay_s(now_s))
        now_s += intervals[-1]
        breaker.on_sent(now_s)
    assert intervals == [0.25, 0.25, 0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_a_probe_that_succeeds_ends_the_outage() -> None:
    """Immediately and for all rows; the next streak begins at zero."""
    breaker = CircuitBreaker(16)
    fail_all(breaker, rows(5))
    breaker.on_success(12.0, sent_at_s=11.0)
    assert (breaker.is_open, breaker.delay_s(12.0), breaker.outage_s(12.0)) == (False, 0.0, 0.0)
    fail_all(breaker, rows(4))
    assert not breaker.is_open


def test_a_late_answer_from_before_the_trouble_allows_one_more_probe() -> None:
    """It does not prove that the service is back, so the rest goes on waiting."""
    breaker = CircuitBreaker(16)
    fail_all(breaker, rows(5))
    breaker.on_success(10.1, sent_at_s=9.0)
    assert breaker.is_open
    assert breaker.delay_s(10.1) == 0.0
    breaker.on_sent(10.1)
    assert breaker.delay_s(10.1) > 0.0


def test_an_outage_lasts_since_its_first_failure() -> None:
    """Not since its detection."""
    breaker = CircuitBreaker(16)
    fail_all(breaker, rows(1), at_s=10.0)
    assert breaker.outage_s(20.0) == 0.0
    fail_all(breaker, rows(4), at_s=20.0)
    assert breaker.outage_s(30.0) == 20.0


def test_failures_that_others_contradict_are_remembered() -> None:
    """Once per streak, however often the row failed in it, outages too, and once a success has ended it."""
    breaker, failed = CircuitBreaker(16), rows(5)
    fail_all(breaker, failed * 3)
    assert [breaker.contradicted_streaks(row) for row in failed] == [0] * 5
    breaker.on_success(11.0, sent_at_s=11.0)
    fail_all(breaker, failed[:1])
    assert [breaker.contradicted_streaks(row) for row in failed] == [1] * 5
    breaker.on_success(12.0, sent_at_s=12.0)
    assert [breaker.contradicted_streaks(row) for row in failed] == [2, 1, 1, 1, 1]
    failed[0].begin_segment(5)
    assert breaker.contradicted_streaks(failed[0]) == 0
