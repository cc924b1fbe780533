"""Copy the usage of one run to the ledger while it runs, in a thread that never delays or fails the run."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.dataset.names import file_names, part_name
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import TtsPipelineError, printable, without_passwords
from tts_pipeline.ledger.ledger import Ledger
from tts_pipeline.ledger.location import LedgerLocation
from tts_pipeline.ledger.runs import RunEnd, RunStart
from tts_pipeline.log import logger
from tts_pipeline.storage.daemon_threads import POLL_S
from tts_pipeline.storage.owner import has_exited
from tts_pipeline.storage.store import Store

KILLED, FAILED = "killed", "error"
"""What stopped a run that did not come to its end: its process died, or raised an error."""

CLOSE_TIMEOUT_S = 30.0
"""The longest wait for a slow ledger at the end of a run."""


@dataclass(frozen=True, slots=True)
class _Published:
    part: int
    store: Store


@dataclass(frozen=True, slots=True)
class _Closed:
    end: RunEnd | None


class LedgerSync:
    """Keeps a ledger up to date with one run: its start, the usage of each published part, its end.

    A ledger that fails or is away is one warning: all that it lacks is copied by the next run that reaches it, or by
    ``tts-pipeline ledger add``.

    Args:
        location: The ledger, which is opened in the thread.
        dataset: The store of the dataset, with all its generations.
        start: The run; its destination is the name of the dataset in the ledger.
        is_shared: Whether the ledger has usage of other datasets under that name, too, as for calls of ``synthesize``.
    """

    def __init__(self, location: LedgerLocation, dataset: Store, start: RunStart, *, is_shared: bool = False) -> None:
        self._location = location
        self._dataset = dataset
        self._start = start
        self._is_shared = is_shared
        self._ledger: Ledger | None = None
        self._events: queue.SimpleQueue[_Published | _Closed] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._has_warned = False
        self._is_complete = False

    def begin(self) -> None:
        """Start the thread: it records the run, and copies what earlier runs have left."""
        self._thread.start()

    def published(self, part: int, store: Store | None = None) -> None:
        """Copy the usage of a part that was published in ``store``; None is the dataset's own. Never blocks."""
        self._events.put(_Published(part, store or self._dataset))

    def close(self, end: RunEnd | None, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until the ledger has all usage of the dataset and the run's end; return whether it has.

        ``end`` None is a run that raised an error: it stays open in the ledger while journals of it are not published.
        After ``timeout_s`` seconds, the rest is left to the next run.
        """
        self._events.put(_Closed(end))
        if not _has_ended(self._thread, timeout_s):
            self._warn(f"has not answered for {timeout_s:g} s")
        return self._is_complete

    def _run(self) -> None:
        is_there = self._try(self._begin)
        while True:
            event = self._events.get()
            parts = set()
            while isinstance(event, _Published):
                parts.add(event)
                if self._events.empty():
                    break
                event = self._events.get()
            if isinstance(event, _Closed):
                self._is_complete = self._try(partial(self._finish, event.end))
                return
            # A ledger that is away may take a minute to say so: it is asked again at the end only.
            is_there = is_there and self._try(partial(self._copy, parts))

    def _open(self) -> Ledger:
        if self._ledger is None:
            self._ledger = Ledger.open(self._location)
        return self._ledger

    def _begin(self) -> None:
        self._open().begin_run(self._start)
        self._copy_all()

    def _copy(self, parts: set[_Published]) -> None:
        for published in sorted(parts, key=lambda published: published.part):
            prefix = f"{part_name(published.part)}-"
            names = [f"usage/{name}" for name in file_names(published.store, "usage", prefix)]
            self._open().sync_dataset(published.store, self._start.destination, names)

    def _finish(self, end: RunEnd | None) -> None:
        self._copy_all()
        if end is None and self._start.invocation_id not in claiming_runs([self._dataset]):
            end = RunEnd(ended_at_us=time.time_ns() // 1_000, stopped_by=FAILED)
        if end is not None:
            self._open().end_run(self._start, end)
        if not self._is_shared:
            is_done = self._dataset.exists(MANIFEST_FILE)
            end_dead_runs(self._open(), self._start.dataset_id, [self._dataset], self._start, is_done=is_done)

    def _copy_all(self) -> None:
        self._open().sync_dataset(DatasetReader(self._dataset), self._start.destination)

    def _try(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except TtsPipelineError as error:
            self._warn(error.message)
        except Exception as error:  # a run does not fail for its ledger, whatever a driver raises
            self._warn(f"{type(error).__name__}: {error}")
        else:
            return True
        return False

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            _warn_of_missing(self._location, "usage of this run", reason)


def copy_in_time(
    location: LedgerLocation, copy: Callable[[Ledger], object], timeout_s: float = CLOSE_TIMEOUT_S
) -> bool:
    """Copy usage to a ledger in a thread; return whether it was done in time. A failure is a warning, no error."""
    reasons = [f"has not answered for {timeout_s:g} s"]

    def run() -> None:
        try:
            copy(Ledger.open(location))
        except TtsPipelineError as error:
            reasons[:] = [error.message]
        except Exception as error:  # its caller does not fail for its ledger, whatever a driver raises
            reasons[:] = [f"{type(error).__name__}: {error}"]
        else:
            reasons.clear()

    thread = threading.Thread(target=run, name="ledger", daemon=True)
    thread.start()
    _has_ended(thread, timeout_s)
    reason = next(iter(reasons), None)
    if reason is not None:
        _warn_of_missing(location, "usage", reason)
    return reason is None


def end_dead_runs(
    ledger: Ledger, dataset_id: str, datasets: Iterable[Store], own: RunStart | None = None, *, is_done: bool = False
) -> None:
    """End runs of a dataset that were killed, once their usage says what they spent: no claim of theirs is left.

    A run that has no claim may also be one that has just begun: so it is ended only if its process is known to be gone,
    or the dataset is done. ``own`` is a run that goes on; ``datasets`` hold the claims of all others. Blocking.
    """
    others = [
        start for start in ledger.open_runs(dataset_id) if own is None or start.invocation_id != own.invocation_id
    ]
    claiming = claiming_runs(datasets) if others else set()
    for start in others:
        is_gone = start.host == socket.gethostname() and has_exited(start.pid)
        if start.invocation_id not in claiming and (is_gone or is_done):
            end = RunEnd(ended_at_us=time.time_ns() // 1_000, stopped_by=KILLED)
            ledger.end_run(start, end, replaces=False)  # it may have come to its end meanwhile


def claiming_runs(datasets: Iterable[Store]) -> set[str]:
    """Return the invocations that have journals which are not published yet. Blocking."""
    return {claim.invocation_id for dataset in datasets for _, claim in DatasetReader(dataset).open_claims()}


def _has_ended(thread: threading.Thread, timeout_s: float) -> bool:
    """Wait for a thread in short waits, so that signals are handled."""
    give_up_s = time.monotonic() + timeout_s
    while thread.is_alive() and time.monotonic() < give_up_s:
        thread.join(POLL_S)
    return not thread.is_alive()


def _warn_of_missing(location: LedgerLocation, usage: str, reason: str) -> None:
    logger.warning(
        "the ledger %s lacks %s: %s (nothing is lost: when it can be reached, the next run copies it, or tts-pipeline "
        "ledger add)",
        location,
        usage,
        printable(without_passwords(reason)),
    )
