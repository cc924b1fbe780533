"""An event loop whose time passes only while all tasks wait, so that hours of waiting take a millisecond."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from tts_pipeline.flow.clock import Clock

Result = TypeVar("Result")


class _JumpingSelector(selectors.SelectSelector):
    now_s = 1_000.0
    tick_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for something that will never come")
        self.now_s += max(timeout, self.tick_s)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, tick_s: float) -> None:
        self._jumping = _JumpingSelector()
        self._jumping.tick_s = tick_s
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run_virtually(main: Coroutine[Any, Any, Result], *, tick_s: float = 0.0) -> Result:
    """Run a coroutine in virtual time; each turn of the loop takes at least ``tick_s``."""
    with asyncio.Runner(loop_factory=partial(_VirtualLoop, tick_s)) as runner:
        return runner.run(main)


def virtual_clock() -> Clock:
    """Return the clock of the running virtual loop."""
    loop = asyncio.get_running_loop()
    return Clock(monotonic_s=loop.time, utc_us=lambda: int(loop.time() * 1e6), sleep=asyncio.sleep)
