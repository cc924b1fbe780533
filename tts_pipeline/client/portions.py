"""A few answers at each turn of the event loop: what they set free is sent on before the next ones are worked on."""

from __future__ import annotations

import asyncio
import sys
from collections import deque

ANSWERS_A_TURN = 16
"""Worked on in one turn of the loop, which then takes about 4 ms.

Requests that were sent together are answered together. All their answers worked on in one turn, and then all that
follows from them in the next few turns, the way from a place that is free to the request that takes it went through
five turns of up to 60 ms, at 256 in flight. Measured there: all at once 18 ms and 1,000 rows a second; 16 at a time
9 ms and 1,090; 4 at a time 7 ms and 1,130, but 0.1 ms of CPU a row more, for the journal is then written in smaller
pieces.
"""


class Portions:
    """Lets about so many coroutines go on at each turn of one event loop; those that wait, in their order.

    Args:
        most: How many.
    """

    def __init__(self, most: int = ANSWERS_A_TURN) -> None:
        self._most = most
        self._left = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def turn(self) -> None:
        """Return in this turn of the loop when there is room, else in one of the next."""
        loop = asyncio.get_running_loop()
        if self._left == 0:
            turn = loop.create_future()
            self._waiting.append(turn)
            await turn
            return
        if self._left == self._most:
            loop.call_soon(self._next)
        self._left -= 1

    def open(self) -> None:
        """Let all that wait go on, and whoever comes: nothing is sent any more that they could hold back."""
        self._most = self._left = sys.maxsize
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        self._waiting.clear()

    def _next(self) -> None:
        self._left = self._most
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():  # else its waiter was cancelled
                turn.set_result(None)
                self._left -= 1
        if self._left < self._most:
            asyncio.get_running_loop().call_soon(self._next)
