"""The clock as a value, so that a test can pass its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


def _utc_us() -> int:
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Where the client reads the time and how it waits.

    Args:
        monotonic_s: Seconds by a clock that never goes backwards; only differences mean something.
        utc_us: Microseconds since 1970 UTC; for the bill and for people.
        sleep: Waits that many seconds.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    utc_us: Callable[[], int] = _utc_us
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
