"""Adaptive concurrency: lower the limit of attempts in flight when the service throttles. Pure."""

from __future__ import annotations

_MAX_ROUNDS_PER_INCREASE = 32
"""A service that takes 8 at a time then meets a ninth once in 256 successes. A larger maximum would keep the limit too
low for too long at a service that refuses one request in a hundred at any concurrency (simulated)."""


class AdaptiveConcurrency:
    """A limit that falls with 429s and slowly rises with successes.

    The limit begins at its maximum, and stays there until the service throttles. Within one pause it falls by one for
    each refused attempt, since each was one too many, but at most by half: a refused burst says little about the steady
    capacity. It rises by one after some rounds of successes; a round is as many successes as the limit. The number of
    rounds adapts: an increase that meets a 429 within its first round doubles it, any other increase halves it. So the
    limit settles at the service's capacity and seldom tries more, and stays high if the service refuses requests now
    and then at any concurrency.
    """

    def __init__(self, max_limit: int) -> None:
        self.limit = max_limit
        self._max_limit = max_limit
        self._pause_floor = 1
        self._rounds_per_increase = 1
        self._successes = 0
        self._is_trial = False

    @property
    def is_at_maximum(self) -> bool:
        """Whether the limit is its maximum: then a success changes nothing."""
        return self.limit == self._max_limit

    def on_throttle(self, *, is_new: bool) -> None:
        """Count a 429; ``is_new`` is False if its attempt was sent before the present pause began."""
        if is_new:
            self._pause_floor = max(1, self.limit // 2)
            if self._is_trial:
                self._rounds_per_increase = min(2 * self._rounds_per_increase, _MAX_ROUNDS_PER_INCREASE)
            self._is_trial = False
        self.limit = max(self.limit - 1, self._pause_floor)

    def on_success(self) -> None:
        """Count a success."""
        if self.is_at_maximum:
            return
        self._successes += 1
        if self._is_trial and self._successes >= self.limit:
            self._is_trial = False
            self._rounds_per_increase = max(1, self._rounds_per_increase // 2)
        if self._successes >= self._rounds_per_increase * self.limit:
            self._successes = 0
            self._is_trial = True
            self.limit += 1
