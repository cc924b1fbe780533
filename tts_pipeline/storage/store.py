"""Define stores of named files, each visible whole or not at all: on a local disk, or at any fsspec URL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tts_pipeline.errors import StorageError, cause_of

DISK_HINT = "free space or repair the destination, then run the same command again: what was received is kept"
LEASES = "leases"
"""The folder of leases and heartbeats, which may exist before the dataset."""


@contextmanager
def storage_errors(
    action: str, exception_type: type[Exception] | tuple[type[Exception], ...] = OSError, *, hint: str = DISK_HINT
) -> Iterator[None]:
    """Translate errors of disks and object stores into a StorageError that names the action.

    ``exception_type`` is wider for drivers of object stores, which raise exceptions of their own.
    """
    try:
        yield
    except StorageError:
        raise
    except exception_type as error:
        raise StorageError(f"{action}: {getattr(error, 'strerror', None) or error}", hint=hint) from cause_of(error)


class Store(ABC):
    """Named files below one root. Names are relative, with forward slashes.

    Every method raises StorageError when the disk or the object store fails, and for a name that leaves the root.
    """

    root: str

    @abstractmethod
    def names(self, folder: str, prefix: str = "") -> list[str]:
        """Return the sorted names in a folder that begin with ``prefix``; none when the folder does not exist."""

    @abstractmethod
    def sizes(self, folder: str, prefix: str = "") -> dict[str, int]:
        """Return the size in bytes of each file below a folder, by its name in the folder, at any depth; sorted.

        ``prefix`` limits it to names that begin so. Files and folders whose names begin with a dot do not count.
        """

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file's bytes; None when the file does not exist."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether a file exists."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open an existing file for reads at any offset."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file; a missing file is no error."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if it does not exist; return whether it was written."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Return whether the store is empty; files whose names begin with a dot do not count."""

    @contextmanager
    @abstractmethod
    def stage(self, name: str, *, is_new: bool = False) -> Iterator[Path]:
        """Give a local path to write to; without an exception, the whole file becomes visible as ``name`` at the end.

        ``is_new`` raises StorageError if a file of that name has other contents, where the destination can check it.
        """
        yield Path()

    @abstractmethod
    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write a file, or replace it atomically, even when several processes do so at the same time.

        ``durable`` False does not wait for the disk, which is much quicker: a power cut may leave the file torn.
        """

    @abstractmethod
    def move(self, name: str, to: str) -> None:
        """Rename a file, and replace a file of the new name; a missing file was moved before and is no error.

        An object store copies the file, then removes it: for a moment it has both names.
        """

    @abstractmethod
    def remove_folder(self, folder: str) -> None:
        """Remove a folder with its contents; a missing folder is no error."""

    @abstractmethod
    def subfolder(self, folder: str) -> Store:
        """Return a folder as a store of its own."""

    def describe(self, name: str) -> str:
        """Return a file's full name, for messages."""
        return f"{self.root}/{name}"
