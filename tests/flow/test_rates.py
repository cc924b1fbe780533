"""A request waits right before it leaves, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from tests.flow.virtual_time import run_virtually, virtual_clock
from tts_pipeline.config import Limits
from tts_pipeline.flow.rates import OwnRates


def leaving_s(limits: Limits, ready_s: list[float], *, characters: int = 10) -> list[float]:
    """Return the times at which requests leave that are ready at given times."""

    async def main() -> list[float]:
        rates, loop = OwnRates(limits, virtual_clock()), asyncio.get_running_loop()
        begin_s, left_s = loop.time(), list[float]()

        async def send(at_s: float) -> None:
            await asyncio.sleep(at_s)
            await rates.wait_to_send(characters)
            left_s.append(loop.time() - begin_s)

        await asyncio.gather(*map(send, ready_s))
        return left_s

    return run_virtually(main())


def test_without_a_rate_nobody_waits() -> None:
    """None is no limit."""
    assert leaving_s(Limits(), [0.0, 0.0, 0.5]) == pytest.approx([0.0, 0.0, 0.5])


def test_a_slow_disk_does_not_push_requests_together() -> None:
    """Permits are one second apart and records are late: requests still leave an interval apart."""
    left_s = leaving_s(Limits(requests_per_minute=60), [0.9, 1.0, 2.0, 3.8, 4.0])
    assert min(after - before for before, after in pairwise(left_s)) >= 1.0 - 1e-9
    assert left_s[-1] == pytest.approx(4.9)


def test_characters_weigh() -> None:
    """A rate of characters holds for leaving requests, too."""
    assert leaving_s(Limits(characters_per_minute=600), [0.0, 0.0], characters=30) == pytest.approx([0.0, 3.0])


def test_whoever_is_cancelled_takes_nobodys_turn() -> None:
    """The next request leaves when the cancelled one would have."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        rates, begin_s = OwnRates(Limits(requests_per_minute=60), virtual_clock()), loop.time()
        await rates.wait_to_send(1)
        cancelled, other = (asyncio.create_task(rates.wait_to_send(1)) for _ in range(2))
        await asyncio.sleep(0.5)
        cancelled.cancel()
        await other
        return loop.time() - begin_s

    assert run_virtually(main()) == pytest.approx(1.0)
