"""Calls on this machine: their cached audio, unfinished calls, and their bill.

::

    <work_dir, or the user's state directory>/frames/
      answers/              the reuse store, at most ``CACHE_BYTES``
      calls/<identity>/     a call that is going on or was stopped: frame.parquet, and the dataset that is made of it
      calls/once-<id>/      the same without reuse, or beside a call for the same rows: never gone on with
      usage/<id>/           what is left of a call that has ended: its descriptor and its usage, as in any dataset

A call is a job: what holds of a job's journals, budget and usage holds of it, and the same call goes on with it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tts_pipeline.cache.file_cache import FileCache, evict
from tts_pipeline.dataset.claims import Claim
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE
from tts_pipeline.dataset.recovery import commit_all_usage
from tts_pipeline.dataset.usage_files import committed_journals, open_claims
from tts_pipeline.errors import StorageError
from tts_pipeline.job.folders import WORK_FOLDER, locks_dir_of
from tts_pipeline.source.frame_stream import FILE_NAME, write_stream
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.location import local_path
from tts_pipeline.storage.scratch import is_writable, state_folder
from tts_pipeline.storage.store import storage_errors

CACHE_BYTES = 10 * 1024**3
"""Audio that is kept for later calls, at most: about 60 hours of 24 kHz WAV."""

ABANDONED_S = 30 * 86_400
"""A call that nobody has gone on with for so long is given up: its usage is kept, its audio is not."""

_ONCE = "once-"
_DATASET = "dataset"
_USAGE = "usage"


@dataclass(frozen=True, slots=True)
class CallDirectory:
    """Where one call is made."""

    path: Path

    @property
    def source(self) -> Path:
        """The rows that are to be said."""
        return self.path / FILE_NAME

    @property
    def dataset(self) -> Path:
        """What is made of them."""
        return self.path / _DATASET

    def lock(self) -> FileLock:
        """Return the lock of whoever makes the call."""
        return FileLock(self.path.with_suffix(".lock"))

    def is_abandoned(self) -> bool:
        """Say whether nobody will go on with it; asked by who holds its lock."""
        return self.path.name.startswith(_ONCE) or time.time() - self.path.stat().st_mtime > ABANDONED_S


@dataclass(frozen=True, slots=True)
class CallStore:
    """What calls leave below a folder."""

    root: Path

    @classmethod
    def at(cls, work_dir: Path | None = None) -> CallStore:
        """Return the state below a folder on a local disk; None is the user's state directory."""
        return cls((state_folder() if work_dir is None else local_path(work_dir)) / "frames")

    def file_cache_dir(self) -> Path:
        """Return where audio is kept for later calls; it is made when it is not there. Blocking."""
        folder = self._make_folder("answers")
        FileCache(LocalStore(folder)).create()
        return folder

    def evict_oldest(self) -> None:
        """Remove the oldest audio that is beyond ``CACHE_BYTES``. Blocking."""
        evict(self.file_cache_dir(), CACHE_BYTES)

    @contextmanager
    def open_call(self, rows: pl.DataFrame, identity: str | None) -> Iterator[CallDirectory]:
        """Give a call its folder: the one where it was left off, when the same call was stopped before. Blocking.

        ``identity`` determines the result beside the rows; None is a call that nobody will go on with.
        """
        calls = self._make_folder("calls")
        self._close_abandoned_calls()
        with ExitStack() as resources:
            fresh = CallDirectory(calls / f"{_ONCE}{uuid.uuid4().hex}")
            resources.enter_context(fresh.lock())
            resources.callback(shutil.rmtree, fresh.path, ignore_errors=True)
            with storage_errors(f"making the folder {fresh.path}"):
                fresh.path.mkdir(mode=0o700)
            content_hash = write_stream(rows, fresh.source)
            if identity is not None:
                name = hashlib.sha256(f"{content_hash} {identity}".encode()).hexdigest()
                resumable = CallDirectory(calls / name)
                if _try_lock(resumable, resources):
                    if not resumable.path.exists():
                        fresh.path.rename(resumable.path)
                    os.utime(resumable.path)
                    yield resumable
                    return
            resources.callback(self.close_call, fresh)
            yield fresh

    def close_call(self, call: CallDirectory) -> None:
        """Let go of a call that has ended or was given up: its usage is kept, the rest removed. Blocking."""
        if call.dataset.exists():
            store = LocalStore(call.dataset)
            work_dir = call.dataset / WORK_FOLDER
            commit_all_usage(store, work_dir / "journals", Leases(store, locks_dir_of(store, work_dir)))
        with storage_errors(f"keeping the usage of {call.path}"):
            if (call.dataset / _USAGE).exists():
                usage_dir = self._make_folder(_USAGE) / uuid.uuid4().hex
                call.dataset.rename(usage_dir)
                _strip_to_usage(usage_dir)
        shutil.rmtree(call.path, ignore_errors=True)

    def usage_files(self) -> list[Path]:
        """Return the files of the usage table, in a folder for each call; also of calls that were stopped."""
        finished_files = self.root.glob(f"{_USAGE}/*/{_USAGE}/*.parquet")
        return sorted([*finished_files, *self.root.glob(f"calls/*/{_DATASET}/{_USAGE}/*.parquet")])

    def open_claims(self) -> list[Claim]:
        """Return the claims without published usage: their processes run, or were killed. Blocking."""
        stores = map(LocalStore, sorted(self.root.glob(f"calls/*/{_DATASET}")))
        return [claim for store in stores for _, claim in open_claims(store, committed_journals(store))]

    def _close_abandoned_calls(self) -> None:
        for path in (self.root / "calls").glob("*/"):
            call = CallDirectory(path)
            with suppress(StorageError), call.lock():  # whoever has it is at work; what cannot be read stays
                if call.is_abandoned():
                    self.close_call(call)
        for leftover in self.root.glob(f"{_USAGE}/*/{WORK_FOLDER}"):  # a kill came between
            _strip_to_usage(leftover.parent)

    def _make_folder(self, name: str) -> Path:
        folder = self.root / name
        if not is_writable(self.root):
            raise StorageError(f"the folder {self.root} cannot be written", hint="give `work_dir` one that can")
        with storage_errors(f"making the folder {folder}"):
            folder.mkdir(exist_ok=True)
        return folder


def _try_lock(call: CallDirectory, resources: ExitStack) -> bool:
    """Say whether a call is ours now; it is not while another process, or another thread, makes the same one."""
    try:
        resources.enter_context(call.lock())
    except StorageError:
        return False
    return True


def _strip_to_usage(dataset: Path) -> None:
    """Leave nothing of a dataset but its descriptor and its usage: it can still be reported on."""
    # What tells that this is not done yet goes last.
    for path in sorted(dataset.iterdir(), key=lambda path: path.name == WORK_FOLDER):
        if path.name in {DESCRIPTOR_FILE, _USAGE}:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
