"""The pacer: wait right before a request leaves, so that the service sees an even rate."""

from __future__ import annotations

import asyncio

from tts_pipeline.config import Limits
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.rate_limiter import RateLimiter


class Pacer:
    """Keeps requests apart at the moment they leave.

    Permits are given at the permitted rate, but between a permit and its request the attempt is written to disk, which
    takes 1 to 100 ms. Without the pacer, two requests whose permits were well apart could leave together, and a service
    that enforces its rate smoothly would answer the second with a 429. Most requests do not wait here, and none needs
    to unless ``is_limited``.
    """

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._request_rate = RateLimiter(limits.requests_per_minute)
        self._character_rate = RateLimiter(limits.characters_per_minute)
        self._clock = clock
        self.is_limited = (limits.requests_per_minute or limits.characters_per_minute) is not None
        self._lock = asyncio.Lock()  # first come, first served

    async def wait(self, characters: int) -> None:
        """Wait until a request of so many characters may leave; record that it leaves."""
        async with self._lock:
            while (delay_s := self._delay_s()) > 0:
                await self._clock.sleep(delay_s)
            now_s = self._clock.monotonic_s()
            self._request_rate.consume(now_s)
            self._character_rate.consume(now_s, characters)

    def _delay_s(self) -> float:
        now_s = self._clock.monotonic_s()
        return max(self._request_rate.delay_s(now_s), self._character_rate.delay_s(now_s))
