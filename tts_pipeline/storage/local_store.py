"""Use a folder on a local disk as a store."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.safe_folder import SafeFolder, create_file, sync_path
from tts_pipeline.storage.store import Store, storage_errors


class LocalStore(Store):
    """A folder on a local disk. A write survives a power cut once the call returns.

    The folder itself may be a link; links below it are not followed.
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

    def sizes(self, folder: str, prefix: str = "") -> dict[str, int]:
        with storage_errors(f"listing {self.describe(folder)}"):
            try:
                sizes = self._files.sizes(folder)
            except FileNotFoundError:
                return {}
        return {name: size for name, size in sorted(sizes.items()) if name.startswith(prefix)}

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
        """Return the path of a file, for callers that open it themselves.

        Raises:
            StorageError: The file does not exist, or is a link.
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
                # Unlike a rename, a link fails when the name is taken; unlike O_EXCL, it shows whole files only.
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
        """Write the data to a file beside the final one, used by this thread only; give its folder and its name."""
        with self._files.open_parent(name, make=True, durable=durable) as (folder_fd, base_name):
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
            self._files.lstat(name)  # refuses a link
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
        # The name is constant, so that a killed process's file is overwritten: one process at a time holds the part.
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


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it exists. Blocking."""
    if folder.exists():
        with storage_errors(f"removing {folder}"):
            shutil.rmtree(folder)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
