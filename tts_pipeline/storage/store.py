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

from tts_pipeline.errors import ConfigurationError, StorageError, cause_of, without_passwords
from tts_pipeline.storage.create_if_absent import checks_then_writes, is_conflict, is_unsupported
from tts_pipeline.storage.location import check_utf8_name, filesystem_of, is_local, local_path
from tts_pipeline.storage.safe_folder import SafeFolder, check_name, create_file, sync_path
from tts_pipeline.storage.scratch import scratch_folder

DISK_HINT = "free space or mend the destination, then run the same command again: what was received is kept"


@contextmanager
def storage_errors(action: str, exception_type: type[Exception] = OSError) -> Iterator[None]:
    """Translate what disks and object stores raise into a StorageError that says what was being done.

    Args:
        action: What is being done, and where.
        exception_type: What is translated: drivers of object stores raise exceptions of their own making.
    """
    try:
        yield
    except StorageError:
        raise
    except exception_type as error:
        raise StorageError(f"{action}: {getattr(error, 'strerror', None) or error}", hint=DISK_HINT) from cause_of(
            error
        )


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
    def remove_folder(self, folder: str) -> None:
        """Remove a folder with everything in it; one that is not there is no error."""

    @abstractmethod
    def subfolder(self, folder: str) -> Store:
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
                with self._files.open_folder(folder) as fd:
                    names = os.listdir(fd)
            except FileNotFoundError:
                return []
        return sorted(name for name in names if name.startswith(prefix) and not name.startswith("."))

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
                return bool(self._files.lstat(name))
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
            self._files.lstat(name)
        return self.folder / name

    def remove(self, name: str) -> None:
        removing = storage_errors(f"removing {self.describe(name)}")
        with removing, suppress(FileNotFoundError), self._files.open_parent(name) as (folder_fd, base_name):
            os.unlink(base_name, dir_fd=folder_fd)

    def create(self, name: str, data: bytes) -> bool:
        with (
            storage_errors(f"creating {self.describe(name)}"),
            self._temporary_file(name, data) as (folder_fd, temporary),
        ):
            base_name = name.rpartition("/")[2]
            try:
                # A link, unlike a rename, fails when the name is taken, and unlike O_EXCL shows whole files only.
                os.link(temporary, base_name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd, follow_symlinks=False)
            except FileExistsError:
                return False
            os.fsync(folder_fd)
        return True

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        writing = storage_errors(f"writing {self.describe(name)}")
        with writing, self._temporary_file(name, data, durable=durable) as (folder_fd, temporary):
            os.replace(temporary, name.rpartition("/")[2], src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            if durable:
                os.fsync(folder_fd)

    @contextmanager
    def _temporary_file(self, name: str, data: bytes, *, durable: bool = True) -> Iterator[tuple[int, str]]:
        """Give the folder and the name of a file beside the final one that holds the data, and that nobody else has."""
        with self._files.open_parent(name, make=True) as (folder_fd, base_name):
            temporary = f".{base_name}.{os.getpid()}-{threading.get_ident()}.tmp"
            try:
                with os.fdopen(create_file(temporary, folder_fd=folder_fd), "wb", buffering=0) as file:
                    _write_all(file.fileno(), data)
                    if durable:
                        os.fsync(file.fileno())
                yield folder_fd, temporary
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder_fd)

    def move(self, name: str, to: str) -> None:
        renaming = storage_errors(f"renaming {self.describe(name)}")
        with renaming, self._files.open_parent(to, make=True) as (target_fd, target_name), suppress(FileNotFoundError):
            self._files.lstat(name)  # a link is not put into place
            with self._files.open_parent(name) as (folder_fd, base_name):
                os.replace(base_name, target_name, src_dir_fd=folder_fd, dst_dir_fd=target_fd)
                os.fsync(target_fd)

    def remove_folder(self, folder: str) -> None:
        removing = storage_errors(f"removing {self.describe(folder)}")
        with removing, suppress(FileNotFoundError), self._files.open_parent(folder) as (parent_fd, base_name):
            shutil.rmtree(base_name, dir_fd=parent_fd)

    def subfolder(self, folder: str) -> Store:
        return LocalStore(self._files.subfolder(folder))

    def is_empty(self) -> bool:
        with storage_errors(f"listing {self.root}"):
            if self.folder.exists() and not self.folder.is_dir():
                raise StorageError(f"{self.root} is a file, not a folder", hint="name another destination")
            return not self.names("")

    @contextmanager
    def stage(self, name: str, *, is_new: bool = False) -> Iterator[Path]:  # noqa: ARG002 (the part's lock is enough)
        # Always the same name, so that what a killed process left is written over: one process at a time has the part.
        with (
            storage_errors(f"writing {self.describe(name)}"),
            self._files.open_parent(name, make=True) as (folder_fd, base_name),
        ):
            temporary = f".{base_name}.tmp"
            os.close(create_file(temporary, folder_fd=folder_fd))
            try:
                yield (self.folder / name).with_name(temporary)
                sync_path(temporary, folder_fd=folder_fd)
                os.replace(temporary, base_name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
                os.fsync(folder_fd)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder_fd)
                raise


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


_OBJECT_STORES = frozenset({"s3", "gs", "abfs", "az", "oss"})
"""Protocols of object stores: they have names with slashes, and no folders."""

_GLOB_CHARACTERS = frozenset("*?[")


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
        self._has_folders = _OBJECT_STORES.isdisjoint((protocols,) if isinstance(protocols, str) else protocols)
        self._create_if_absent = {"is_known": False}  # shared with the folders below

    @property
    def has_create_if_absent(self) -> bool:
        """Whether it is known to refuse to create a file that exists: see ``probe_create_if_absent``."""
        return self._create_if_absent["is_known"]

    def probe_create_if_absent(self, name: str) -> bool:
        """Find out whether the store has create-if-absent, by trying it on a file that is there; may destroy that."""
        if checks_then_writes(self.filesystem):
            return False
        with storage_errors(f"trying {self.describe(name)}", Exception):
            try:
                self.filesystem.pipe_file(self._full_path(name), b"", mode="create")
            except Exception as error:
                self._create_if_absent["is_known"] = is_conflict(error)
                if not self.has_create_if_absent and not is_unsupported(error):
                    raise
        return self.has_create_if_absent

    def _full_path(self, name: str) -> str:
        check_name(name, self.root)
        return f"{self.path}/{name}" if name else self.path

    def names(self, folder: str, prefix: str = "") -> list[str]:
        with storage_errors(f"listing {self.describe(folder)}", Exception):
            try:
                self.filesystem.invalidate_cache(self._full_path(folder))
                found = self.filesystem.ls(self._full_path(folder), detail=False)
            except FileNotFoundError:
                return []
        # An object store may have an object in place of a folder, with the folder's own name.
        others = (str(path).strip("/") for path in found if str(path).strip("/") != self._full_path(folder).strip("/"))
        names = {path.rsplit("/", 1)[-1] for path in others}
        return sorted(name for name in names if name.startswith(prefix) and not name.startswith("."))

    def read(self, name: str) -> bytes | None:
        return self.read_start(name, None)

    def read_start(self, name: str, size_bytes: int | None) -> bytes | None:
        """Return the first bytes of a file, so many at most; None when there is no such file."""
        part = {} if size_bytes is None else {"start": 0, "end": size_bytes}
        with storage_errors(f"reading {self.describe(name)}", Exception):
            try:
                return bytes(self.filesystem.cat_file(self._full_path(name), **part))
            except FileNotFoundError:
                self._forget_listing(name)
            try:
                return bytes(self.filesystem.cat_file(self._full_path(name), **part))
            except FileNotFoundError:
                return None

    def _forget_listing(self, name: str) -> None:
        """Let the driver ask the store: what is not in its last listing of a folder is not there for s3fs 2026.9."""
        self.filesystem.invalidate_cache(self._full_path(name).rsplit("/", 1)[0])

    def exists(self, name: str) -> bool:
        with storage_errors(f"looking for {self.describe(name)}", Exception):
            self._forget_listing(name)
            return bool(self.filesystem.exists(self._full_path(name)))

    def open(self, name: str) -> BinaryIO:
        with storage_errors(f"opening {self.describe(name)}", Exception):
            self._forget_listing(name)  # it tells sizes, too
            # Without a cache of its own: that would read megabytes ahead around every few bytes.
            return cast("BinaryIO", self.filesystem.open(self._full_path(name), "rb", cache_type="none"))

    def remove(self, name: str) -> None:
        with storage_errors(f"removing {self.describe(name)}", Exception), suppress(FileNotFoundError):
            self.filesystem.rm_file(self._full_path(name))

    def create(self, name: str, data: bytes) -> bool:
        # Where the store is not known to refuse to overwrite this is best effort.
        if not self.has_create_if_absent and self.exists(name):
            return False
        with self._put_errors(name):
            try:
                self.filesystem.pipe_file(self._full_path(name), data, mode="create")
            except Exception as error:
                if is_conflict(error):
                    return False
                if not is_unsupported(error):
                    raise
                self.filesystem.pipe_file(self._full_path(name), data)
        return True

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:  # noqa: ARG002 (it is, once it returns)
        with self._put_errors(name):
            self.filesystem.pipe_file(self._full_path(name), data)

    def move(self, name: str, to: str) -> None:
        with self._put_errors(to), suppress(FileNotFoundError):
            self.filesystem.cp_file(self._full_path(name), self._full_path(to))
            self.filesystem.rm_file(self._full_path(name))

    def remove_folder(self, folder: str) -> None:
        with storage_errors(f"removing {self.describe(folder)}", Exception), suppress(FileNotFoundError):
            self.filesystem.invalidate_cache()
            path = self._full_path(folder)
            if _GLOB_CHARACTERS.isdisjoint(path):
                self.filesystem.rm(path, recursive=True)
                return
            for file in self.filesystem.find(path):  # a driver would remove all that the path fits as a pattern
                self.filesystem.rm_file(file)

    def subfolder(self, folder: str) -> Store:
        subfolder = FsspecStore(
            self.filesystem,
            self._full_path(folder),
            url=self.describe(folder),
            staging=self.staging and self.staging / folder.replace("/", "+"),
        )
        subfolder._create_if_absent = self._create_if_absent
        return subfolder

    def is_empty(self) -> bool:
        return not set(self.names("")) - {LEASES}

    @contextmanager
    def _put_errors(self, name: str) -> Iterator[None]:
        with storage_errors(f"writing {self.describe(name)}", Exception):
            if self._has_folders:
                self.filesystem.makedirs(self._full_path(name).rsplit("/", 1)[0], exist_ok=True)
            yield

    @contextmanager
    def stage(self, name: str, *, is_new: bool = False) -> Iterator[Path]:
        check_name(name, self.root)
        writing = storage_errors(f"writing {self.describe(name)}")
        with writing, nullcontext(self.staging) if self.staging else scratch_folder() as folder:
            folder.mkdir(parents=True, exist_ok=True)
            temporary = folder / name.replace("/", "+")
            os.close(create_file(temporary))
            try:
                yield temporary
                with self._put_errors(name):
                    self._put(temporary, name, is_new=is_new and self.has_create_if_absent)
            finally:
                temporary.unlink(missing_ok=True)

    def _put(self, file: Path, name: str, *, is_new: bool) -> None:
        try:
            self.filesystem.put_file(str(file), self._full_path(name), **({"mode": "create"} if is_new else {}))
        except Exception as error:
            if not (is_new and is_conflict(error)):
                raise
            # Of a request that is sent again because its answer was lost, the first one may have put it there.
            with file.open("rb") as ours, self.open(name) as theirs:
                is_same = _digest(ours) == _digest(theirs)
            if not is_same:
                raise self.conflict_error(name) from error

    def conflict_error(self, name: str) -> StorageError:
        """Return the error that a file which was to be new is another process's."""
        return StorageError(
            f"another process has put {self.describe(name)} there meanwhile",
            hint="run the same command again: what was received is kept in the journals",
        )


def _digest(file: BinaryIO) -> bytes:
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
    check_utf8_name(text if folder is None else str(folder))
    if folder is not None:
        return LocalStore(folder)
    try:
        filesystem, path = filesystem_of(destination)
    except (ImportError, ValueError) as error:
        hint = "install the fsspec driver of that kind, such as s3fs, gcsfs or adlfs"
        raise ConfigurationError(f"cannot open the destination {text!r}: {error}", hint=hint) from cause_of(error)
    return FsspecStore(filesystem, path, url=text, staging=staging)
