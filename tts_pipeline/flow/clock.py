"""The clock as a value, so that a test can pass its own clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


def _utc_us() -> int:
    return time.time_ns() // 1_000


@dataclass(frozen=True, slots=True)
class Clock:
    """The functions with which the client reads the time and waits.

    ``monotonic_s`` never goes backwards; ``utc_us`` is for the bill and for people.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    utc_us: Callable[[], int] = _utc_us
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
