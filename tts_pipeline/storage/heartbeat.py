"""Write the heartbeats of this process to a destination, and watch the heartbeats of other processes there.

A process rewrites ``leases/alive-<invocation_id>.json`` every quarter of ``lease_s``. Clocks of two machines are never
compared. The writer's leases hold for ``lease_s`` after the start of its last write, by its own clock. A watcher takes
the writer for dead when it has seen no new heartbeat for one and a half times ``lease_s``, by the watcher's clock,
which began later. So the writer knows that its leases are lost before another process takes them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.owner import MAX_OWNER_BYTES, Owner, heartbeat_name

BEATS_PER_LEASE = 4
"""Heartbeats within ``lease_s``: three may get lost."""

TIMEOUT_LEASES = 1.5
"""A process is dead after this many ``lease_s`` without a new heartbeat."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_s() -> float:
    """Return the seconds of a clock that runs while this process is stopped and, on Linux, while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class LeaseLostError(StorageError):
    """Other processes may work on the parts of this one: it must not send or publish any more. Never retried."""


class Heartbeat:
    """Writes heartbeats of this process to a destination, from a thread of its own."""

    def __init__(self, store: FsspecStore, owner: Owner, clock: Callable[[], float] = boottime_s) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._valid_until_s = math.inf
        self._beats = 0
        self._is_lost = False
        self._failure: StorageError | None = None
        self._write_lock = threading.Lock()
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    @property
    def is_lost(self) -> bool:
        """Whether the leases of this process have ended, which is final."""
        if self._clock() > self._valid_until_s:
            self._is_lost = True
        return self._is_lost

    def check(self) -> None:
        """Check that the leases of this process hold. Takes a microsecond.

        Raises:
            LeaseLostError: The leases have ended.
        """
        if self.is_lost:
            reason = f": {self._failure.message}" if self._failure else "; was it stopped, or its machine asleep?"
            raise LeaseLostError(
                f"this run wrote no heartbeat to {self._store.root} for {self._owner.lease_s:g} s, so other runs may "
                f"have taken its parts over{reason}",
                hint="nothing more was sent; run the same command again to go on",
            )

    def forfeit(self) -> None:
        """Treat the leases as lost: nothing more is sent or published."""
        self._is_lost = True

    def start(self) -> bool:
        """Write the first heartbeat; return whether the store has create-if-absent. Blocking."""
        self.beat()
        has_create_if_absent = self._store.probe_create_if_absent(heartbeat_name(self._owner.invocation_id))
        if not has_create_if_absent:
            self.beat()  # the probe may have destroyed the first heartbeat
        self._thread.start()
        return has_create_if_absent

    def beat(self) -> None:
        """Write a heartbeat. Blocking; a late heartbeat does not prolong the leases."""
        with self._write_lock:
            started_s = self._clock()
            if self._stop_event.is_set() or self.is_lost:
                return
            self._store.write(heartbeat_name(self._owner.invocation_id), self._owner.to_json(beat=self._beats))
            self._beats += 1
            if not self.is_lost:
                self._valid_until_s = started_s + self._owner.lease_s

    def stop(self) -> None:
        """Stop, and remove the heartbeat after a write that is under way. Blocking."""
        self._stop_event.set()
        with self._write_lock:
            self._store.remove(heartbeat_name(self._owner.invocation_id))

    def _run(self) -> None:
        while not self._stop_event.wait(self._owner.lease_s / BEATS_PER_LEASE) and not self.is_lost:
            try:
                self.beat()
                self._failure = None
            except StorageError as error:
                self._failure = error


class PeerMonitor:
    """Watches the heartbeats of another process from now on. For one thread. Blocking.

    The longer ``lease_s`` of the two processes counts.
    """

    def __init__(
        self, store: FsspecStore, owner: Owner, lease_s: float, clock: Callable[[], float] = boottime_s
    ) -> None:
        self.owner = owner
        self.is_alive = False
        """Whether the process has written a heartbeat since the first look, and is not dead."""
        self.is_dead = False
        """Whether the process was silent for so long that its leases have ended."""
        self._store = store
        self._timeout_s = TIMEOUT_LEASES * max(lease_s, owner.lease_s)
        self._clock = clock
        self._last_beat = self._read()
        self._last_beat_s = clock()

    def poll(self) -> None:
        """Read the heartbeat, and update ``is_alive`` and ``is_dead``."""
        started_s, beat = self._clock(), self._read()
        if beat is not None and beat != self._last_beat:
            self._last_beat, self._last_beat_s = beat, self._clock()
            self.is_alive = True
        self.is_dead = started_s - self._last_beat_s >= self._timeout_s
        self.is_alive = self.is_alive and not self.is_dead

    def _read(self) -> bytes | None:
        return self._store.read_start(heartbeat_name(self.owner.invocation_id), MAX_OWNER_BYTES)
