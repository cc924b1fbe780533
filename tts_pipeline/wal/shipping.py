"""Journals on their way to the destination, so that another machine can go on where this one is lost with its disk.

A journal is sent in chunks, ``journal/part-00007-<journal_id>-<offset>.segment``: its bytes from that offset on, of any
length. A chunk is never changed. They hold text and audio, as the dataset itself does, and are removed when their part
is published.
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
"""A rest after a failure. The driver has tried for a while by itself then."""


def chunk_name(journal: str, offset: int) -> str:
    """Return the name of a chunk within the dataset; names sort as offsets do."""
    return f"{FOLDER}/{journal}-{offset:015}.segment"


class ShippedLog:
    """One journal on its way. Any thread may send; one does at a time."""

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._send_lock = threading.Lock()
        self._sent_bytes = self._chunk_end = 0
        self._is_closed = False

    @property
    def has_more(self) -> bool:
        """Whether anything of the journal is not at the destination yet."""
        return self._sent_bytes < self._journal.size_bytes and not self._is_closed

    def send(self) -> None:
        """Send all that was written when this was called, or more. Blocking."""
        path = self._journal.path
        with self._send_lock, storage_errors(f"reading the journal {path}"):
            if not self.has_more:
                return
            with path.open("rb") as file:
                file.seek(self._sent_bytes)
                while self._sent_bytes < (size_bytes := self._journal.size_bytes):
                    # One that failed may have arrived all the same, or arrive yet: it is sent again as it was.
                    if self._chunk_end == self._sent_bytes:
                        self._chunk_end = min(size_bytes, self._sent_bytes + JOURNAL_CHUNK_BYTES)
                    data = file.read(self._chunk_end - self._sent_bytes)
                    self._store.write(chunk_name(path.stem, self._sent_bytes), data)
                    self._sent_bytes = self._chunk_end

    def close(self) -> None:
        """Send nothing any more; what is being sent is then sent."""
        with self._send_lock:
            self._is_closed = True


class LogShipper:
    """A thread that sends what is new in the journals of open parts.

    Strictly, nothing is bought before what was answered is at the destination: whoever is about to send waits for
    that. Those who wait share what is sent, and others gather meanwhile, so that there are no more requests to the
    destination than one after the other for each open part. Else journals are sent now and then, and a machine that is
    lost costs what was answered since.

    A failure is told once, and tried again. Strictly, those who wait get it when that does not help for a while.

    ``interval_s`` None never sends by itself. Once ``are_leases_lost``, another process may have the parts and nothing
    is sent: it would be left behind there.
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
        # Added to by the event loop alone, and taken from by the thread alone.
        self._waiters: list[asyncio.Future[None]] = []
        self._failing_since_s: float | None = None
        self._stop_event = threading.Event()
        self._wake_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-shipper", daemon=True)
        if interval_s is not None:
            self._thread.start()

    def add(self, journal_id: str, journal: Journal) -> None:
        """Send a journal from now on."""
        if self._interval_s is not None:
            self._logs[journal_id] = ShippedLog(self._store, journal)

    async def wait_until_shipped(self) -> None:
        """Wait until all that is in the journals now is at the destination; after an error nothing may be bought."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(future)
        self._wake_event.set()
        await future

    def wake(self) -> None:
        """Send what is new at once; does not wait for it. From any thread."""
        self._wake_event.set()

    def send_rest(self, journal_id: str) -> None:
        """Send the last of a journal that will not be written to any more. Blocking."""
        log = self._logs.pop(journal_id, None)
        if log is not None:
            with suppress(StorageError):
                self._send_all([log])

    def drop(self, journal_id: str) -> None:
        """Send nothing more of a journal; what is being sent is then sent. Blocking."""
        log = self._logs.pop(journal_id, None)
        if log is not None:
            log.close()

    def close(self) -> None:
        """Let the threads end; does not wait for them, for a destination that hangs is no reason to."""
        self._stop_event.set()
        self._wake_event.set()

    def _run(self) -> None:
        while not self._stop_event.is_set():
            self._wake_event.wait(self._interval_s)
            self._wake_event.clear()
            waiters = len(self._waiters)
            try:
                if not self._are_leases_lost():  # else those who wait find that out by themselves
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
        """Send what is new; the first failure of several is told."""
        try:
            for future in [self._senders.submit(log.send) for log in logs]:
                future.result()
        except StorageError as error:
            if self._failing_since_s is None:
                self._failing_since_s = time.monotonic()
                consequence = "nothing is bought" if self.is_strict else "what is bought lies on this machine alone"
                logger.warning("%s; until that is mended, %s", error.message, consequence)
            raise
        self._failing_since_s = None

    def _has_timed_out(self) -> bool:
        since_s = self._failing_since_s
        return since_s is not None and time.monotonic() - since_s >= self.retry_timeout_s

    def _wake_waiters(self, count: int, error: StorageError | None = None) -> None:
        """Let those who waited first go on, or tell them that they cannot."""
        futures = self._waiters[:count]
        del self._waiters[:count]
        if futures:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                futures[0].get_loop().call_soon_threadsafe(partial(_resolve, futures, error))


def _resolve(futures: Sequence[asyncio.Future[None]], error: StorageError | None) -> None:
    for future in futures:
        if future.done():  # its waiter was cancelled in an orderly stop
            continue
        if error is None:
            future.set_result(None)
        else:  # one exception raised in many tasks would collect all of their tracebacks
            future.set_exception(StorageError(error.message, hint=error.hint))
