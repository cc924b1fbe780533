"""Disk space held in reserve, so that paid answers still fit when the journals' disk is full."""

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
"""What the system says when space that is given back helps."""


class DiskReserve:
    """A file without a name that takes up space until that is needed.

    A request may be on its way when the disk fills up, and its answer is paid for. So that much space is taken when a
    run starts, and given back at the first write that finds the disk full: from then on nothing new is sent, and what
    is still to be written, answers and how attempts ended, has room. The system frees it when the process dies.

    It is best effort: where a file system cannot set space aside there is none, and where there is little room it is
    smaller.
    """

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        self._size_bytes = size_bytes
        self._file: IO[bytes] | None = None

    @property
    def is_allocated(self) -> bool:
        """Whether there is space to give back."""
        return self._file is not None

    def allocate(self) -> None:
        """Take the space, or as much as there is, down to a sixteenth.

        Less is refused: a run would stop at once.
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
                if error.errno not in DISK_FULL_ERRNOS:  # cannot set space aside, or not as much in one file
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
        """Give the space back; harmless when done again."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
