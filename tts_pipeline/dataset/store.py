"""The destination as a place of named files, each visible whole or not at all: a local folder or any fsspec URL."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tts_pipeline.errors import ConfigurationError, StorageError

DISK_HINT = "free space or mend the destination, then run the same command again: what was received is kept"


@contextmanager
def storage_errors(doing: str, kinds: type[Exception] = OSError) -> Iterator[None]:
    """Translate what disks and object stores raise into a StorageError that says what was being done.

    Args:
        doing: What is being done, and where.
        kinds: What is translated: drivers of object stores raise exceptions of their own making.
    """
    try:
        yield
    except StorageError:
        raise
    except kinds as error:
        raise StorageError(f"{doing}: {getattr(error, 'strerror', None) or error}", hint=DISK_HINT) from error


class Store(ABC):
    """Named files below one root. Names are relative, with forward slashes.

    Every method raises StorageError when the disk or the object store fails.
    """

    root: str

    @abstractmethod
    def names(self, folder: str, prefix: str = "") -> list[str]:
        """Return the sorted names of the files in a folder that begin with ``prefix``; none when there is no folder."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file's bytes, or None when there is no such file."""

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
    def stage(self, name: str) -> Iterator[Path]:
        """Give a local path to write to; leaving without an exception makes it visible under ``name``, whole."""
        yield Path()

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a file, replacing one of that name at one stroke; also when several processes do so at a time."""

    def describe(self, name: str) -> str:
        """Return the full name, for messages."""
        return f"{self.root}/{name}"


class LocalStore(Store):
    """A folder on a local disk. What was written survives a power cut once the call returns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = str(folder)

    def names(self, folder: str, prefix: str = "") -> list[str]:
        with storage_errors(f"listing {self.describe(folder)}"):
            try:
                found = os.listdir(self.folder / folder)
            except FileNotFoundError:
                return []
        return sorted(name for name in found if name.startswith(prefix) and not name.startswith("."))

    def read(self, name: str) -> bytes | None:
        with storage_errors(f"reading {self.describe(name)}"):
            try:
                return (self.folder / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def remove(self, name: str) -> None:
        with storage_errors(f"removing {self.describe(name)}"):
            (self.folder / name).unlink(missing_ok=True)

    def create(self, name: str, data: bytes) -> bool:
        path = self.folder / name
        with storage_errors(f"creating {self.describe(name)}"), _written_aside(path, data) as temporary:
            try:
                # A link, unlike a rename, fails when the name is taken, and unlike O_EXCL shows whole files only.
                os.link(temporary, path)
            except FileExistsError:
                return False
            sync_path(path.parent)
        return True

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        with storage_errors(f"writing {self.describe(name)}"), _written_aside(path, data) as temporary:
            temporary.replace(path)
            sync_path(path.parent)

    def is_empty(self) -> bool:
        with storage_errors(f"listing {self.root}"):
            if self.folder.exists() and not self.folder.is_dir():
                raise StorageError(f"{self.root} is a file, not a folder", hint="name another destination")
            return not self.names("")

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        # Always the same name, so that what a killed process left is written over: one process at a time has the part.
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.tmp")
        with storage_errors(f"writing {self.describe(name)}"):
            make_folder(path.parent)
            try:
                yield temporary
                sync_path(temporary)
                temporary.replace(path)
                sync_path(path.parent)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise


class FsspecStore(Store):
    """Any file system that fsspec knows. A file is put whole, as the last act.

    Args:
        filesystem: An fsspec file system.
        path: The root within it.
        url: As the user gave it, for messages.
        staging: A local folder for files that are being written.
    """

    def __init__(self, filesystem: Any, path: str, *, url: str, staging: Path) -> None:
        self.filesystem = filesystem
        self.path = path.rstrip("/")
        self.root = url.rstrip("/")
        self.staging = staging

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if name else self.path

    def names(self, folder: str, prefix: str = "") -> list[str]:
        with storage_errors(f"listing {self.describe(folder)}", Exception):
            try:
                self.filesystem.invalidate_cache(self._at(folder))
                found = self.filesystem.ls(self._at(folder), detail=False)
            except FileNotFoundError:
                return []
        names = {str(path).rstrip("/").rsplit("/", 1)[-1] for path in found}
        return sorted(name for name in names if name.startswith(prefix) and not name.startswith("."))

    def read(self, name: str) -> bytes | None:
        with storage_errors(f"reading {self.describe(name)}", Exception):
            try:
                return bytes(self.filesystem.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        with storage_errors(f"removing {self.describe(name)}", Exception), suppress(FileNotFoundError):
            self.filesystem.rm_file(self._at(name))

    def create(self, name: str, data: bytes) -> bool:
        # Best effort: not every object store can refuse to overwrite; claims and usage make a race visible.
        if self.read(name) is not None:
            return False
        self.write(name, data)
        return True

    def write(self, name: str, data: bytes) -> None:
        with self._putting(name):
            self.filesystem.pipe_file(self._at(name), data)

    def is_empty(self) -> bool:
        return not self.names("")

    @contextmanager
    def _putting(self, name: str) -> Iterator[None]:
        with storage_errors(f"writing {self.describe(name)}", Exception):
            self.filesystem.makedirs(self._at(name).rsplit("/", 1)[0], exist_ok=True)
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[Path]:
        temporary = self.staging / name.replace("/", "+")
        with storage_errors(f"writing {self.describe(name)}"):
            self.staging.mkdir(parents=True, exist_ok=True)
            try:
                yield temporary
                with self._putting(name):
                    self.filesystem.put_file(str(temporary), self._at(name))
            finally:
                temporary.unlink(missing_ok=True)


def open_store(destination: str | os.PathLike[str], staging: Path) -> Store:
    """Open a destination: a local path, or any fsspec URL (``s3://``, ``gs://``, ``abfs://``, ``memory://``).

    Args:
        destination: Where the dataset is, or will be; nothing is written yet.
        staging: A local folder for files on their way to an object store.

    Raises:
        ConfigurationError: No file system of that kind is installed.
    """
    text = os.fspath(destination)
    if is_local(text):
        return LocalStore(local_path(text))
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        hint = "install the fsspec driver of that kind, such as s3fs, gcsfs or adlfs"
        raise ConfigurationError(f"cannot open the destination {text!r}: {error}", hint=hint) from error
    return FsspecStore(filesystem, str(path), url=text, staging=staging)


def is_local(location: str) -> bool:
    """Return whether a location is a local path (or a ``file:`` URL)."""
    return "://" not in location or location.startswith("file://")


def local_path(location: str) -> Path:
    """Return a local location as an absolute path."""
    return Path(location.removeprefix("file://")).expanduser().absolute()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; the names of new ones survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_path(folder.parent)


@contextmanager
def _written_aside(path: Path, data: bytes) -> Iterator[Path]:
    """Give a file beside the final one that holds the data, on the disk, and that no other process or thread has."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(data)
        sync_path(temporary)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def sync_path(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
