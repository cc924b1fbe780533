"""Keep the calls of ``synthesize`` on this machine: cached audio, unfinished calls, and usage.

::

    <work_dir, or the user's state directory>/frames/
      answers/              the reuse store, at most ``CACHE_BYTES``
      calls/<identity>/     a running or stopped call: a dataset with its journals and its usage
      calls/once-<id>/      the same for a call without reuse, or beside an equal running call: never continued
      calls/done-<id>/      a finished call whose usage is still in its journal
      usage/<id>/           a finished call: its descriptor and its usage, as in any dataset

A call is a job, with a job's journals, budget and usage. The same call, made again, continues it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tts_pipeline.account.identity import dataset_id
from tts_pipeline.cache.file_cache import FileCache, evict
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE
from tts_pipeline.dataset.recovery import commit_all_usage
from tts_pipeline.errors import StorageError
from tts_pipeline.job.folders import JOURNALS, WORK_FOLDER, locks_dir_of
from tts_pipeline.ledger.location import LedgerLocation
from tts_pipeline.log import logger
from tts_pipeline.storage.file_lock import FileLock, HeldElsewhereError
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.location import local_path
from tts_pipeline.storage.safe_folder import make_folder
from tts_pipeline.storage.scratch import is_writable, state_folder
from tts_pipeline.storage.store import storage_errors

if TYPE_CHECKING:
    from tts_pipeline.ledger.ledger import Ledger

CACHE_BYTES = 10 * 1024**3
"""The most audio that is kept for later calls: about 60 hours of 24 kHz WAV."""

ABANDONED_S = 30 * 86_400
"""A call that was not continued for so long is closed: its usage is kept, its audio is not."""

TIDY_EVERY_S = 600.0
"""A process looks for what can be removed after its first call, and then at most once in so long."""

CLOSE_AFTER_S = 0.02
"""Seconds from a call's return until its usage is brought to its place."""

CLOSING_S = 60.0
"""A finished call is closed by another process after so long: its own process was killed meanwhile."""

CLOSE_TIMEOUT_S = 5.0
"""The longest wait for others who close calls: each takes them 5 ms, unless their process stands still."""

_POLL_S = 0.01

_ONCE = "once-"
_DONE = "done-"
_ANSWERS = "answers"
_DATASET = "dataset"
_USAGE = "usage"
_tidied_at_s: dict[Path, float] = {}


@dataclass(frozen=True, slots=True)
class CallDirectory:
    """The folder of one call."""

    path: Path

    @property
    def dataset(self) -> Path:
        """The dataset of the call, which holds no speech."""
        return self.path / _DATASET

    def lock(self) -> FileLock:
        """Return the lock, which the thread that makes the call holds."""
        return FileLock(self.path.with_suffix(".lock"))

    def is_abandoned(self) -> bool:
        """Return whether no call will continue this one; the caller holds its lock."""
        max_age_s = CLOSING_S if self.path.name.startswith(_DONE) else ABANDONED_S
        return self.path.name.startswith(_ONCE) or _age_s(self.path) > max_age_s


@dataclass(frozen=True, slots=True)
class CallStore:
    """The files of all calls below one folder; the usage of closed calls goes to a ledger, too."""

    root: Path
    ledger: LedgerLocation | None = None

    @classmethod
    def at(cls, work_dir: Path | None = None, ledger: LedgerLocation | None = None) -> CallStore:
        """Return the store below a folder on a local disk; None is the user's state directory."""
        return cls((state_folder() if work_dir is None else local_path(work_dir)) / "frames", ledger)

    def file_cache_dir(self) -> Path:
        """Return the folder of the audio that is kept for later calls; create it if it is missing. Blocking."""
        folder = self._make_folder(_ANSWERS)
        FileCache(LocalStore(folder)).create()
        return folder

    def tidy(self) -> None:
        """Remove the oldest audio beyond ``CACHE_BYTES``, and close abandoned calls, every ``TIDY_EVERY_S``. Blocking.

        It looks at every file of the store: after years of calls, that takes longer than a call.
        """
        now_s = time.monotonic()
        if now_s - _tidied_at_s.get(self.root, -TIDY_EVERY_S) >= TIDY_EVERY_S:
            _tidied_at_s[self.root] = now_s
            evict(self.root / _ANSWERS, CACHE_BYTES)
            self._close_abandoned_calls()
            self._copy_to_ledger(self.root / _USAGE, ends_runs=True)

    @contextmanager
    def open_call(self, identity: str | None) -> Iterator[CallDirectory]:
        """Yield a call's folder: the existing one if the same call was stopped before, else a new one. Blocking.

        ``identity`` is the hash of all that determines the result; None is a call that is never continued.
        """
        calls = self._make_folder("calls")
        with ExitStack() as resources:
            call = None if identity is None else CallDirectory(calls / identity)
            if call is None or not _try_lock(call, resources):
                call = CallDirectory(calls / f"{_ONCE}{uuid.uuid4().hex}")
                resources.enter_context(call.lock())
                resources.callback(self.close_call, call)
            with storage_errors(f"making the folder {call.path}"):
                call.path.mkdir(mode=0o700, exist_ok=True)
                os.utime(call.path)
            yield call

    def finish_call(self, call: CallDirectory) -> None:
        """Close a finished call behind its caller: its journal holds its usage, whatever becomes of this process."""
        done = CallDirectory(call.path.with_name(f"{_DONE}{uuid.uuid4().hex}"))
        with storage_errors(f"keeping the usage of {call.path}"):
            call.path.rename(done.path)
        # The end of the process waits for it. It takes 5 ms, which the caller's next steps need more urgently.
        threading.Timer(CLOSE_AFTER_S, self.try_close, [done]).start()

    def close_finished_calls(self) -> None:
        """Bring the usage of finished calls to its place, or wait a while for others who do so. Blocking.

        What is not brought there, because the disk is full or another process stands still, is still in a journal.
        """
        end_s = time.monotonic() + CLOSE_TIMEOUT_S
        for path in (self.root / "calls").glob(f"{_DONE}*/"):
            while path.exists() and not self.try_close(CallDirectory(path)) and time.monotonic() < end_s:
                time.sleep(_POLL_S)

    def try_close(self, call: CallDirectory) -> bool:
        """Close a finished call; return False if somebody else holds it. A failure is a warning. Blocking."""
        try:
            with call.lock():
                self.close_call(call)
        except HeldElsewhereError:
            return False
        except StorageError as error:
            logger.warning(
                "%s; the usage of the call stays in its journal, and a later call brings it to its place", error
            )
        return True

    def close_call(self, call: CallDirectory) -> None:
        """Keep the usage of a finished or abandoned call, and remove the rest; the caller holds its lock. Blocking."""
        if call.dataset.exists():
            store, work_dir = LocalStore(call.dataset), call.dataset
            if not (work_dir / JOURNALS).exists():  # of an earlier version
                work_dir /= WORK_FOLDER
            commit_all_usage(store, work_dir / JOURNALS, Leases(store, locks_dir_of(store, work_dir)))
            _strip_to_usage(call.dataset)
        with storage_errors(f"keeping the usage of {call.path}"):
            if (call.dataset / _USAGE).exists():
                folder = call.dataset.rename(self._make_folder(_USAGE) / uuid.uuid4().hex)
                self._copy_to_ledger(folder)
        shutil.rmtree(call.path, ignore_errors=True)

    def open_datasets(self) -> Iterator[LocalStore]:
        """Yield the datasets of calls that are not closed, in the order in which calls go from place to place.

        If each dataset is read before the next one is asked for, and ``usage_files`` after the last, then a call that
        is finished or closed meanwhile is seen twice, never not at all. Blocking.
        """
        for name in ("*", f"{_DONE}*"):
            yield from map(LocalStore, sorted(self.root.glob(f"calls/{name}/{_DATASET}")))

    def usage_files(self) -> list[Path]:
        """Return the usage files of closed calls, one folder for each call; they stay there. Blocking."""
        return sorted(self.root.glob(f"{_USAGE}/*/{_USAGE}/*.parquet"))

    def _copy_to_ledger(self, folder: Path, *, ends_runs: bool = False) -> None:
        """Copy the usage of closed calls below a folder that the ledger lacks; a failure is a warning. Blocking.

        ``ends_runs`` then ends the runs of killed calls whose usage is known.
        """
        if self.ledger is None:
            return
        from tts_pipeline.ledger.run_sync import copy_in_time, end_dead_runs

        def copy(ledger: Ledger) -> None:
            store = LocalStore(folder)
            sizes = {path: size for path, size in store.sizes("").items() if path.endswith(".parquet")}
            ledger.sync_files(store, sizes, str(self.root))
            if ends_runs:
                end_dead_runs(ledger, dataset_id(self.root), self.open_datasets())

        copy_in_time(self.ledger, copy)

    def _close_abandoned_calls(self) -> None:
        for path in (self.root / "calls").glob("*/"):
            call = CallDirectory(path)
            with suppress(StorageError), call.lock():  # a locked call is running; an unreadable one is left as it is
                if call.is_abandoned():
                    self.close_call(call)

    def _make_folder(self, name: str) -> Path:
        folder = self.root / name
        if not folder.is_dir() and not is_writable(self.root):
            raise StorageError(f"the folder {self.root} cannot be written", hint="give a writable folder as `work_dir`")
        with storage_errors(f"making the folder {folder}"):
            make_folder(folder)
        return folder


def _age_s(path: Path) -> float:
    """Return the seconds since the last change of a file or folder; 0 if it has vanished."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _try_lock(call: CallDirectory, resources: ExitStack) -> bool:
    """Lock a call; return False while another process, or another thread, makes the same call."""
    try:
        resources.enter_context(call.lock())
    except StorageError:
        return False
    return True


def _strip_to_usage(dataset: Path) -> None:
    """Remove all of a dataset but its descriptor and its usage, which a report still reads."""
    for path in dataset.iterdir():
        if path.name in {DESCRIPTOR_FILE, _USAGE}:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
