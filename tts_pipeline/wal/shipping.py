"""Ship journals to the destination, so that another machine can continue when this one is lost with its disk.

A journal is sent in chunks, ``journal/part-00007-<journal_id>-<offset>.segment``: its bytes from that offset on, of any
length. A chunk never changes. Chunks hold text and audio, as the dataset does, and are removed when their part is
published.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from tts_pipeline.config import JOURNAL_CHUNK_BYTES, SHIP_CONCURRENCY, SHIP_TIMEOUT_S
from tts_pipeline.errors import StorageError
from tts_pipeline.log import logger
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.journal import Journal

FOLDER = "journal"

RETRY_WAIT_S = 1.0
"""Pause after a failure; the driver of the store has already retried for a while."""


def chunk_name(journal: str, offset: int) -> str:
    """Return the name of a chunk within the dataset; names sort by offset."""
    return f"{FOLDER}/{journal}-{offset:015}.segment"


class ShippedLog:
    """The shipped copy of one journal. Any thread may send; only one sends at a time."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._send_lock = threading.Lock()
        self._sent_bytes = self._chunk_end = 0
        self._is_closed = False

    @property
    def has_more(self) -> bool:
        """Whether bytes of the journal are not at the destination yet."""
        return self._sent_bytes < self._journal.size_bytes and not self._is_closed

    def send(self) -> None:
        """Send all bytes written before the call, and perhaps later ones. Blocking."""
        path = self._journal.path
        with self._send_lock, storage_errors(f"reading the journal {path}"):
            if not self.has_more:
                return
            with path.open("rb") as file:
                file.seek(self._sent_bytes)
                while self._sent_bytes < (size_bytes := self._journal.size_bytes):
                    # A failed chunk may have arrived, or may arrive later: it is sent again unchanged.
                    if self._chunk_end == self._sent_bytes:
                        self._chunk_end = min(size_bytes, self._sent_bytes + JOURNAL_CHUNK_BYTES)
                    data = file.read(self._chunk_end - self._sent_bytes)
                    self._store.write(chunk_name(path.stem, self._sent_bytes), data)
                    self._sent_bytes = self._chunk_end

    def close(self) -> None:
        """Wait for the current send, then send nothing more."""
        with self._send_lock:
            self._is_closed = True


class LogShipper:
    """A thread that ships the new bytes of the journals of open parts.

    With ``is_strict``, each attempt waits until all earlier answers are at the destination. Attempts that wait share
    one round of sends, and later ones form the next round, so each open part has at most one request to the
    destination at a time. Otherwise journals are shipped every ``interval_s``, and losing the machine costs the
    answers since then.

    A failure is logged once and retried. With ``is_strict``, waiting attempts get the error after
    ``retry_timeout_s`` of failures.

    With ``interval_s`` None nothing is shipped. Once ``are_leases_lost`` returns True, nothing is sent, because another
    process may hold the parts and would never remove the chunks.
    """

    def __init__(
        self,
        store: Store,
        interval_s: float | None,
        *,
        is_strict: bool = False,
        are_leases_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._interval_s = interval_s
        self._senders = DaemonExecutor(SHIP_CONCURRENCY, "journal-sender")
        self.is_strict = is_strict and interval_s is not None
        self._are_leases_lost = are_leases_lost
        self.retry_timeout_s = SHIP_TIMEOUT_S
        self._logs: dict[str, ShippedLog] = {}
        # Only the event loop adds to it, and only the thread removes from it.
        self._waiters: list[asyncio.Future[None]] = []
        self._failing_since_s: float | None = None
        self._stop_event = threading.Event()
        self._wake_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-shipper", daemon=True)
        if interval_s is not None:
            self._thread.start()

    def add(self, journal_id: str, journal: Journal) -> None:
        """Ship a journal from now on."""
        if self._interval_s is not None:
            self._logs[journal_id] = ShippedLog(self._store, journal)

    async def wait_until_shipped(self) -> None:
        """Wait until the current contents of all journals are at the destination.

        Raises:
            StorageError: They are not there, also after retries: the caller must not buy anything.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        self._wake_event.set()
        await future

    def wake(self) -> None:
        """Ship the new bytes immediately, without waiting for the result. Any thread may call this."""
        self._wake_event.set()

    def send_rest(self, journal_id: str) -> None:
        """Send the last bytes of a journal that receives no more records; a failure is only logged. Blocking."""
        log = self._logs.pop(journal_id, None)
        if log is not None:
            with suppress(StorageError):
                self._send_all([log])

    def drop(self, journal_id: str) -> None:
        """Wait for the current send of a journal, then send nothing more of it. Blocking."""
        log = self._logs.pop(journal_id, None)
        if log is not None:
            log.close()

    def close(self) -> None:
        """Let the threads end, without waiting for them: a destination that hangs must not delay the end of a run."""
        self._stop_event.set()
        self._wake_event.set()

    def _run(self) -> None:
        while not self._stop_event.is_set():
            self._wake_event.wait(self._interval_s)
            self._wake_event.clear()
            waiters = len(self._waiters)
            try:
                if not self._are_leases_lost():  # else the waiting attempts notice it themselves
                    self._send_all([log for log in tuple(self._logs.values()) if log.has_more])
            except StorageError as error:
                if self._has_timed_out():
                    self._wake_waiters(waiters, error)
                else:
                    self._stop_event.wait(RETRY_WAIT_S)
                    self._wake_event.set()
            else:
                self._wake_waiters(waiters)
        self._senders.shutdown(wait=False)

    def _send_all(self, logs: Sequence[ShippedLog]) -> None:
        """Send the new bytes of all logs; raise the first failure, and log it unless the last send failed, too."""
        try:
            for future in [self._senders.submit(log.send) for log in logs]:
                future.result()
        except StorageError as error:
            if self._failing_since_s is None:
                self._failing_since_s = time.monotonic()
                consequence = "nothing is bought" if self.is_strict else "new audio exists only on this machine"
                logger.warning("%s; until this is repaired, %s", error.message, consequence)
            raise
        self._failing_since_s = None

    def _has_timed_out(self) -> bool:
        since_s = self._failing_since_s
        return since_s is not None and time.monotonic() - since_s >= self.retry_timeout_s

    def _wake_waiters(self, count: int, error: StorageError | None = None) -> None:
        """Resolve the first ``count`` waiters, with the error if there is one."""
        futures = self._waiters[:count]
        del self._waiters[:count]
        if futures:
            with suppress(RuntimeError):  # the loop has ended, and with it its waiters
                futures[0].get_loop().call_soon_threadsafe(partial(_resolve, futures, error))


def _resolve(futures: Sequence[asyncio.Future[None]], error: StorageError | None) -> None:
    for future in futures:
        if future.done():  # its waiter was cancelled in an orderly stop
            continue
        if error is None:
            future.set_result(None)
        else:  # one exception raised in many tasks would collect all of their tracebacks
            future.set_exception(StorageError(error.message, hint=error.hint))
