"""A path with its fsspec file system, where a URL alone does not say how to open it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tts_pipeline.errors import ConfigurationError, without_passwords

_URL = re.compile(r"[^/]+://")
_FILE_URL = re.compile(r"file:(?://(?:localhost(?=/))?|(?=[/~]))", re.IGNORECASE)
"""``file:/x``, ``file:///x``, ``file://localhost/x`` (RFC 8089, 2017); ``file://x`` is relative, as fsspec has it."""


@dataclass(frozen=True, slots=True, repr=False)
class FsspecPath(os.PathLike[str]):
    """A URL that is opened with a file system of the caller's: with its credentials, its endpoint.

    Stands wherever a source, a destination or a reuse store is named. What a dataset remembers of it is the URL alone.

    Args:
        url: ``s3://bucket/folder`` and the like, never a secret.
        filesystem: An fsspec file system.
    """

    url: str
    filesystem: Any = field(compare=False)

    def __repr__(self) -> str:
        return f"FsspecPath(url={str(self)!r})"

    def __str__(self) -> str:
        return without_passwords(self.url)

    def __fspath__(self) -> str:
        return self.url


def filesystem_of(location: str | os.PathLike[str]) -> tuple[Any, str]:
    """Return the fsspec file system that opens a URL, and the path within it.

    Raises:
        ImportError: The driver of that kind is not installed.
        ValueError: There is no such kind.
    """
    import fsspec

    if isinstance(location, FsspecPath):
        return location.filesystem, str(location.filesystem._strip_protocol(location.url))
    filesystem, path = fsspec.core.url_to_fs(os.fspath(location))
    return filesystem, str(path)


def is_url(location: str) -> bool:
    """Return whether a location is a URL, also one of the local disk; else it is a path."""
    return _FILE_URL.match(location) is not None or _URL.match(location) is not None


def is_local(location: str) -> bool:
    """Return whether a location is a local path, or a ``file:`` URL."""
    return _FILE_URL.match(location) is not None or _URL.match(location) is None


def local_path(location: str | os.PathLike[str]) -> Path:
    """Return a local location as an absolute path; see ``file_path``."""
    return file_path(location).absolute()


def file_path(location: str | os.PathLike[str]) -> Path:
    """Return a local location as a path, which is relative where the location is.

    What is escaped in a ``file:`` URL (``%20``) is decoded, unless what is there is called so, percent sign and all.

    Raises:
        ConfigurationError: It begins with ``~`` and no home is known, is empty, or holds a null character.
    """
    text = os.fspath(location)
    escaped = _FILE_URL.sub("", text, count=1)
    names = [escaped] if escaped == text else [escaped, unquote(escaped, errors="surrogateescape")]
    paths = [_expand_home(name) for name in names]
    # Unlike those of pathlib, these two raise nothing: where a folder may not be searched, or a user is not known.
    return next((path for path in paths if os.path.exists(path)), paths[-1])  # noqa: PTH110


def _expand_home(name: str) -> Path:
    expanded = os.path.expanduser(name)  # noqa: PTH111 (see above)
    if not name or "\0" in name:
        raise ConfigurationError(f"{name!r} is no name of a file or a folder", hint="name one; '.' is this folder")
    if re.match(r"~(?:/|$)", expanded):
        raise ConfigurationError(f"no home is known for {name!r}", hint="set HOME, or give the whole path")
    return Path(expanded)


def check_utf8_name(name: str) -> None:
    """Make sure that a destination's name is text: it is written into tables, and libraries take no other name."""
    if utf8_name(name) != name:
        raise ConfigurationError(f"the name {name!r} is not UTF-8", hint="name a folder that is, by its whole path")


def utf8_name(name: str) -> str:
    r"""Return a file's name as text that can be stored: bytes that are not UTF-8 are written as ``\xff``."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")
