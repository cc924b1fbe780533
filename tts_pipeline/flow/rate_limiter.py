"""A smooth rate limiter (GCRA): requests, or characters, spread evenly over the minute."""

from __future__ import annotations

_MIN_EXACT_INTERVAL_S = 0.2
_TIMER_LATENESS_S = 0.005
"""Timers fire some milliseconds late. Over an interval of 200 ms that is about 1 % and left alone, so that two requests
are never closer than the interval; under shorter ones so much of it is made up, or much of the rate would be lost."""


class RateLimiter:
    """Units are spread evenly: after one that weighs ``w``, the next may follow ``w * 60 / per_minute`` seconds later.

    Time that nothing used is not saved up. Pure: times are given, in seconds by one clock.

    A rate of None is no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._interval_s = 60.0 / per_minute if per_minute else 0.0
        self._next_allowed_s = 0.0

    def delay_s(self, now_s: float) -> float:
        """Seconds until the next unit may be used; 0 or less is now."""
        return self._next_allowed_s - now_s

    def consume(self, now_s: float, weight: int = 1) -> None:
        """Take note that ``weight`` units are used now."""
        if not self._interval_s:
            return
        interval_s = weight * self._interval_s
        lateness_s = 0.0 if interval_s >= _MIN_EXACT_INTERVAL_S else _TIMER_LATENESS_S
        self._next_allowed_s = max(self._next_allowed_s, now_s - lateness_s) + interval_s
