"""A burst of work is divided over turns of the event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

from tts_pipeline.flow.loop_batcher import LoopBatcher


async def _turns_of(batcher: LoopBatcher, count: int) -> list[int]:
    """Start so many tasks together, and return the turn of the loop in which each went on."""
    loop, turn = asyncio.get_running_loop(), 0

    async def tick() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def wait() -> int:
        await batcher.wait_turn()
        return turn

    ticking = loop.create_task(tick())
    try:
        return await asyncio.gather(*(wait() for _ in range(count)))
    finally:
        ticking.cancel()


def test_a_burst_is_divided_and_keeps_its_order() -> None:
    """Ten at three a turn: three, three, three, one, each group in a later turn than the previous one."""

    async def main() -> None:
        turns = await _turns_of(LoopBatcher(3), 10)
        assert turns == sorted(turns)
        assert sorted(Counter(turns).values()) == [1, 3, 3, 3]

    asyncio.run(main())


def test_who_comes_alone_never_waits() -> None:
    """Without a burst nothing is delayed, however many tasks come one after another."""

    async def main() -> None:
        batcher = LoopBatcher(1)
        for _ in range(5):
            assert await _turns_of(batcher, 1) == [1]
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(main())


def test_who_is_cancelled_takes_nobodys_turn() -> None:
    """Later tasks go on, and afterwards the turn has room immediately."""

    async def main() -> None:
        batcher = LoopBatcher(1)
        tasks = [asyncio.create_task(batcher.wait_turn()) for _ in range(6)]
        await asyncio.sleep(0)
        for task in tasks[1:4]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, asyncio.CancelledError) for result in results] == [
            False,
            True,
            True,
            True,
            False,
            False,
        ]
        for _ in range(3):
            await asyncio.sleep(0)
        assert all(later > earlier for earlier, later in pairwise(await _turns_of(batcher, 3)))

    asyncio.run(main())


def test_opened_all_go_on() -> None:
    """Waiting and later tasks go on: nothing is delayed while a run is stopped."""

    async def main() -> None:
        batcher = LoopBatcher(1)
        tasks = [asyncio.create_task(batcher.wait_turn()) for _ in range(20)]
        await asyncio.sleep(0)
        batcher.release_all()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert all(task.done() for task in tasks)
        assert set(await _turns_of(batcher, 50)) == {1}

    asyncio.run(main())
