"""The permitted rates: when an attempt may be permitted, and when its request may leave.

Permits are given at the permitted rate, but between a permit and its request the attempt is written to disk, which
takes 1 to 100 ms. If only the permits were apart, two requests could leave together, and a service that enforces its
rate smoothly would answer the second with a 429. So each request waits once more right before it leaves: most of them
for no time.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from typing import Protocol

from tts_pipeline.config import Limits
from tts_pipeline.errors import StoppedError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.rate_limiter import RateLimiter
from tts_pipeline.flow.throttle_pause import FIRST_PAUSE_S


class Rates(Protocol):
    """The rates of one client; for one event loop.

    Unless ``is_limited``, permits and requests wait for nothing here. ``on_change`` is called when ``is_limited`` has
    changed, or when an attempt may be permitted earlier than ``delay_s`` said. ``pause_until_s`` is the end of a pause
    that the service asked another process of the account for; ``-inf`` without one. ``away_s`` is for how long no
    attempt is permitted because the account store is away; 0 while it is there. ``first_pause_s`` is the pause after a
    429 for which the service names no time. ``max_in_flight`` is this client's part of the account's attempts in
    flight; ``in_flight``, which its owner sets, tells how many it has.
    """

    is_limited: bool
    pause_until_s: float
    away_s: float
    first_pause_s: float
    max_in_flight: int
    in_flight: Callable[[], int]
    on_change: Callable[[], None]

    def delay_s(self, now_s: float, waiting: int) -> float:
        """Return the seconds until the next attempt may be permitted; 0 or less is now.

        ``waiting`` attempts could use a permit. Infinity is until ``on_change``.
        """

    def book(self, now_s: float, characters: int) -> None:
        """Record that an attempt of so many characters is permitted now."""

    async def wait_to_send(self, characters: int) -> None:
        """Wait until a permitted request may leave; record that it leaves."""

    def on_throttle(self, *, sent_at_s: float, retry_after_s: float | None) -> None:
        """Tell the other processes of a 429; ``retry_after_s`` is None if the service named no time."""

    def on_success(self, sent_at_s: float) -> None:
        """Tell the other processes that the service served a request; called while a 429 still has an effect."""


class OwnRates:
    """The rates of a client that shares them with nobody."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.is_limited = (limits.requests_per_minute or limits.characters_per_minute) is not None
        self.pause_until_s = -math.inf
        self.away_s = 0.0
        self.first_pause_s = FIRST_PAUSE_S
        self.max_in_flight = limits.account_concurrency or sys.maxsize
        self.in_flight: Callable[[], int] = int
        self.on_change: Callable[[], None] = nobody
        self._permits = _RatePair(limits)
        self._requests = _RatePair(limits)
        self._clock = clock
        self._lock = asyncio.Lock()  # first come, first served

    def delay_s(self, now_s: float, waiting: int) -> float:  # noqa: ARG002 (part of the protocol)
        """See ``Rates``."""
        return self._permits.delay_s(now_s)

    def book(self, now_s: float, characters: int) -> None:
        """See ``Rates``."""
        self._permits.consume(now_s, characters)

    async def wait_to_send(self, characters: int) -> None:
        """See ``Rates``."""
        async with self._lock:
            while (delay_s := self._requests.delay_s(self._clock.monotonic_s())) > 0:
                await self._clock.sleep(delay_s)
            self._requests.consume(self._clock.monotonic_s(), characters)

    def on_throttle(self, *, sent_at_s: float, retry_after_s: float | None) -> None:
        """There is nobody to tell."""

    def on_success(self, sent_at_s: float) -> None:
        """There is nobody to tell."""


def nobody() -> None:
    """Tell nobody of a change."""


def store_away_error(away_s: float) -> StoppedError:
    """Return the error of a run that has waited for the account store for too long."""
    return StoppedError(
        f"the account store has been away for {away_s:.0f} s, and nothing is sent without it",
        stopped_by="storage",
        hint="see 'tts-pipeline account status', and run again when it is back: what is done is kept",
    )


class _RatePair:
    """The rate of requests and that of characters, of which the slower one holds."""

    def __init__(self, limits: Limits) -> None:
        self._requests = RateLimiter(limits.requests_per_minute)
        self._characters = RateLimiter(limits.characters_per_minute)

    def delay_s(self, now_s: float) -> float:
        return max(self._requests.delay_s(now_s), self._characters.delay_s(now_s))

    def consume(self, now_s: float, characters: int) -> None:
        self._requests.consume(now_s)
        self._characters.consume(now_s, characters)
