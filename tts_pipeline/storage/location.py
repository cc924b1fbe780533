"""Resolve locations: local paths, ``file:`` URLs, fsspec URLs, and ``FsspecPath`` with a file system of the caller."""

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
"""``file:/x``, ``file:///x``, ``file://localhost/x`` (RFC 8089, 2017); ``file://x`` is relative, as in fsspec."""


@dataclass(frozen=True, slots=True, repr=False)
class FsspecPath(os.PathLike[str]):
    """A URL that is opened with the caller's file system, which has the credentials and the endpoint.

    It may name a source, a destination or a reuse store. A dataset remembers only its URL.

    Args:
        url: A URL such as ``s3://bucket/folder``, without a secret.
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
        ImportError: The driver of the URL's protocol is not installed.
        ValueError: The protocol is unknown.
    """
    import fsspec

    if isinstance(location, FsspecPath):
        return location.filesystem, str(location.filesystem._strip_protocol(location.url))
    filesystem, path = fsspec.core.url_to_fs(os.fspath(location))
    return filesystem, str(path)


def is_url(location: str) -> bool:
    """Return whether a location is a URL, ``file:`` URLs included; otherwise it is a path."""
    return _FILE_URL.match(location) is not None or _URL.match(location) is not None


def is_local(location: str) -> bool:
    """Return whether a location is a local path, or a ``file:`` URL."""
    return _FILE_URL.match(location) is not None or _URL.match(location) is None


def local_path(location: str | os.PathLike[str]) -> Path:
    """Return a local location as an absolute path; see ``file_path``."""
    return file_path(location).absolute()


def file_path(location: str | os.PathLike[str]) -> Path:
    """Return a local location as a path, which is relative if the location is.

    Escapes in a ``file:`` URL (``%20``) are decoded, unless a file has the escaped name.

    Raises:
        ConfigurationError: The location begins with ``~`` and no home is known, is empty, or holds a null character.
    """
    text = os.fspath(location)
    escaped = _FILE_URL.sub("", text, count=1)
    names = [escaped] if escaped == text else [escaped, unquote(escaped, errors="surrogateescape")]
    paths = [_expand_home(name) for name in names]
    # Unlike pathlib's, these two functions raise nothing for a folder without access or an unknown user.
    return next((path for path in paths if os.path.exists(path)), paths[-1])  # noqa: PTH110


def _expand_home(name: str) -> Path:
    expanded = os.path.expanduser(name)  # noqa: PTH111 (see above)
    if not name or "\0" in name:
        raise ConfigurationError(f"{name!r} is not a name of a file or a folder", hint="give one; '.' is this folder")
    if re.match(r"~(?:/|$)", expanded):
        raise ConfigurationError(f"no home is known for {name!r}", hint="set HOME, or give the whole path")
    return Path(expanded)


def check_utf8_name(name: str) -> None:
    """Check that a destination's name is UTF-8: tables contain it, and libraries accept no other name."""
    if utf8_name(name) != name:
        raise ConfigurationError(f"the name {name!r} is not UTF-8", hint="name a folder whose whole path is UTF-8")


def utf8_name(name: str) -> str:
    r"""Return a file's name as storable text: bytes that are not UTF-8 become escapes such as ``\xff``."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")
