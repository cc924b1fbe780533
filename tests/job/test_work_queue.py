"""The queue of a pool gives each item to one worker, wakes its feeder seldom, and ends for all."""

from __future__ import annotations

import asyncio

import pytest

from tts_pipeline.job.work_queue import WorkQueue

pytestmark = pytest.mark.anyio


async def _turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_items_come_in_order_each_to_one_taker() -> None:
    """Takers that waited get items in the order of their coming; an item is never given twice."""
    queue = WorkQueue[int](4)
    takers = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await _turns()
    for number in range(4):
        queue.put_nowait(number)
    assert [await taker for taker in takers] == [0, 1, 2]
    assert (await queue.get(), queue.is_empty) == (3, True)


async def test_a_feeder_goes_on_when_half_of_the_queue_is_taken() -> None:
    """Not for each item: a feeder's turn then fills the other half."""
    queue = WorkQueue[int](4)
    fed: list[int] = []

    async def feed() -> None:
        for number in range(12):
            await queue.put(number)
            fed.append(number)

    feeder = asyncio.ensure_future(feed())
    lengths: list[int] = []
    for number in range(12):
        await _turns()
        lengths.append(len(fed))
        assert await queue.get() == number
    await feeder
    assert lengths == [4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 12, 12]


async def test_an_item_is_taken_only_where_there_is_room() -> None:
    """A taker that finds none waits, also for the end, until room is offered; so many go on as there is room for."""
    queue, slots = WorkQueue[int](8), 0
    taken: list[int | None] = []

    def room() -> int:
        return slots - len(taken)

    async def take() -> None:
        taken.append(await queue.get())

    queue.room = room
    takers = [asyncio.ensure_future(take()) for _ in range(4)]
    for item in (1, 2, 3, None):
        await queue.put(item)
    await _turns()
    assert taken == []
    for slots in (1, 3, 4):
        queue.offer(slots)
        await _turns()
        assert taken == [1, 2, 3, None][:slots]
    await asyncio.gather(*takers)


async def test_a_closed_queue_ends_all_who_wait_and_all_who_come() -> None:
    """Also while it has items: nothing more is begun."""
    queue = WorkQueue[int](4)
    taker = asyncio.ensure_future(queue.get())
    await _turns()
    queue.close()
    queue.put_nowait(1)
    assert (await taker, await queue.get()) == (None, None)


async def test_an_item_is_not_lost_with_a_taker_that_is_cancelled() -> None:
    """A taker that was woken for it passes it on; one that still waited does not count."""
    queue = WorkQueue[int](4)
    takers = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await _turns()
    takers[0].cancel()
    await _turns()
    queue.put_nowait(1)
    takers[1].cancel()
    assert await takers[2] == 1
    assert [taker.cancelled() for taker in takers] == [True, True, False]
