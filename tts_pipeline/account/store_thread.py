"""Threads with an open connection to a store, which serve one session after the other.

A call of a few rows takes milliseconds, and connecting would take as long. So a thread waits for a while for the next
session of its process before it closes its connection and ends.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable

from tts_pipeline.account.database import Database

_IDLE_S = 10.0

_idle: dict[tuple[int, str], list[StoreThread]] = {}
"""Waiting threads by process, because a fork copies none of them, and by the place of their store."""

_lock = threading.Lock()  # held by a fork: the child would else inherit it from a thread that is gone
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class StoreThread:
    """A thread and its connection. ``is_migrated`` says whether the store's tables were made, or found, by this one."""

    def __init__(self, place: str, database: Database) -> None:
        self.database = database
        self.is_migrated = False
        self._key = os.getpid(), place
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="account-session", daemon=True).start()

    @classmethod
    def take(cls, place: str, open_database: Callable[[], Database]) -> StoreThread:
        """Return a waiting thread of a store, or a new one."""
        with _lock:
            waiting = _idle.get((os.getpid(), place))
            if waiting:
                return waiting.pop()
        return cls(place, open_database())

    def run(self, job: Callable[[], None]) -> None:
        """Run a job in the thread, which waits for the next session afterwards."""
        self._jobs.put(job)

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE_S)
            except queue.Empty:
                with _lock:
                    waiting = _idle.get(self._key, [])
                    if self in waiting:
                        waiting.remove(self)
                        break
                continue  # it was taken just now
            job()
            with _lock:
                _idle.setdefault(self._key, []).append(self)
        self.database.close()
