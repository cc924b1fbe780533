from __future__ import annotations

from tts_pipeline.emulator.server import RateLimiter


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_without_a_rate_everything_passes() -> None:
    """None is no limit."""
    rate = RateLimiter(None, 0.05, Clock())
    assert all(rate.try_acquire() for _ in range(1_000))


def test_requests_on_their_slots_pass() -> None:
    """A client that keeps the interval is never refused."""
    clock = Clock()
    rate = RateLimiter(60, 0.0, clock)
    for _ in range(100):
        assert rate.try_acquire()
        clock.now_s += 1.0


def test_a_burst_is_refused_though_the_minute_has_room() -> None:
    """The rate is smooth: the second request of a burst is too early, and a refusal takes no slot."""
    clock = Clock()
    rate = RateLimiter(60, 0.05, clock)
    assert [rate.try_acquire() for _ in range(3)] == [True, False, False]
    clock.now_s += 1.0
    assert rate.try_acquire()


def test_what_comes_early_is_made_up_for() -> None:
    """Always being early by the tolerance gains one tolerance, not one for every request."""
    clock = Clock()
    rate = RateLimiter(60, 0.05, clock)
    assert rate.try_acquire()
    clock.now_s += 0.95
    assert rate.try_acquire()
    clock.now_s += 0.95
    assert not rate.try_acquire()
    clock.now_s += 0.05
    assert rate.try_acquire()


def test_time_unused_is_not_saved_up() -> None:
    """After a silence there is one slot, not a minute's worth."""
    clock = Clock()
    rate = RateLimiter(60, 0.05, clock)
    clock.now_s += 600
    assert [rate.try_acquire() for _ in range(2)] == [True, False]
