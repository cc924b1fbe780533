"""Files below a folder, reached step by step so that no name and no link that is found there leads out of it."""

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
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# A named pipe would else be waited for until somebody writes to it.
OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def check_name(name: str, place: str) -> None:
    """Make sure that a name, which may have been read from a file, stays below the folder that it is relative to.

    Args:
        name: With forward slashes; the empty name is the folder itself.
        place: The folder, for messages.

    Raises:
        StorageError: It is absolute, or has a step that is empty, a dot or two, or holds a backslash or a NUL, or it
            cannot be encoded.
    """
    if name and not (_NAME.fullmatch(name) and _can_be_encoded(name)):
        hint = "whatever tells this name is damaged or forged: restore it"
        raise StorageError(f"{name!r} is not the name of a file in {place}", hint=hint)


def _can_be_encoded(name: str) -> bool:
    try:
        return name.isascii() or bool(os.fsencode(name))
    except UnicodeEncodeError:
        return False


def refuse_link(place: str, mode: int) -> None:
    """Make sure that what stands at a place is no link.

    Raises:
        StorageError: It is one.
    """
    if stat.S_ISLNK(mode):
        hint = "links inside a dataset or its work folder are not followed: put there what it leads to (cp -L)"
        raise StorageError(f"{place} is a link", hint=hint)


class SafeFolder:
    """A folder whose files are opened one step after another. Links below it are refused; a link may lead to it.

    Every method raises StorageError for a link or a name that leaves the folder, and OSError for what the disk says.

    Args:
        root: The folder; it need not be there yet.
        inner: A folder below it that names are relative to; empty is the root itself.
    """

    def __init__(self, root: Path, inner: str = "") -> None:
        check_name(inner, str(root))
        self.root = root
        self.inner = inner
        self.path = root / inner

    def below(self, folder: str) -> SafeFolder:
        """Return a folder below."""
        return SafeFolder(self.root, self._join(folder))

    def _join(self, name: str) -> str:
        check_name(name, str(self.path))
        return f"{self.inner}/{name}" if self.inner and name else self.inner or name

    @contextmanager
    def opened(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """Give a descriptor of a folder.

        Args:
            folder: Relative to this one; empty is this one.
            make: Whether it is made, with those above it, when it is not there.
        """
        steps = [step for step in self._join(folder).split("/") if step]
        if make:
            make_folder(self.root)
        descriptor = os.open(self.root, _FOLDER)
        try:
            for number in range(len(steps)):
                below = self._step(descriptor, steps[: number + 1], make=make)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _step(self, above: int, steps: list[str], *, make: bool) -> int:
        try:
            return os.open(steps[-1], _FOLDER | os.O_NOFOLLOW, dir_fd=above)
        except FileNotFoundError:
            if not make:
                raise
        except OSError:
            refuse_link(f"{self.root}/{'/'.join(steps)}", os.lstat(steps[-1], dir_fd=above).st_mode)
            raise
        with suppress(FileExistsError):
            os.mkdir(steps[-1], dir_fd=above)
            os.fsync(above)
        return self._step(above, steps, make=False)

    @contextmanager
    def holding(self, name: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Give a descriptor of the folder that a file is in, and the file's name there."""
        folder, _, last = name.rpartition("/")
        check_name(name, str(self.path))
        with self.opened(folder, make=make) as descriptor:
            yield descriptor, last

    def open(self, name: str) -> BinaryIO:
        """Open a file to read."""
        with self.holding(name) as (folder, last):
            return self._file(folder, last, name)

    def _file(self, folder: int, last: str, name: str) -> BinaryIO:
        place = f"{self.path}/{name}"
        try:
            descriptor = os.open(last, OLD_FILE, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError:
            refuse_link(place, os.lstat(last, dir_fd=folder).st_mode)
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise StorageError(f"{place} is not a file", hint="remove it, and restore the file")
        return open(place, "rb", opener=lambda *_: descriptor)  # so that it is called by its name

    def status(self, name: str) -> os.stat_result:
        """Return what the system says of a file."""
        with self.holding(name) as (folder, last):
            status = os.lstat(last, dir_fd=folder)
        refuse_link(f"{self.path}/{name}", status.st_mode)
        return status

    def refuse_links(self, *folders: str) -> None:
        """Make sure that folders which are there are no links, nor any above them, nor anything in them."""
        for folder in folders:
            nothing = suppress(FileNotFoundError, NotADirectoryError)
            with nothing, self.opened(folder) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        refuse_link(f"{self.path / folder / entry.name}", stat.S_IFLNK)


def create_file(name: str | Path, *, folder: int | None = None) -> int:
    """Make a new file, in place of a temporary one that a killed process left there, or of a link; return it open.

    Args:
        name: The file's.
        folder: Descriptor of the folder that it is relative to; None where it is a path.
    """
    try:
        return os.open(name, _NEW, 0o666, dir_fd=folder)
    except FileExistsError:
        os.unlink(name, dir_fd=folder)
        return os.open(name, _NEW, 0o666, dir_fd=folder)


def open_lock(path: Path) -> int:
    """Open the file of a lock, or make it; it is written to and removed, so a link is refused.

    Raises:
        StorageError: It is a link.
    """
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        with suppress(FileNotFoundError):
            refuse_link(str(path), path.lstat().st_mode)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; the names of new ones survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_path(folder.parent)


def sync_path(path: str | Path, *, folder: int | None = None) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk.

    Args:
        path: The file, or the folder.
        folder: Descriptor of the folder that it is relative to, in which a link is not followed.
    """
    descriptor = os.open(path, os.O_RDONLY | (0 if folder is None else os.O_NOFOLLOW), dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
