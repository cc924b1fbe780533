"""A bounded queue between the source and the workers, which wakes few tasks."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class WorkQueue(Generic[Item]):
    """Holds up to ``max_items`` items; None is the end. For one event loop.

    An item is taken only while ``room`` returns more than 0; whoever makes room calls ``offer``.

    A feeder that finds the queue full goes on when half of it is taken. An ``asyncio.Queue`` wakes its feeder for each
    item that a worker takes, which is a task's wake-up for each row.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self.room: Callable[[], int] = lambda: sys.maxsize
        self._items: deque[Item | None] = deque()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._feeders: list[asyncio.Future[None]] = []
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        """Whether the queue has no items."""
        return not self._items

    async def put(self, item: Item | None) -> None:
        """Add an item; wait for room first."""
        while len(self._items) >= self._max_items:
            feeder: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._feeders.append(feeder)
            await feeder
        self.put_nowait(item)

    def put_nowait(self, item: Item | None) -> None:
        """Add an item, even beyond ``max_items``."""
        self._items.append(item)
        if self._takers and self.room() > 0:
            self._wake_taker()

    async def get(self) -> Item | None:
        """Take the next item, or wait for it; None is the end of the queue, or of a queue that was closed."""
        while not self._is_closed and not (self._items and self.room() > 0):
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                if self._items:  # this taker may have been woken for them
                    self._wake_taker()
                raise
        if self._is_closed:
            return None
        item = self._items.popleft()
        if self._feeders and len(self._items) <= self._max_items // 2:
            _wake_all(self._feeders)
        return item

    def offer(self, room: int) -> None:
        """Let takers go on that wait for room: so many, or as many as there are items."""
        for _ in range(min(room, len(self._items), len(self._takers))):
            self._wake_taker()

    def close(self) -> None:
        """Give no more items: all takers, also those that wait, get None."""
        self._is_closed = True
        _wake_all(self._takers)

    def _wake_taker(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():  # else its waiter was cancelled
                taker.set_result(None)
                return


def _wake_all(waiters: list[asyncio.Future[None]] | deque[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
