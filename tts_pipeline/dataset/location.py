"""A place together with the file system that opens it, where a URL alone does not say how."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from tts_pipeline.errors import without_passwords


@dataclass(frozen=True, slots=True, repr=False)
class Location(os.PathLike[str]):
    """A URL that is opened with a file system of the caller's: with its credentials, its endpoint.

    Stands wherever a source, a destination or a reuse store is named. What a dataset remembers of it is the URL alone.

    Args:
        url: ``s3://bucket/folder`` and the like, never a secret.
        filesystem: An fsspec file system.
    """

    url: str
    filesystem: Any = field(compare=False)

    def __repr__(self) -> str:
        return f"Location(url={str(self)!r})"

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

    if isinstance(location, Location):
        return location.filesystem, str(location.filesystem._strip_protocol(location.url))
    filesystem, path = fsspec.core.url_to_fs(os.fspath(location))
    return filesystem, str(path)
