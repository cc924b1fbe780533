"""Open files below a folder step by step, so that no name or link leads out of it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tts_pipeline.errors import StorageError

_NAME = re.compile(r"(?!\.\.?(?:/|\Z))[^/\\\0]+(?:/(?!\.\.?(?:/|\Z))[^/\\\0]+)*")
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Otherwise, opening a named pipe would wait for a writer.
OPEN_EXISTING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def check_name(name: str, folder: str) -> None:
    """Check that a name, which may come from a file, stays below the folder that it is relative to.

    Names have forward slashes; the empty name is the folder itself.

    Raises:
        StorageError: The name is absolute, has a step that is empty, ``.`` or ``..``, holds a backslash or a NUL, or
            cannot be encoded.
    """
    if name and not (_NAME.fullmatch(name) and _can_be_encoded(name)):
        hint = "the file that contains this name is damaged or forged: restore it"
        raise StorageError(f"{name!r} is not the name of a file in {folder}", hint=hint)


def _can_be_encoded(name: str) -> bool:
    try:
        return name.isascii() or bool(os.fsencode(name))
    except UnicodeEncodeError:
        return False


def check_no_link(path: str, mode: int) -> None:
    """Refuse a path whose mode is that of a link."""
    if stat.S_ISLNK(mode):
        hint = "links inside a dataset or its work folder are not followed: replace the link by its target (cp -L)"
        raise StorageError(f"{path} is a link", hint=hint)


class SafeFolder:
    """A folder whose files are opened step by step. Links below it are refused; the folder itself may be a link.

    Every method raises StorageError for a link or a name that leaves the folder, and OSError for errors of the disk.

    The root need not exist yet. Names are relative to ``inner``, a folder below the root; empty is the root itself.
    """

    def __init__(self, root: Path, inner: str = "") -> None:
        check_name(inner, str(root))
        self.root = root
        self.inner = inner
        self.path = root / inner

    def subfolder(self, folder: str) -> SafeFolder:
        """Return a folder below this one."""
        return SafeFolder(self.root, self._join(folder))

    def _join(self, name: str) -> str:
        check_name(name, str(self.path))
        return f"{self.inner}/{name}" if self.inner and name else self.inner or name

    @contextmanager
    def open_folder(self, folder: str, *, make: bool = False, durable: bool = True) -> Iterator[int]:
        """Give a descriptor of a folder; the empty name is this folder.

        ``make`` makes it, with its parents; ``durable`` waits until their names are on the disk.
        """
        steps = [step for step in self._join(folder).split("/") if step]
        if make:
            make_folder(self.root)
        fd = os.open(self.root, _OPEN_FOLDER)
        try:
            for depth in range(len(steps)):
                inner_fd = self._open_step(fd, steps[: depth + 1], make=make, durable=durable)
                os.close(fd)
                fd = inner_fd
            yield fd
        finally:
            os.close(fd)

    def _open_step(self, parent_fd: int, steps: list[str], *, make: bool, durable: bool) -> int:
        try:
            return os.open(steps[-1], _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=parent_fd)
        except FileNotFoundError:
            if not make:
                raise
        except OSError:
            check_no_link(f"{self.root}/{'/'.join(steps)}", os.lstat(steps[-1], dir_fd=parent_fd).st_mode)
            raise
        with suppress(FileExistsError):
            os.mkdir(steps[-1], dir_fd=parent_fd)
            if durable:
                os.fsync(parent_fd)
        return self._open_step(parent_fd, steps, make=False, durable=durable)

    @contextmanager
    def open_parent(self, name: str, *, make: bool = False, durable: bool = True) -> Iterator[tuple[int, str]]:
        """Give a descriptor of a file's folder, and the file's name in it; see ``open_folder``."""
        folder, _, base_name = name.rpartition("/")
        check_name(name, str(self.path))
        with self.open_folder(folder, make=make, durable=durable) as fd:
            yield fd, base_name

    def open(self, name: str) -> BinaryIO:
        """Open a file to read."""
        with self.open_parent(name) as (folder_fd, base_name):
            return self._open_file(folder_fd, base_name, name)

    def _open_file(self, folder_fd: int, base_name: str, name: str) -> BinaryIO:
        path = f"{self.path}/{name}"
        try:
            fd = os.open(base_name, OPEN_EXISTING, dir_fd=folder_fd)
        except FileNotFoundError:
            raise
        except OSError:
            check_no_link(path, os.lstat(base_name, dir_fd=folder_fd).st_mode)
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise StorageError(f"{path} is not a file", hint="remove it, and restore the file")
        return open(path, "rb", opener=lambda *_: fd)  # so that the file object has this name

    def lstat(self, name: str) -> os.stat_result:
        """Return the status of a file."""
        with self.open_parent(name) as (folder_fd, base_name):
            status = os.lstat(base_name, dir_fd=folder_fd)
        check_no_link(f"{self.path}/{name}", status.st_mode)
        return status

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of each file below a folder, by its name in the folder; hidden ones do not count."""
        sizes: dict[str, int] = {}
        folders = []
        with self.open_folder(folder) as fd, os.scandir(fd) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_symlink():
                    check_no_link(f"{self.path / folder / entry.name}", stat.S_IFLNK)
                elif entry.is_dir():
                    folders.append(entry.name)
                else:
                    with suppress(FileNotFoundError):  # removed meanwhile
                        sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
        for inner in folders:
            with suppress(FileNotFoundError):
                below = self.sizes(f"{folder}/{inner}" if folder else inner)
                sizes |= {f"{inner}/{name}": size for name, size in below.items()}
        return sizes

    def check_no_links(self, *folders: str) -> None:
        """Refuse links in the paths of folders and among their entries; skip missing folders."""
        for folder in folders:
            ignore_missing = suppress(FileNotFoundError, NotADirectoryError)
            with ignore_missing, self.open_folder(folder) as fd, os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        check_no_link(f"{self.path / folder / entry.name}", stat.S_IFLNK)


def create_file(name: str | Path, *, folder_fd: int | None = None) -> int:
    """Make a new file, in place of a killed process's temporary file, or of a link; return its descriptor.

    ``folder_fd`` is the descriptor of the folder that the name is relative to; None if the name is a path.
    """
    try:
        return os.open(name, _OPEN_NEW, 0o666, dir_fd=folder_fd)
    except FileExistsError:
        os.unlink(name, dir_fd=folder_fd)
        return os.open(name, _OPEN_NEW, 0o666, dir_fd=folder_fd)


def open_lock_file(path: Path) -> int:
    """Open or make the file of a lock; refuse a link, because the file is written and removed."""
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        with suppress(FileNotFoundError):
            check_no_link(str(path), path.lstat().st_mode)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; the names of new folders survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_path(folder.parent)


def sync_path(path: str | Path, *, folder_fd: int | None = None) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk.

    With ``folder_fd``, the descriptor of the folder, a link is not followed.
    """
    fd = os.open(path, os.O_RDONLY | (0 if folder_fd is None else os.O_NOFOLLOW), dir_fd=folder_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
