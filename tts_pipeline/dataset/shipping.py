"""Journals on their way to the destination, so that a part can be gone on with where this machine's disk is lost.

A journal is sent in segments, ``journal/part-00007-<journal_id>-<offset>.segment``: its bytes from that offset on. All
have one size but the last, which is written anew until it has that size, too: a journal that grows slowly is few files
all the same. They hold text and audio, as the dataset itself does, and are removed when their part is published.
"""

from __future__ import annotations

import logging
import threading

from tts_pipeline.config import SEGMENT_BYTES
from tts_pipeline.dataset.journal import Journal
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.errors import StorageError

logger = logging.getLogger("tts_pipeline")

FOLDER = "journal"


def segment_name(journal: str, offset: int) -> str:
    """Return the name of a segment within the dataset; names sort as offsets do.

    Args:
        journal: The name of the journal's file, without its suffix.
        offset: Of the segment's first byte in the journal.
    """
    return f"{FOLDER}/{journal}-{offset:015}.segment"


class Shipment:
    """One journal on its way. Any thread may send; one does at a time.

    Args:
        store: The destination.
        journal: Written to by another thread meanwhile.
    """

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._sending = threading.Lock()
        self._last_start = 0
        self._sent_bytes = 0
        self._is_over = False

    def send(self) -> None:
        """Send what is new, segment by segment. Blocking.

        Raises:
            StorageError: The destination or the disk failed; sending again goes on.
        """
        path = self._journal.path
        with self._sending, storage_errors(f"reading the journal {path}"):
            if self._is_over or self._sent_bytes == self._journal.size_bytes:
                return
            with path.open("rb") as file:
                while self._sent_bytes < (size_bytes := self._journal.size_bytes):
                    file.seek(self._last_start)
                    data = file.read(min(SEGMENT_BYTES, size_bytes - self._last_start))
                    self._store.write(segment_name(path.stem, self._last_start), data)
                    self._sent_bytes = self._last_start + len(data)
                    if len(data) == SEGMENT_BYTES:
                        self._last_start = self._sent_bytes

    def end(self) -> None:
        """Send nothing any more; what is being sent is then sent."""
        with self._sending:
            self._is_over = True


class Shipper:
    """A thread that sends what is new in the journals of open parts, now and then.

    A failure costs nobody anything as long as this machine's disk is there: it is told once, and tried again.

    Args:
        store: The destination.
        every_s: How often; None is never.
    """

    def __init__(self, store: Store, every_s: float | None) -> None:
        self._store = store
        self._every_s = every_s
        self._shipments: dict[str, Shipment] = {}
        self._is_failing = False
        self._is_over = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._work, name="journal-shipper", daemon=True)
        if every_s is not None:
            self._thread.start()

    def begin(self, journal_id: str, journal: Journal) -> None:
        """Send a journal from now on."""
        if self._every_s is not None:
            self._shipments[journal_id] = Shipment(self._store, journal)

    def hurry(self) -> None:
        """Send what is new at once; does not wait for it. From any thread."""
        self._wake.set()

    def send_rest(self, journal_id: str) -> None:
        """Send the last of a journal that will not be written to any more. Blocking."""
        shipment = self._shipments.pop(journal_id, None)
        if shipment is not None:
            self._send(shipment)

    def forget(self, journal_id: str) -> None:
        """Send nothing more of a journal; what is being sent is then sent. Blocking."""
        shipment = self._shipments.pop(journal_id, None)
        if shipment is not None:
            shipment.end()

    def close(self) -> None:
        """Let the thread end; does not wait for it, for a destination that hangs is no reason to."""
        self._is_over = True
        self._wake.set()

    def _work(self) -> None:
        while not self._is_over:
            self._wake.wait(self._every_s)
            self._wake.clear()
            for shipment in tuple(self._shipments.values()):
                self._send(shipment)

    def _send(self, shipment: Shipment) -> None:
        try:
            shipment.send()
        except StorageError as error:
            if not self._is_failing:
                logger.warning("%s; until that is mended, what is bought lies on this machine alone", error.message)
            self._is_failing = True
        else:
            self._is_failing = False
