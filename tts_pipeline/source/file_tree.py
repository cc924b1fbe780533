"""List and read the files below a folder, on the local disk or in any fsspec file system."""

from __future__ import annotations

import glob
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from tts_pipeline.errors import without_passwords
from tts_pipeline.storage.location import filesystem_of, is_local, local_path

_LOST_AND_FOUND = "lost+found"
"""A folder of Linux file systems, empty and readable by root only."""


class FileTree(ABC):
    """Folders and files by their full paths, in the spelling of the disk or the driver."""

    filesystem: Any
    """An fsspec file system; None is the local disk."""
    has_folders = True

    @abstractmethod
    def is_folder(self, path: str) -> bool:
        """Return whether a path is a folder."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether a path is a file or a folder."""

    @abstractmethod
    def walk(self, root: str) -> Iterator[str]:
        """Yield the relative path of everything below a folder; folders may be missing, or end with a slash."""

    @abstractmethod
    def glob(self, root: str, pattern: str) -> Iterator[str]:
        """Yield the relative paths of the files below a folder that match a pattern, hidden files included."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return a file's bytes."""

    def display_path(self, path: str) -> str:
        """Return a path as a person would write it."""
        return path

    def join(self, root: str, name: str) -> str:
        """Return the path of a name below a folder; the empty name is the folder itself."""
        return f"{root.rstrip('/')}/{name}" if root and name else root or name

    def split(self, path: str) -> tuple[str, tuple[str, ...]]:
        """Split a glob into its leading folder and the pieces of its pattern.

        An existing folder named like a pattern (``run[1]``) is taken as a folder.
        """
        pieces = path.split("/")
        count = len(list(itertools.takewhile(lambda piece: not glob.has_magic(piece), pieces)))
        while count < len(pieces) - 1 and "*" not in pieces[count] and self.is_folder("/".join(pieces[: count + 1])):
            count += 1
            count += len(list(itertools.takewhile(lambda piece: not glob.has_magic(piece), pieces[count:])))
        count = min(count, len(pieces) - 1)
        return "/".join(pieces[:count]), tuple(pieces[count:])


class LocalTree(FileTree):
    """The local disk."""

    filesystem = None

    def is_folder(self, path: str) -> bool:
        return os.path.isdir(path)

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def walk(self, root: str) -> Iterator[str]:
        for folder, subfolders, files in os.walk(root, onerror=_refuse_unlisted, followlinks=True):
            prefix = "" if folder == root else os.path.relpath(folder, root)
            subfolders[:] = [n for n in subfolders if n != _LOST_AND_FOUND and not _is_loop(root, folder, n)]
            yield from (os.path.join(prefix, name) for name in files if not _is_special(folder, name))
            yield from (os.path.join(prefix, name, "") for name in subfolders)

    def glob(self, root: str, pattern: str) -> Iterator[str]:
        for name in glob.iglob(pattern, root_dir=root, recursive=True, include_hidden=True):
            if os.path.isfile(os.path.join(root, name)):
                yield name

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()


class FsspecTree(FileTree):
    """An fsspec file system."""

    def __init__(self, filesystem: Any) -> None:
        self.filesystem = filesystem
        protocols = filesystem.protocol
        self.has_folders = "http" not in ((protocols,) if isinstance(protocols, str) else protocols)

    def is_folder(self, path: str) -> bool:
        return bool(self.filesystem.isdir(path))

    def exists(self, path: str) -> bool:
        return bool(self.filesystem.exists(path))

    def display_path(self, path: str) -> str:
        return without_passwords(str(self.filesystem.unstrip_protocol(path)))

    def walk(self, root: str) -> Iterator[str]:
        return (_relative(path, root) for path in self.filesystem.find(root))

    def glob(self, root: str, pattern: str) -> Iterator[str]:
        matches = self.filesystem.glob(self.join(glob.escape(root), pattern), detail=True)
        return (_relative(path, root) for path, info in matches.items() if info["type"] == "file")

    def read(self, path: str) -> bytes:
        return bytes(self.filesystem.cat_file(path))


def open_tree(location: str | os.PathLike[str]) -> tuple[FileTree, str]:
    """Return the tree that holds a location, and the location's path in it.

    Raises:
        ImportError: The driver of the URL's protocol is not installed.
        ValueError: The protocol is unknown.
    """
    text = os.fspath(location)
    if is_local(text):
        return LocalTree(), str(local_path(text))
    filesystem, path = filesystem_of(location)
    return FsspecTree(filesystem), path


def _relative(path: str, root: str) -> str:
    return path.removeprefix(root).lstrip("/") if path.startswith(root) else os.path.relpath(path, root)


def is_hidden(name: str) -> bool:
    """Return whether a name is hidden for Spark and pyarrow; ``_lang=en`` is not: it is a folder of rows."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _refuse_unlisted(error: OSError) -> None:
    if not is_hidden(os.path.basename(error.filename)):
        raise error


def _is_special(folder: str, name: str) -> bool:
    """Return whether a Parquet name is no file, but a pipe or a device; a broken link fails later, when opened."""
    path = os.path.join(folder, name)
    return name.endswith(".parquet") and os.path.exists(path) and not os.path.isfile(path)


def _is_loop(root: str, folder: str, name: str) -> bool:
    """Return whether a folder is a link to a folder that contains it."""
    path = os.path.join(folder, name)
    if not os.path.islink(path):
        return False
    target, above = os.path.realpath(path), folder
    while os.path.realpath(above) != target:
        if len(above) <= len(root):
            return False
        above = os.path.dirname(above)
    return True
