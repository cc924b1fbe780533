"""The destination as a place of named files, each visible whole or not at all: a local folder or any fsspec URL."""

from __future__ import annotations

import os
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from tts_pipeline.dataset.location import filesystem_of, is_local, local_path
from tts_pipeline.errors import ConfigurationError, StorageError, cause_of, without_passwords

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
        raise StorageError(f"{doing}: {getattr(error, 'strerror', None) or error}", hint=DISK_HINT) from cause_of(error)


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
    def stage(self, name: str) -> Iterator[Path]:
        """Give a local path to write to; leaving without an exception makes it visible under ``name``, whole."""
        yield Path()

    @abstractmethod
    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Write a file, replacing one of that name at one stroke; also when several processes do so at a time.

        Args:
            name: The file's.
            data: All of it.
            durable: False where it does not matter whether a power cut leaves it whole, which is much quicker on disks.
        """

    @abstractmethod
    def move(self, name: str, to: str) -> None:
        """Give a file another name, in place of one that has it; one that is not there was moved before, no error.

        On an object store it is copied, then removed: for a moment it has both names.
        """

    @abstractmethod
    def remove_all(self, folder: str) -> None:
        """Remove a folder with everything in it; one that is not there is no error."""

    @abstractmethod
    def below(self, folder: str) -> Store:
        """Return a folder as a store of its own."""

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

    def exists(self, name: str) -> bool:
        with storage_errors(f"looking for {self.describe(name)}"):
            return (self.folder / name).exists()

    def open(self, name: str) -> BinaryIO:
        with storage_errors(f"opening {self.describe(name)}"):
            return (self.folder / name).open("rb")

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

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        path = self.folder / name
        writing = storage_errors(f"writing {self.describe(name)}")
        with writing, _written_aside(path, data, durable=durable) as temporary:
            temporary.replace(path)
            if durable:
                sync_path(path.parent)

    def move(self, name: str, to: str) -> None:
        path, target = self.folder / name, self.folder / to
        with storage_errors(f"renaming {self.describe(name)}"):
            make_folder(target.parent)
            with suppress(FileNotFoundError):
                path.replace(target)
                sync_path(target.parent)

    def remove_all(self, folder: str) -> None:
        with storage_errors(f"removing {self.describe(folder)}"), suppress(FileNotFoundError):
            shutil.rmtree(self.folder / folder)

    def below(self, folder: str) -> Store:
        return LocalStore(self.folder / folder)

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


_BUCKETS = frozenset({"s3", "gs", "abfs", "az", "oss"})
"""Protocols of object stores: they have names with slashes, and no folders."""


class FsspecStore(Store):
    """Any file system that fsspec knows. A file is put whole, as the last act.

    Args:
        filesystem: An fsspec file system.
        path: The root within it.
        url: As the user gave it, for messages: there without a password.
        staging: A local folder for files that are being written.
    """

    def __init__(self, filesystem: Any, path: str, *, url: str, staging: Path) -> None:
        self.filesystem = filesystem
        self.path = path.rstrip("/")
        self.root = without_passwords(url.rstrip("/"))
        self.staging = staging
        protocols = filesystem.protocol
        # Asked for a folder, a driver of an object store would make the bucket, also one that is misspelt or gone.
        self._has_folders = _BUCKETS.isdisjoint((protocols,) if isinstance(protocols, str) else protocols)

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

    def exists(self, name: str) -> bool:
        with storage_errors(f"looking for {self.describe(name)}", Exception):
            self.filesystem.invalidate_cache(self._at(name).rsplit("/", 1)[0])
            return bool(self.filesystem.exists(self._at(name)))

    def open(self, name: str) -> BinaryIO:
        with storage_errors(f"opening {self.describe(name)}", Exception):
            # Without a cache of its own: that would read megabytes ahead around every few bytes.
            return cast("BinaryIO", self.filesystem.open(self._at(name), "rb", cache_type="none"))

    def remove(self, name: str) -> None:
        with storage_errors(f"removing {self.describe(name)}", Exception), suppress(FileNotFoundError):
            self.filesystem.rm_file(self._at(name))

    def create(self, name: str, data: bytes) -> bool:
        # S3 and its kin refuse to overwrite when asked to. Elsewhere this is best effort: claims make a race visible.
        if self.exists(name):
            return False
        with self._putting(name):
            try:
                self.filesystem.pipe_file(self._at(name), data, mode="create")
            except FileExistsError:
                return False
        return True

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:  # noqa: ARG002 (it is, once it returns)
        with self._putting(name):
            self.filesystem.pipe_file(self._at(name), data)

    def move(self, name: str, to: str) -> None:
        with self._putting(to), suppress(FileNotFoundError):
            self.filesystem.cp_file(self._at(name), self._at(to))
            self.filesystem.rm_file(self._at(name))

    def remove_all(self, folder: str) -> None:
        with storage_errors(f"removing {self.describe(folder)}", Exception), suppress(FileNotFoundError):
            self.filesystem.invalidate_cache()
            self.filesystem.rm(self._at(folder), recursive=True)

    def below(self, folder: str) -> Store:
        return FsspecStore(
            self.filesystem,
            self._at(folder),
            url=self.describe(folder),
            staging=self.staging / folder.replace("/", "+"),
        )

    def is_empty(self) -> bool:
        return not self.names("")

    @contextmanager
    def _putting(self, name: str) -> Iterator[None]:
        with storage_errors(f"writing {self.describe(name)}", Exception):
            if self._has_folders:
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
    try:
        filesystem, path = filesystem_of(destination)
    except (ImportError, ValueError) as error:
        hint = "install the fsspec driver of that kind, such as s3fs, gcsfs or adlfs"
        raise ConfigurationError(f"cannot open the destination {text!r}: {error}", hint=hint) from cause_of(error)
    return FsspecStore(filesystem, path, url=text, staging=staging)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; the names of new ones survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_path(folder.parent)


@contextmanager
def _written_aside(path: Path, data: bytes, *, durable: bool = True) -> Iterator[Path]:
    """Give a file beside the final one that holds the data, on the disk, and that no other process or thread has."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(data)
        if durable:
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
