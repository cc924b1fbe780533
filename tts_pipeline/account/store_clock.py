"""The clock that the processes of an account share, and its relation to the clock of one process."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from tts_pipeline.account.database import Transaction

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Counts from the start of the machine, in standby too; every process reads the same."""

_KEEP_US = 60_000_000
"""The store's time is kept this often; after a restart it is later than what was kept by at least as much."""

_SAMPLES = 10


@cache
def _boot_id() -> str:
    """Return an id of this start of the machine; empty where the system gives none."""
    with suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


class MachineClock:
    """The time of a store without a clock of its own: that of its machine since its start, plus an offset.

    The time of day may be set back or forward while the machine runs, which changes nothing here. The store keeps the
    offset, and each minute the time. After a restart of the machine a new offset lets the time go on from the time of
    day, and never backwards.
    """

    def __init__(self) -> None:
        self._offset_us: int | None = None
        self._kept_us = 0

    def now_us(self, transaction: Transaction) -> int:
        """Return the store's time in microseconds."""
        running_us = time.clock_gettime_ns(_BOOT_CLOCK) // 1_000
        if self._offset_us is None:
            self._offset_us = self._stored_offset_us(transaction, running_us)
        if running_us >= self._kept_us + _KEEP_US:
            transaction.execute("UPDATE tts_machine_clock SET running_us = ?", (running_us,))
            self._kept_us = running_us
        return running_us + self._offset_us

    def _stored_offset_us(self, transaction: Transaction, running_us: int) -> int:
        rows = transaction.execute("SELECT boot_id, offset_us, running_us FROM tts_machine_clock")
        boot_id, offset_us, kept_us = rows[0] if rows else ("", 0, -_KEEP_US)
        if rows and boot_id == _boot_id() and running_us >= kept_us:
            return int(offset_us)
        offset_us = max(offset_us + kept_us + _KEEP_US, transaction.wall_us()) - running_us
        transaction.execute("DELETE FROM tts_machine_clock")
        transaction.execute(
            "INSERT INTO tts_machine_clock (boot_id, offset_us, running_us) VALUES (?, ?, ?)",
            (_boot_id(), offset_us, running_us),
        )
        return int(offset_us)


class _Sample(Struct):
    offset_us: int
    round_trip_us: int


class ClockMap:
    """Turns the store's times into this process's monotonic seconds.

    Each exchange with the store is a sample: the store read its clock between the question and the answer. The sample
    with the shortest round trip of the last ten is off by half of it at most.
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)
        self._best = _Sample(0, 0)

    def add_sample(self, asked_s: float, store_us: int, answered_s: float) -> None:
        """Record that the store's clock showed ``store_us`` between two local times."""
        asked_us, answered_us = round(asked_s * 1e6), round(answered_s * 1e6)
        self._samples.append(_Sample(store_us - (asked_us + answered_us) // 2, answered_us - asked_us))
        self._best = min(self._samples, key=lambda sample: sample.round_trip_us)

    @property
    def round_trip_s(self) -> float:
        """The shortest of the last round trips."""
        return self._best.round_trip_us / 1e6

    def local_s(self, store_us: int) -> float:
        """Return a time of the store as local monotonic seconds."""
        return (store_us - self._best.offset_us) / 1e6

    def store_us(self, local_s: float) -> int:
        """Return a local monotonic time as one of the store."""
        return round(local_s * 1e6) + self._best.offset_us
