"""Work on a few answers in each turn of the event loop, so that freed permits are used at once."""

from __future__ import annotations

import asyncio
import sys
from collections import deque

ANSWERS_PER_TURN = 16
"""Worked on in one turn of the loop, which then takes about 4 ms.

Requests that were sent together are answered together. All their answers worked on in one turn, and then all that
follows from them in the next few turns, the way from a place that is free to the request that takes it went through
five turns of up to 60 ms, at 256 in flight. Measured there: all at once 18 ms and 1,000 rows a second; 16 at a time
9 ms and 1,090; 4 at a time 7 ms and 1,130, but 0.1 ms of CPU a row more, for the journal is then written in smaller
pieces.
"""


class LoopBatcher:
    """Lets about so many coroutines go on at each turn of one event loop; those that wait, in their order."""

    def __init__(self, batch_size: int = ANSWERS_PER_TURN) -> None:
        self._batch_size = batch_size
        self._remaining = batch_size
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def wait_turn(self) -> None:
        """Return in this turn of the loop when there is room, else in one of the next."""
        loop = asyncio.get_running_loop()
        if self._remaining == 0:
            waiter = loop.create_future()
            self._waiters.append(waiter)
            await waiter
            return
        if self._remaining == self._batch_size:
            loop.call_soon(self._next_turn)
        self._remaining -= 1

    def release_all(self) -> None:
        """Let all that wait go on, and whoever comes: nothing is sent any more that they could hold back."""
        self._batch_size = self._remaining = sys.maxsize
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def _next_turn(self) -> None:
        self._remaining = self._batch_size
        while self._waiters and self._remaining:
            waiter = self._waiters.popleft()
            if not waiter.done():  # else its waiter was cancelled
                waiter.set_result(None)
                self._remaining -= 1
        if self._remaining < self._batch_size:
            asyncio.get_running_loop().call_soon(self._next_turn)
