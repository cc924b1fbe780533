"""A smooth rate limiter (GCRA): spread requests, or characters, evenly over the minute."""

from __future__ import annotations

_MIN_EXACT_INTERVAL_S = 0.2
_TIMER_LATENESS_S = 0.005
"""Timers fire some milliseconds late. From an interval of 200 ms on this is left uncorrected, so that two requests are
never closer than the interval: it costs about 1 % of the rate. Shorter intervals make up for this much lateness, or
much of the rate would be lost."""


class RateLimiter:
    """Spreads units evenly: ``w * 60 / per_minute`` seconds must pass after a unit of weight ``w``.

    Unused time is not saved up. Pure: times are passed in, in seconds of one clock. ``per_minute`` None is no limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._interval_s = 60.0 / per_minute if per_minute else 0.0
        self._next_allowed_s = 0.0

    def delay_s(self, now_s: float) -> float:
        """Return the seconds until the next unit may be used; 0 or less is now."""
        return self._next_allowed_s - now_s

    def consume(self, now_s: float, weight: int = 1) -> None:
        """Record that ``weight`` units are used now."""
        if not self._interval_s:
            return
        interval_s = weight * self._interval_s
        lateness_s = 0.0 if interval_s >= _MIN_EXACT_INTERVAL_S else _TIMER_LATENESS_S
        self._next_allowed_s = max(self._next_allowed_s, now_s - lateness_s) + interval_s
