"""Lock parts between the processes of one machine, by file locks of the operating system."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.safe_folder import open_lock_file
from tts_pipeline.storage.store import storage_errors


class HeldElsewhereError(StorageError):
    """Another process works on a part, or on the whole dataset. Never retried; the caller may check again later.

    ``holder`` is for people. ``is_alive`` states whether the holder is known to live; otherwise it may have died.
    """

    def __init__(self, resource: str, holder: str, *, is_alive: bool = True) -> None:
        super().__init__(
            f"another process ({holder}) is working on {resource} of this dataset",
            hint="wait for it to end, or give each process parts of its own",
        )
        self.resource = resource
        self.holder = holder
        self.is_alive = is_alive


class FileLock:
    """An operating-system lock on one part: two processes of one machine never work on it at the same time.

    The whole dataset also has a lock, which all its runs share, and a growing descriptor has another. A lock is free
    the instant its owner dies. Used with ``with``.

    Entering raises HeldElsewhereError when another process holds the lock; shared locks exclude exclusive ones.
    ``owner`` is what others may know of the holder, beside its process: one line.
    """

    def __init__(self, path: Path, owner: str = "", *, shared: bool = False) -> None:
        self.path = path
        self._owner = owner
        self._operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._fd: int | None = None

    def __enter__(self) -> Self:
        with storage_errors(f"locking {self.path}"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while self._fd is None:
                self._fd = self._try_acquire()
        return self

    def _try_acquire(self) -> int | None:
        fd = open_lock_file(self.path)
        try:
            fcntl.flock(fd, self._operation | fcntl.LOCK_NB)
        except BlockingIOError as error:
            process, _ = _read_holder(fd)
            os.close(fd)
            raise HeldElsewhereError(self.path.stem, process or "unknown") from error
        # The last owner may have removed the file between our opening and locking it: then we hold nothing.
        if not self._is_current(fd):
            os.close(fd)
            return None
        with suppress(OSError):  # a full disk may lack it: then nobody knows who holds the lock
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()}\n{self._owner}\n".encode(), 0)
        return fd

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            # The last process that shares the lock removes the file. On a disk that refuses changes the file stays: a
            # file that no process has locked is no lock.
            with suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def is_locked(path: Path) -> bool:
    """Return whether a process of this machine holds a lock exclusively."""
    return read_lock_owner(path) is not None


def read_lock_owner(path: Path) -> str | None:
    """Return the ``owner`` that holds a lock exclusively, empty if nobody knows it; None if the lock is free."""
    with storage_errors(f"looking at {path}"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_holder(fd)[1]
        finally:
            os.close(fd)
        return None


def _read_holder(fd: int) -> tuple[str, str]:
    """Return the process and the owner that an open lock file names; both are empty if it names none."""
    process, _, owner = os.pread(fd, 128, 0).decode(errors="replace").partition("\n")
    return process.strip(), owner.strip()
