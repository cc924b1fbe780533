"""A burst of answers is divided over turns of the event loop; each turn's are processed together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tts_pipeline.flow.loop_batcher import LoopBatcher


class _Squares:
    """Squares numbers, refuses negative ones, and remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def process(self, numbers: Sequence[int]) -> Sequence[int | Exception]:
        self.batches.append(list(numbers))
        return [ValueError(f"{number}") if number < 0 else number**2 for number in numbers]


def test_a_burst_is_divided_and_keeps_its_order() -> None:
    """Ten at three a turn: three, three, three, one; the loop runs other tasks between them."""
    squares = _Squares()

    async def main() -> None:
        batcher = LoopBatcher(squares.process, 3)
        waiters = [batcher.submit(number, 1) for number in range(10)]
        done = []
        while not all(waiter.done() for waiter in waiters):
            await asyncio.sleep(0)
            done.append(sum(waiter.done() for waiter in waiters))
        assert done == [3, 6, 9, 10]
        assert [waiter.result() for waiter in waiters] == [number**2 for number in range(10)]

    asyncio.run(main())
    assert squares.batches == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_large_items_share_no_turn() -> None:
    """A turn takes no more bytes than its bound, but always one item."""
    squares = _Squares()

    async def main() -> None:
        batcher = LoopBatcher(squares.process, batch_bytes=100)
        sizes = (60, 40, 1, 500, 99, 1)
        await asyncio.gather(*(batcher.submit(number, size) for number, size in enumerate(sizes)))

    asyncio.run(main())
    assert squares.batches == [[0, 1], [2], [3], [4, 5]]


def test_later_items_come_in_later_batches() -> None:
    """However many come one after another, each is processed in the next turn."""
    squares = _Squares()

    async def main() -> None:
        batcher = LoopBatcher(squares.process)
        assert [await batcher.submit(number, 1) for number in range(3)] == [0, 1, 4]

    asyncio.run(main())
    assert squares.batches == [[0], [1], [2]]


def test_an_error_hits_its_own_item_only() -> None:
    """The others of its batch get their results."""

    async def main() -> None:
        batcher = LoopBatcher(_Squares().process)
        first, second, third = (batcher.submit(number, 1) for number in (2, -1, 3))
        assert (await first, await third) == (4, 9)
        with pytest.raises(ValueError, match="-1"):
            await second

    asyncio.run(main())


def test_nobody_waits_forever() -> None:
    """If processing itself fails, every item of the batch gets the error, and later batches are processed."""
    is_broken = True

    def process(numbers: Sequence[int]) -> Sequence[int | Exception]:
        if is_broken:
            raise RuntimeError
        return numbers

    async def main() -> None:
        nonlocal is_broken
        batcher = LoopBatcher(process)
        outcomes = await asyncio.gather(batcher.submit(1, 1), batcher.submit(2, 1), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [RuntimeError, RuntimeError]
        is_broken = False
        assert await batcher.submit(3, 1) == 3

    asyncio.run(main())


def test_who_is_cancelled_takes_nobodys_turn() -> None:
    """A cancelled item is not processed, and the next one takes its place."""
    squares = _Squares()

    async def main() -> None:
        batcher = LoopBatcher(squares.process, 2)
        waiters = [batcher.submit(number, 1) for number in range(6)]
        for waiter in waiters[1:4]:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        assert [waiter.cancelled() for waiter in waiters] == [False, True, True, True, False, False]
        waiters[-1].cancel()

    asyncio.run(main())
    assert squares.batches == [[0, 4], [5]]


def test_a_turn_of_cancelled_items_is_empty() -> None:
    """Nothing is processed, and later items are."""
    squares = _Squares()

    async def main() -> None:
        batcher = LoopBatcher(squares.process)
        batcher.submit(1, 1).cancel()
        await asyncio.sleep(0)
        assert await batcher.submit(2, 1) == 4

    asyncio.run(main())
    assert squares.batches == [[2]]


def test_released_all_are_processed_together() -> None:
    """Waiting and later items: nothing is delayed while a run is stopped."""
    squares = _Squares()

    async def main() -> None:
        batcher = LoopBatcher(squares.process, 1, 1)
        waiters = [batcher.submit(number, 1) for number in range(20)]
        batcher.release_all()
        await asyncio.gather(*waiters)
        await asyncio.gather(*(batcher.submit(number, 1) for number in range(50)))

    asyncio.run(main())
    assert squares.batches == [list(range(20)), list(range(50))]
