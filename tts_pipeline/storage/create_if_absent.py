"""How object stores' drivers report that a file to be created exists already."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

_CONFLICTS = {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED}


def checks_then_writes(filesystem: Any) -> bool:
    """Return whether a driver looks for a file first and writes it then: of two that look at one time both write."""
    from fsspec import AbstractFileSystem
    from fsspec.implementations.dirfs import DirFileSystem

    while isinstance(filesystem, DirFileSystem):
        filesystem = filesystem.fs
    return getattr(filesystem.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file


def is_conflict(error: Exception) -> bool:
    """Return whether a store refused to create what is there (412), or what another one creates at that instant (409).

    s3fs 2026.9 raises FileExistsError only for a 412 that names its condition, as AWS's does.
    """
    return isinstance(error, FileExistsError) or _status_of(error) in _CONFLICTS


def is_unsupported(error: Exception) -> bool:
    """Return whether a driver (ossfs 2023.12) or a store (501: S3's NotImplemented) has no create-if-absent."""
    is_driver = isinstance(error, TypeError | ValueError | NotImplementedError)
    return is_driver or _status_of(error) == HTTPStatus.NOT_IMPLEMENTED


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status that one of botocore's errors tells of, from which an error of s3fs is raised."""
    response = getattr(error.__cause__, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
