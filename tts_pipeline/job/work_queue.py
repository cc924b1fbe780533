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

    A putter that finds the queue full goes on when half of it is taken. An ``asyncio.Queue`` wakes its putter for each
    item that a worker takes, which is a task's wake-up for each row.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self.room: Callable[[], int] = lambda: sys.maxsize
        self._items: deque[Item | None] = deque()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._putters: list[asyncio.Future[None]] = []
        self._is_closed = False

    @property
    def is_empty(self) -> bool:
        """Whether the queue has no items."""
        return not self._items

    async def put(self, item: Item | None) -> None:
        """Add an item; wait for room first."""
        while len(self._items) >= self._max_items:
            putter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._putters.append(putter)
            await putter
        self.put_nowait(item)

    def put_nowait(self, item: Item | None) -> None:
        """Add an item, even beyond ``max_items``."""
        self._items.append(item)
        if self._getters and self.room() > 0:
            self._wake_getter()

    async def get(self) -> Item | None:
        """Take the next item, or wait for it; None is the end of the queue, or of a queue that was closed."""
        while not self._is_closed and not (self._items and self.room() > 0):
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if self._items:  # this getter may have been woken for them
                    self._wake_getter()
                raise
        if self._is_closed:
            return None
        item = self._items.popleft()
        if self._putters and len(self._items) <= self._max_items // 2:
            _wake_all(self._putters)
        return item

    def offer(self, room: int) -> None:
        """Let getters go on that wait for room: so many, or as many as there are items."""
        for _ in range(min(room, len(self._items), len(self._getters))):
            self._wake_getter()

    def close(self) -> None:
        """Give no more items: all getters, also those that wait, get None."""
        self._is_closed = True
        _wake_all(self._getters)

    def _wake_getter(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():  # else its waiter was cancelled
                getter.set_result(None)
                return


def _wake_all(waiters: list[asyncio.Future[None]] | deque[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()
