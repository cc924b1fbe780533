"""Use any fsspec file system as a store, in particular an object store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, cast

from tts_pipeline.errors import StorageError, without_passwords
from tts_pipeline.storage.safe_folder import check_name, create_file
from tts_pipeline.storage.scratch import scratch_folder
from tts_pipeline.storage.store import LEASES, Store, storage_errors

_OBJECT_STORES = frozenset({"s3", "gs", "abfs", "az", "oss"})
"""Protocols of object stores, which have names with slashes but no folders."""

_GLOB_CHARACTERS = frozenset("*?[")
_CONFLICTS = {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED}


class FsspecStore(Store):
    """A store in any fsspec file system. A file is uploaded whole, as the last step.

    ``url`` is for messages, which omit its password. ``staging`` is a local folder for files that are being written;
    None makes a temporary folder for each file.
    """

    def __init__(self, filesystem: Any, path: str, *, url: str, staging: Path | None = None) -> None:
        self.filesystem = filesystem
        self.path = path.rstrip("/")
        self.root = without_passwords(url.rstrip("/"))
        self.staging = staging
        protocols = filesystem.protocol
        # With a folder, a driver of an object store would make the bucket, even a misspelt or deleted bucket.
        self._has_folders = _OBJECT_STORES.isdisjoint((protocols,) if isinstance(protocols, str) else protocols)
        self._create_if_absent = {"is_known": False}  # shared with subfolders

    @property
    def has_create_if_absent(self) -> bool:
        """Whether the store is known to refuse to create an existing file: see ``probe_create_if_absent``."""
        return self._create_if_absent["is_known"]

    def probe_create_if_absent(self, name: str) -> bool:
        """Return whether the store has create-if-absent; the test on an existing file may destroy the file."""
        if _checks_then_writes(self.filesystem):
            return False
        with storage_errors(f"testing create-if-absent on {self.describe(name)}", Exception):
            try:
                self.filesystem.pipe_file(self._full_path(name), b"", mode="create")
            except Exception as error:
                self._create_if_absent["is_known"] = _is_conflict(error)
                if not self.has_create_if_absent and not _is_unsupported(error):
                    raise
        return self.has_create_if_absent

    def _full_path(self, name: str) -> str:
        check_name(name, self.root)
        return f"{self.path}/{name}" if name else self.path

    def names(self, folder: str, prefix: str = "") -> list[str]:
        with storage_errors(f"listing {self.describe(folder)}", Exception):
            try:
                self.filesystem.invalidate_cache(self._full_path(folder))
                paths = [str(path).strip("/") for path in self.filesystem.ls(self._full_path(folder), detail=False)]
            except FileNotFoundError:
                return []
        # An object store may have an object in place of a folder, with the folder's own name.
        names = {path.rsplit("/", 1)[-1] for path in paths if path != self._full_path(folder).strip("/")}
        return sorted(name for name in names if name.startswith(prefix) and not name.startswith("."))

    def sizes(self, folder: str, prefix: str = "") -> dict[str, int]:
        root = self._full_path(folder).strip("/")
        with storage_errors(f"listing {self.describe(folder)}", Exception):
            try:
                self.filesystem.invalidate_cache()
                files = self.filesystem.find(self._full_path(folder), detail=True)
            except FileNotFoundError:
                return {}
        named = {str(path).strip("/").removeprefix(f"{root}/"): facts for path, facts in files.items()}
        return {
            name: int(facts["size"] or 0)
            for name, facts in sorted(named.items())
            if name.startswith(prefix) and name != root and not f"/{name}".count("/.")
        }

    def read(self, name: str) -> bytes | None:
        return self.read_start(name, None)

    def read_start(self, name: str, size_bytes: int | None) -> bytes | None:
        """Return at most the first ``size_bytes`` of a file (None is all); None when the file does not exist."""
        byte_range = {} if size_bytes is None else {"start": 0, "end": size_bytes}
        with storage_errors(f"reading {self.describe(name)}", Exception):
            for _ in range(2):
                with suppress(FileNotFoundError):
                    return bytes(self.filesystem.cat_file(self._full_path(name), **byte_range))
                self._forget_listing(name)
        return None

    def _forget_listing(self, name: str) -> None:
        """Make the driver ask the store again: for s3fs 2026.9, a file outside its last listing does not exist."""
        self.filesystem.invalidate_cache(self._full_path(name).rsplit("/", 1)[0])

    def exists(self, name: str) -> bool:
        with storage_errors(f"looking for {self.describe(name)}", Exception):
            self._forget_listing(name)
            return bool(self.filesystem.exists(self._full_path(name)))

    def open(self, name: str) -> BinaryIO:
        with storage_errors(f"opening {self.describe(name)}", Exception):
            self._forget_listing(name)  # it also holds sizes
            # Without fsspec's cache, which would read megabytes around every few bytes.
            return cast("BinaryIO", self.filesystem.open(self._full_path(name), "rb", cache_type="none"))

    def remove(self, name: str) -> None:
        with storage_errors(f"removing {self.describe(name)}", Exception), suppress(FileNotFoundError):
            self.filesystem.rm_file(self._full_path(name))

    def create(self, name: str, data: bytes) -> bool:
        # Best effort, unless the store is known to refuse to overwrite.
        if not self.has_create_if_absent and self.exists(name):
            return False
        with self._put_errors(name):
            try:
                self.filesystem.pipe_file(self._full_path(name), data, mode="create")
            except Exception as error:
                if _is_conflict(error):
                    return False
                if not _is_unsupported(error):
                    raise
                self.filesystem.pipe_file(self._full_path(name), data)
        return True

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:  # noqa: ARG002 (a put is durable)
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
            for file in self.filesystem.find(path):  # ``rm`` would remove all matches of the path as a pattern
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
            if not (is_new and _is_conflict(error)):
                raise
            # A driver repeats a request whose answer was lost: the first request may have put the file there.
            with file.open("rb") as local, self.open(name) as remote:
                digests = [hashlib.file_digest(cast("Any", stream), "sha256").digest() for stream in (local, remote)]
            if digests[0] != digests[1]:
                raise self.conflict_error(name) from error

    def conflict_error(self, name: str) -> StorageError:
        """Return the error for a file that should be new, but that another process has put there."""
        return StorageError(
            f"another process has written {self.describe(name)} meanwhile",
            hint="run the same command again: the journals keep what was received",
        )


def _checks_then_writes(filesystem: Any) -> bool:
    """Return whether a driver checks for a file before it writes: two processes that check together both write."""
    from fsspec import AbstractFileSystem
    from fsspec.implementations.dirfs import DirFileSystem

    while isinstance(filesystem, DirFileSystem):
        filesystem = filesystem.fs
    return getattr(filesystem.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file


def _is_conflict(error: Exception) -> bool:
    """Return whether a store refused to create a file that exists (412), or that another request is creating (409).

    s3fs 2026.9 raises FileExistsError only for a 412 that names its condition, as AWS's does.
    """
    return isinstance(error, FileExistsError) or _status_of(error) in _CONFLICTS


def _is_unsupported(error: Exception) -> bool:
    """Return whether a driver (ossfs 2023.12) or a store (501: S3's NotImplemented) lacks create-if-absent."""
    is_driver = isinstance(error, TypeError | ValueError | NotImplementedError)
    return is_driver or _status_of(error) == HTTPStatus.NOT_IMPLEMENTED


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status of the botocore error that caused an error of s3fs; None without such a cause."""
    response = getattr(error.__cause__, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
