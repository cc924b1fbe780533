"""Adaptive concurrency: as many attempts in flight as permitted, fewer when the service throttles. Pure."""

from __future__ import annotations

_MAX_ROUNDS_PER_INCREASE = 32
"""Where a service takes 8 at a time, it is then asked for a ninth once in 256 successes. More would leave the number
too low for too long where a service refuses one request in a hundred whatever it is asked (simulated)."""


class AdaptiveConcurrency:
    """A number that goes down with 429s and slowly up with successes.

    It begins at the most that is allowed, and stays there as long as the service never objects. In one pause it goes
    down by one for every attempt that was refused, since each was one too many, but to no less than half: a refused
    burst says little of what is taken steadily. It goes up by one after some rounds of successes, a round being as
    many as may be in flight. By how many, the service teaches: an increase that meets a 429 within its first round
    doubles them, one that does not halves them. So it settles at what the service takes and seldom asks for more, and
    stays high where the service refuses now and then whatever it is asked.
    """

    def __init__(self, max_limit: int) -> None:
        self.limit = max_limit
        self._max_limit = max_limit
        self._pause_floor = 1
        self._rounds_per_increase = 1
        self._successes = 0
        self._is_trial = False

    def on_throttle(self, *, is_new: bool) -> None:
        """Take a 429; ``is_new`` is False when its attempt was sent before the present pause began."""
        if is_new:
            self._pause_floor = max(1, self.limit // 2)
            if self._is_trial:
                self._rounds_per_increase = min(2 * self._rounds_per_increase, _MAX_ROUNDS_PER_INCREASE)
            self._is_trial = False
        self.limit = max(self.limit - 1, self._pause_floor)

    def on_success(self) -> None:
        """Take a success."""
        if self.limit == self._max_limit:
            return
        self._successes += 1
        if self._is_trial and self._successes >= self.limit:
            self._is_trial = False
            self._rounds_per_increase = max(1, self._rounds_per_increase // 2)
        if self._successes >= self._rounds_per_increase * self.limit:
            self._successes = 0
            self._is_trial = True
            self.limit += 1
