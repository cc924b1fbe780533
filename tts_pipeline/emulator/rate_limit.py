"""The service's own limits: a smooth rate, and a number of concurrent requests."""

from __future__ import annotations

import time
from collections.abc import Callable


class RateLimiter:
    """Lets one request through per interval, not a minute's worth at once (the generic cell rate algorithm).

    Args:
        requests_per_minute: None lets everything through.
        tolerance_s: How early a request may come; what it came too early is added to the next one's wait.
        clock: Seconds that never go backwards.
    """

    def __init__(
        self, requests_per_minute: float | None, tolerance_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s = 60 / requests_per_minute if requests_per_minute else 0.0
        self._tolerance_s = tolerance_s
        self._clock = clock
        self._next_slot = clock()

    def try_acquire(self) -> bool:
        """Take a slot and return True, or return False when the request comes before its slot."""
        now = self._clock()
        if now < self._next_slot - self._tolerance_s:
            return False
        self._next_slot = max(now, self._next_slot) + self._interval_s
        return True
