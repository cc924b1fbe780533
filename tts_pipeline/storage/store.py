"""The destination as a store of named files, each visible whole or not at all: local, or any fsspec URL."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tts_pipeline.errors import StorageError, cause_of

DISK_HINT = "free space or mend the destination, then run the same command again: what was received is kept"
LEASES = "leases"
"""Folder of leases and signs of life, which may stand there before the dataset does."""


@contextmanager
def storage_errors(
    action: str, exception_type: type[Exception] | tuple[type[Exception], ...] = OSError, *, hint: str = DISK_HINT
) -> Iterator[None]:
    """Translate what disks and object stores raise into a StorageError that says what was being done.

    ``exception_type`` is wider for drivers of object stores, which raise exceptions of their own making.
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
        """Return the sorted names of the files in a folder that begin with ``prefix``; none when there is no folder."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such file."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Return whether there is such a file."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """Open a file that is there, to read here and there in it."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error."""

    @abstractmethod
    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if there is none of that name; return whether it was written."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Return whether nothing is there yet; files whose name begins with a dot do not count."""

    @contextmanager
    @abstractmethod
    def stage(self, name: str, *, is_new: bool = False) -> Iterator[Path]:
        """Give a local path to write to; leaving without an exception makes it visible under ``name``, whole.

        ``is_new`` raises a StorageError for a file of that name with other contents, where the destination can make
        sure of that.
        """
        yield Path()

    @abstractmethod
    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write a file, replacing one of that name at one stroke; also when several processes do so at a time.

        ``durable`` False does not wait for the disk, which is much quicker: a power cut may leave the file torn.
        """

    @abstractmethod
    def move(self, name: str, to: str) -> None:
        """Give a file another name, in place of one that has it; one that is not there was moved before, no error.

        On an object store it is copied, then removed: for a moment it has both names.
        """

    @abstractmethod
    def remove_folder(self, folder: str) -> None:
        """Remove a folder with everything in it; one that is not there is no error."""

    @abstractmethod
    def subfolder(self, folder: str) -> Store:
        """Return a folder as a store of its own."""

    def describe(self, name: str) -> str:
        """Return the full name, for messages."""
        return f"{self.root}/{name}"
