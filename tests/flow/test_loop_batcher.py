"""A burst of answers is divided over turns of the event loop; each turn's are processed together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tts_pipeline.flow.loop_batcher import LoopBatcher


class _Log:
    """Remembers which numbers came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def process(self, numbers: Sequence[int]) -> None:
        self.batches.append(list(numbers))


def submit(batcher: LoopBatcher[int], number: int, size_bytes: int = 1) -> asyncio.Future[None]:
    waiter = asyncio.get_running_loop().create_future()
    batcher.add(number, size_bytes, waiter)
    return waiter


def test_a_burst_is_divided_and_keeps_its_order() -> None:
    """Ten at three a turn: three, three, three, one; the loop runs other tasks between them."""
    log = _Log()

    async def main() -> None:
        batcher = LoopBatcher(log.process, 3)
        waiters = [submit(batcher, number) for number in range(10)]
        done = []
        while not all(waiter.done() for waiter in waiters):
            await asyncio.sleep(0)
            done.append(sum(waiter.done() for waiter in waiters))
        assert list(dict.fromkeys(done)) == [3, 6, 9, 10]

    asyncio.run(main())
    assert log.batches == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_what_an_item_let_go_on_comes_before_the_next_batch() -> None:
    """Its task runs, and what that task asks of the loop: a freed slot's next intent reaches the journal's thread."""
    events: list[str] = []

    async def main() -> None:
        batcher = LoopBatcher[int](lambda numbers: events.append(f"read {numbers[0]}"), 1)

        async def go_on(number: int) -> None:
            await batcher.submit(number, 1)
            asyncio.get_running_loop().call_soon(events.append, f"handed over {number}")

        await asyncio.gather(*map(go_on, range(3)))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert events == [f"{event} {number}" for number in range(3) for event in ("read", "handed over")]


def test_large_items_share_no_turn() -> None:
    """A turn takes no more bytes than its bound, but always one item."""
    log = _Log()

    async def main() -> None:
        batcher = LoopBatcher(log.process, batch_bytes=100)
        sizes = (60, 40, 1, 500, 99, 1)
        await asyncio.gather(*(submit(batcher, number, size) for number, size in enumerate(sizes)))

    asyncio.run(main())
    assert log.batches == [[0, 1], [2], [3], [4, 5]]


def test_later_items_come_in_later_batches() -> None:
    """However many come one after another, each is processed in the next turn."""
    log = _Log()

    async def main() -> None:
        batcher = LoopBatcher(log.process)
        for number in range(3):
            await batcher.submit(number, 1)
            assert log.batches[-1] == [number]

    asyncio.run(main())
    assert len(log.batches) == 3


def test_nobody_waits_forever() -> None:
    """If processing itself fails, every item of the batch gets the error, and later batches are processed."""

    def process(numbers: Sequence[int]) -> None:
        if 1 in numbers:
            raise RuntimeError

    async def main() -> None:
        batcher = LoopBatcher(process)
        outcomes = await asyncio.gather(submit(batcher, 1), submit(batcher, 2), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [RuntimeError, RuntimeError]
        await batcher.submit(3, 1)
        with pytest.raises(RuntimeError):
            await batcher.submit(1, 1)

    asyncio.run(main())


def test_who_is_cancelled_takes_nobodys_turn() -> None:
    """A cancelled item is not processed, and the next one takes its place."""
    log = _Log()

    async def main() -> None:
        batcher = LoopBatcher(log.process, 2)
        waiters = [submit(batcher, number) for number in range(6)]
        for waiter in waiters[1:4]:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        assert [waiter.cancelled() for waiter in waiters] == [False, True, True, True, False, False]

    asyncio.run(main())
    assert log.batches == [[0, 4], [5]]


def test_a_turn_of_cancelled_items_is_empty() -> None:
    """Nothing is processed, and later items are."""
    log = _Log()

    async def main() -> None:
        batcher = LoopBatcher(log.process)
        submit(batcher, 1).cancel()
        await asyncio.sleep(0)
        await batcher.submit(2, 1)

    asyncio.run(main())
    assert log.batches == [[2]]


def test_released_all_are_processed_together() -> None:
    """Waiting and later items: nothing is delayed while a run is stopped."""
    log = _Log()

    async def main() -> None:
        batcher = LoopBatcher(log.process, 1, 1)
        waiters = [submit(batcher, number) for number in range(20)]
        batcher.release_all()
        await asyncio.gather(*waiters)
        await asyncio.gather(*(submit(batcher, number) for number in range(50)))

    asyncio.run(main())
    assert log.batches == [list(range(20)), list(range(50))]
