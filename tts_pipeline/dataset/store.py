"""The destination as a place of named files, each visible whole or not at all: a local folder or any fsspec URL."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

from tts_pipeline.dataset.create_if_absent import is_refusal, is_unknown, looks_first
from tts_pipeline.dataset.location import filesystem_of, is_local, local_path, refuse_unwritable_name
from tts_pipeline.dataset.safe_folder import SafeFolder, check_name, create_file, sync_path
from tts_pipeline.dataset.scratch import scratch
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

        Args:
            name: The file's.
            is_new: Whether it must not take the place of another one, where the destination can make sure of that: one
                with other contents is then a StorageError.
        """
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
    """A folder on a local disk. What was written survives a power cut once the call returns.

    A link may lead to the folder; below it none is followed.
    """

    def __init__(self, folder: Path | SafeFolder) -> None:
        self._files = folder if isinstance(folder, SafeFolder) else SafeFolder(folder)
        self.folder = self._files.path
        self.root = str(self.folder)

    def names(self, folder: str, prefix: str = "") -> list[str]:
        with storage_errors(f"listing {self.describe(folder)}"):
            try:
                with self._files.opened(folder) as descriptor:
                    found = os.listdir(descriptor)
            except FileNotFoundError:
                return []
        return sorted(name for name in found if name.startswith(prefix) and not name.startswith("."))

    def read(self, name: str) -> bytes | None:
        with storage_errors(f"reading {self.describe(name)}"):
            try:
                with self._files.open(name) as file:
                    return file.read()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def exists(self, name: str) -> bool:
        with storage_errors(f"looking for {self.describe(name)}"):
            try:
                return bool(self._files.status(name))
            except (FileNotFoundError, NotADirectoryError):
                return False

    def open(self, name: str) -> BinaryIO:
        with storage_errors(f"opening {self.describe(name)}"):
            return self._files.open(name)

    def path(self, name: str) -> Path:
        """Return the path of a file, for those who read it by themselves.

        Raises:
            StorageError: It is not there, or a link.
        """
        with storage_errors(f"looking for {self.describe(name)}"):
            self._files.status(name)
        return self.folder / name

    def remove(self, name: str) -> None:
        removing = storage_errors(f"removing {self.describe(name)}")
        with removing, suppress(FileNotFoundError), self._files.holding(name) as (folder, last):
            os.unlink(last, dir_fd=folder)

    def create(self, name: str, data: bytes) -> bool:
        with storage_errors(f"creating {self.describe(name)}"), self._written_aside(name, data) as (folder, temporary):
            last = name.rpartition("/")[2]
            try:
                # A link, unlike a rename, fails when the name is taken, and unlike O_EXCL shows whole files only.
                os.link(temporary, last, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                return False
            os.fsync(folder)
        return True

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        writing = storage_errors(f"writing {self.describe(name)}")
        with writing, self._written_aside(name, data, durable=durable) as (folder, temporary):
            os.replace(temporary, name.rpartition("/")[2], src_dir_fd=folder, dst_dir_fd=folder)
            if durable:
                os.fsync(folder)

    @contextmanager
    def _written_aside(self, name: str, data: bytes, *, durable: bool = True) -> Iterator[tuple[int, str]]:
        """Give the folder and the name of a file beside the final one that holds the data, and that nobody else has."""
        with self._files.holding(name, make=True) as (folder, last):
            temporary = f".{last}.{os.getpid()}-{threading.get_ident()}.tmp"
            try:
                with os.fdopen(create_file(temporary, folder=folder), "wb", buffering=0) as file:
                    _write_all(file.fileno(), data)
                    if durable:
                        os.fsync(file.fileno())
                yield folder, temporary
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)

    def move(self, name: str, to: str) -> None:
        renaming = storage_errors(f"renaming {self.describe(name)}")
        with renaming, self._files.holding(to, make=True) as (target, new), suppress(FileNotFoundError):
            self._files.status(name)  # a link is not put into place
            with self._files.holding(name) as (folder, last):
                os.replace(last, new, src_dir_fd=folder, dst_dir_fd=target)
                os.fsync(target)

    def remove_all(self, folder: str) -> None:
        removing = storage_errors(f"removing {self.describe(folder)}")
        with removing, suppress(FileNotFoundError), self._files.holding(folder) as (above, last):
            shutil.rmtree(last, dir_fd=above)

    def below(self, folder: str) -> Store:
        return LocalStore(self._files.below(folder))

    def is_empty(self) -> bool:
        with storage_errors(f"listing {self.root}"):
            if self.folder.exists() and not self.folder.is_dir():
                raise StorageError(f"{self.root} is a file, not a folder", hint="name another destination")
            return not self.names("")

    @contextmanager
    def stage(self, name: str, *, is_new: bool = False) -> Iterator[Path]:  # noqa: ARG002 (the part's lock is enough)
        # Always the same name, so that what a killed process left is written over: one process at a time has the part.
        with storage_errors(f"writing {self.describe(name)}"), self._files.holding(name, make=True) as (folder, last):
            temporary = f".{last}.tmp"
            os.close(create_file(temporary, folder=folder))
            try:
                yield (self.folder / name).with_name(temporary)
                sync_path(temporary, folder=folder)
                os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


_BUCKETS = frozenset({"s3", "gs", "abfs", "az", "oss"})
"""Protocols of object stores: they have names with slashes, and no folders."""

_PATTERN = frozenset("*?[")


_PIECE_BYTES = 256 * 1024

LEASES = "leases"
"""Folder of leases and signs of life, which may stand there before the dataset does."""


class FsspecStore(Store):
    """Any file system that fsspec knows. A file is put whole, as the last act.

    Args:
        filesystem: An fsspec file system.
        path: The root within it.
        url: As the user gave it, for messages: there without a password.
        staging: A local folder for files that are being written; None is one for each of them.
    """

    def __init__(self, filesystem: Any, path: str, *, url: str, staging: Path | None = None) -> None:
        self.filesystem = filesystem
        self.path = path.rstrip("/")
        self.root = without_passwords(url.rstrip("/"))
        self.staging = staging
        protocols = filesystem.protocol
        # Asked for a folder, a driver of an object store would make the bucket, also one that is misspelt or gone.
        self._has_folders = _BUCKETS.isdisjoint((protocols,) if isinstance(protocols, str) else protocols)
        self._creates = {"is_known": False}  # shared with the folders below

    @property
    def creates(self) -> bool:
        """Whether it is known to refuse a file that is to be created and is there already: see ``learn_creates``."""
        return self._creates["is_known"]

    def learn_creates(self, name: str) -> bool:
        """Find out whether the store has create-if-absent, by trying it on a file that is there; may destroy that."""
        if looks_first(self.filesystem):
            return False
        with storage_errors(f"trying {self.describe(name)}", Exception):
            try:
                self.filesystem.pipe_file(self._at(name), b"", mode="create")
            except Exception as error:
                self._creates["is_known"] = is_refusal(error)
                if not self.creates and not is_unknown(error):
                    raise
        return self.creates

    def _at(self, name: str) -> str:
        check_name(name, self.root)
        return f"{self.path}/{name}" if name else self.path

    def names(self, folder: str, prefix: str = "") -> list[str]:
        with storage_errors(f"listing {self.describe(folder)}", Exception):
            try:
                self.filesystem.invalidate_cache(self._at(folder))
                found = self.filesystem.ls(self._at(folder), detail=False)
            except FileNotFoundError:
                return []
        # An object store may have an object in place of a folder, with the folder's own name.
        others = (str(path).strip("/") for path in found if str(path).strip("/") != self._at(folder).strip("/"))
        names = {path.rsplit("/", 1)[-1] for path in others}
        return sorted(name for name in names if name.startswith(prefix) and not name.startswith("."))

    def read(self, name: str) -> bytes | None:
        return self.read_start(name, None)

    def read_start(self, name: str, size_bytes: int | None) -> bytes | None:
        """Return the first bytes of a file, so many at most; None when there is no such file."""
        part = {} if size_bytes is None else {"start": 0, "end": size_bytes}
        with storage_errors(f"reading {self.describe(name)}", Exception):
            try:
                return bytes(self.filesystem.cat_file(self._at(name), **part))
            except FileNotFoundError:
                self._forget_listing(name)
            try:
                return bytes(self.filesystem.cat_file(self._at(name), **part))
            except FileNotFoundError:
                return None

    def _forget_listing(self, name: str) -> None:
        """Let the driver ask the store: what is not in its last listing of a folder is not there for s3fs 2026.9."""
        self.filesystem.invalidate_cache(self._at(name).rsplit("/", 1)[0])

    def exists(self, name: str) -> bool:
        with storage_errors(f"looking for {self.describe(name)}", Exception):
            self._forget_listing(name)
            return bool(self.filesystem.exists(self._at(name)))

    def open(self, name: str) -> BinaryIO:
        with storage_errors(f"opening {self.describe(name)}", Exception):
            self._forget_listing(name)  # it tells sizes, too
            # Without a cache of its own: that would read megabytes ahead around every few bytes.
            return cast("BinaryIO", self.filesystem.open(self._at(name), "rb", cache_type="none"))

    def remove(self, name: str) -> None:
        with storage_errors(f"removing {self.describe(name)}", Exception), suppress(FileNotFoundError):
            self.filesystem.rm_file(self._at(name))

    def create(self, name: str, data: bytes) -> bool:
        # Where the store is not known to refuse to overwrite this is best effort.
        if not self.creates and self.exists(name):
            return False
        with self._putting(name):
            try:
                self.filesystem.pipe_file(self._at(name), data, mode="create")
            except Exception as error:
                if is_refusal(error):
                    return False
                if not is_unknown(error):
                    raise
                self.filesystem.pipe_file(self._at(name), data)
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
            path = self._at(folder)
            if _PATTERN.isdisjoint(path):
                self.filesystem.rm(path, recursive=True)
                return
            for found in self.filesystem.find(path):  # a driver would remove all that the path fits as a pattern
                self.filesystem.rm_file(found)

    def below(self, folder: str) -> Store:
        below = FsspecStore(
            self.filesystem,
            self._at(folder),
            url=self.describe(folder),
            staging=self.staging and self.staging / folder.replace("/", "+"),
        )
        below._creates = self._creates
        return below

    def is_empty(self) -> bool:
        return not set(self.names("")) - {LEASES}

    @contextmanager
    def _putting(self, name: str) -> Iterator[None]:
        with storage_errors(f"writing {self.describe(name)}", Exception):
            if self._has_folders:
                self.filesystem.makedirs(self._at(name).rsplit("/", 1)[0], exist_ok=True)
            yield

    @contextmanager
    def stage(self, name: str, *, is_new: bool = False) -> Iterator[Path]:
        check_name(name, self.root)
        writing = storage_errors(f"writing {self.describe(name)}")
        with writing, nullcontext(self.staging) if self.staging else scratch() as folder:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / name.replace("/", "+")
            os.close(create_file(temporary))
            try:
                yield temporary
                with self._putting(name):
                    self._put(temporary, name, is_new=is_new and self.creates)
            finally:
                temporary.unlink(missing_ok=True)

    def _put(self, file: Path, name: str, *, is_new: bool) -> None:
        try:
            self.filesystem.put_file(str(file), self._at(name), **({"mode": "create"} if is_new else {}))
        except Exception as error:
            if not (is_new and is_refusal(error)):
                raise
            # Of a request that is sent again because its answer was lost, the first one may have put it there.
            with file.open("rb") as ours, self.open(name) as theirs:
                is_ours = _hash_of(ours) == _hash_of(theirs)
            if not is_ours:
                raise self.taken(name) from error

    def taken(self, name: str) -> StorageError:
        """Return the error that a file which was to be new is another process's."""
        return StorageError(
            f"another process has put {self.describe(name)} there meanwhile",
            hint="run the same command again: what was received is kept in the journals",
        )


def _hash_of(file: BinaryIO) -> bytes:
    """Return the hash of an open file, read in pieces."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.digest()


def open_store(destination: str | os.PathLike[str], staging: Path | None = None) -> Store:
    """Open a destination: a local path, or any fsspec URL (``s3://``, ``gs://``, ``abfs://``, ``memory://``).

    Args:
        destination: Where the dataset is, or will be; nothing is written yet.
        staging: A local folder for files on their way to an object store; None is a temporary one for each of them.

    Raises:
        ConfigurationError: No file system of that kind is installed, or its name is no text.
    """
    text = os.fspath(destination)
    folder = local_path(text) if is_local(text) else None
    refuse_unwritable_name(text if folder is None else str(folder))
    if folder is not None:
        return LocalStore(folder)
    try:
        filesystem, path = filesystem_of(destination)
    except (ImportError, ValueError) as error:
        hint = "install the fsspec driver of that kind, such as s3fs, gcsfs or adlfs"
        raise ConfigurationError(f"cannot open the destination {text!r}: {error}", hint=hint) from cause_of(error)
    return FsspecStore(filesystem, path, url=text, staging=staging)
