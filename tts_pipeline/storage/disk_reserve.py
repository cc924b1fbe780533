"""Hold disk space in reserve, so that paid answers still fit when the journals' disk is full."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.safe_folder import make_folder
from tts_pipeline.storage.store import storage_errors

DISK_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of the system that released space can cure."""


class DiskReserve:
    """A file without a name that occupies space until the space is needed.

    A request may be on its way when the disk fills up, and its answer is paid for. So a run takes this space when it
    starts, and releases it at the first write that finds the disk full. From then on nothing new is sent, and the
    remaining answers and settlements have room. The system frees the space when the process dies.

    The reserve is best effort: a file system that cannot allocate space ahead gives none, and a nearly full disk gives
    less.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        self._size_bytes = size_bytes
        self._file: IO[bytes] | None = None

    def allocate(self) -> None:
        """Take the space, or as much as is free, down to a sixteenth.

        Raises:
            StorageError: Even less is free: a run would stop immediately.
        """
        if not hasattr(os, "posix_fallocate"):  # macOS
            return
        with storage_errors(f"making the folder {self._folder}"):
            make_folder(self._folder)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (held until released)
        for divisor in (1, 2, 4, 8, 16):
            try:
                os.posix_fallocate(self._file.fileno(), 0, max(1, self._size_bytes // divisor))
            except OSError as error:
                disk_full = error
                if error.errno not in DISK_FULL_ERRNOS:  # cannot allocate ahead, or not as much in one file
                    self.release()
                    return
                os.ftruncate(self._file.fileno(), 0)
            else:
                return
        self.release()
        raise StorageError(
            f"the disk of {self._folder} is full: {disk_full.strerror}",
            hint="free space, or keep the journals elsewhere with `work_dir`, and run again",
        )

    def release(self) -> None:
        """Release the space; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
