"""The smooth rate limiter, with times passed in."""

from __future__ import annotations

import pytest

from tts_pipeline.flow.rate_limiter import RateLimiter


def test_no_rate_is_no_delay() -> None:
    """None is no limit."""
    rate = RateLimiter(None)
    rate.consume(10.0, 1_000)
    assert rate.delay_s(10.0) <= 0


def test_units_are_spread_evenly() -> None:
    """Two requests are never closer than the interval, also when the timer was late."""
    rate = RateLimiter(60)
    rate.consume(10.0)
    assert rate.delay_s(10.0) == 1.0
    rate.consume(11.002)
    assert rate.delay_s(11.002) == pytest.approx(1.0)


@pytest.mark.parametrize(("late_s", "next_s"), [(0.001, 0.099), (0.005, 0.095), (0.05, 0.095)])
def test_a_little_lateness_is_made_up_under_short_intervals(late_s: float, next_s: float) -> None:
    """Late timers would add up ten times a second; but no burst follows a long delay."""
    rate = RateLimiter(600)
    rate.consume(10.0)
    now_s = 10.0 + rate.delay_s(10.0) + late_s
    rate.consume(now_s)
    assert rate.delay_s(now_s) == pytest.approx(next_s)


def test_idle_time_is_not_saved_up_for_a_burst() -> None:
    """After an hour without requests the next two are still an interval apart."""
    rate = RateLimiter(60)
    rate.consume(10.0)
    rate.consume(3_610.0)
    assert rate.delay_s(3_610.0) == 1.0


def test_a_heavy_unit_holds_the_next_back_longer() -> None:
    """With characters per minute, a unit weighs its characters."""
    rate = RateLimiter(600)
    rate.consume(10.0, 50)
    assert rate.delay_s(10.0) == pytest.approx(5.0)


@pytest.mark.parametrize("per_minute", [180, 600, 6_000])
def test_late_timers_cost_less_than_two_percent(per_minute: int) -> None:
    """With every timer 1 ms late, at least 98 % of the permitted rate is used, and never more than all of it."""
    rate, now_s, sent = RateLimiter(per_minute), 0.0, 0
    while now_s < 600:
        rate.consume(now_s)
        sent += 1
        now_s += max(rate.delay_s(now_s), 0.0) + 0.001
    assert 0.98 * 10 * per_minute <= sent <= 10 * per_minute + 2
