"""A file lock of the operating system, between processes of one machine."""

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
    """Another process works on a part, or on the whole dataset. Never retried; may be looked at again.

    ``holder`` is for people. ``is_alive`` says whether it is known to live; else it may have died.
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
    """An operating-system lock on one part: two processes of one machine never work on it at a time.

    The whole dataset has one, too, which all its runs share, and a descriptor that grows has another. It is free the
    instant its owner dies. Held by ``with``.

    Entering raises a HeldElsewhereError when another process holds it; who shares it keeps out who needs it alone.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
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
            owner = os.pread(fd, 64, 0).decode(errors="replace").strip()
            os.close(fd)
            raise HeldElsewhereError(self.path.stem, owner or "unknown") from error
        # The last owner may have removed the file between our opening and locking it: then we hold nothing.
        if not self._is_current(fd):
            os.close(fd)
            return None
        with suppress(OSError):  # who holds it is good to know, but a full disk need not know
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()}\n".encode(), 0)
        return fd

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            # The last one of those that share it removes the file. Where the disk takes no change any more it stays: a
            # file that nobody has locked is no lock.
            with suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def is_locked(path: Path) -> bool:
    """Return whether a process of this machine holds a lock alone."""
    with storage_errors(f"looking at {path}"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False
