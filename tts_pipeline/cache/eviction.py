"""Keep a local reuse store within a size: the oldest purchases go first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tts_pipeline.cache.file_cache import SUFFIX
from tts_pipeline.storage.store import storage_errors


def evict(folder: Path, max_bytes: int) -> int:
    """Remove the oldest answers of a reuse store until it is no larger than that; returns how many. Blocking.

    Whoever looks for one of them meanwhile finds it or does not, and buys it again.

    Args:
        folder: The store.
        max_bytes: Of all answers together.

    Raises:
        StorageError: The disk failed.
    """
    with storage_errors(f"making room in {folder}"):
        files = sorted(_files_by_age(folder))
        excess_bytes = sum(size for _, size, _ in files) - max_bytes
        removed = 0
        for _, size, path in files:
            if excess_bytes <= 0:
                break
            Path(path).unlink(missing_ok=True)
            excess_bytes -= size
            removed += 1
        return removed


def _files_by_age(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Yield when each was written, its size and its path."""
    for subfolder in folder.glob("??/"):
        with os.scandir(subfolder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process makes room, too
                    if entry.name.endswith(SUFFIX):
                        status = entry.stat()
                        yield status.st_mtime_ns, status.st_size, entry.path
