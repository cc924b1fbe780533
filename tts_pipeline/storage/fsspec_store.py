"""Any file system that fsspec knows as a store, in particular object stores."""

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
"""Protocols of object stores: they have names with slashes, and no folders."""

_GLOB_CHARACTERS = frozenset("*?[")
_CONFLICTS = {HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED}


class FsspecStore(Store):
    """Any file system that fsspec knows. A file is put whole, as the last act.

    The URL is for messages, without a password. ``staging`` is a local folder for files that are being written; None
    is a temporary one for each of them.
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
        if _checks_then_writes(self.filesystem):
            return False
        with storage_errors(f"trying {self.describe(name)}", Exception):
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
            for _ in range(2):
                with suppress(FileNotFoundError):
                    return bytes(self.filesystem.cat_file(self._full_path(name), **part))
                self._forget_listing(name)
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
                if _is_conflict(error):
                    return False
                if not _is_unsupported(error):
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
            if not (is_new and _is_conflict(error)):
                raise
            # Of a request that is sent again because its answer was lost, the first one may have put it there.
            with file.open("rb") as ours, self.open(name) as theirs:
                digests = [hashlib.file_digest(cast("Any", stream), "sha256").digest() for stream in (ours, theirs)]
            if digests[0] != digests[1]:
                raise self.conflict_error(name) from error

    def conflict_error(self, name: str) -> StorageError:
        """Return the error that a file which was to be new is another process's."""
        return StorageError(
            f"another process has put {self.describe(name)} there meanwhile",
            hint="run the same command again: what was received is kept in the journals",
        )


def _checks_then_writes(filesystem: Any) -> bool:
    """Return whether a driver looks for a file first and writes it then: of two that look at one time both write."""
    from fsspec import AbstractFileSystem
    from fsspec.implementations.dirfs import DirFileSystem

    while isinstance(filesystem, DirFileSystem):
        filesystem = filesystem.fs
    return getattr(filesystem.pipe_file, "__func__", None) is AbstractFileSystem.pipe_file


def _is_conflict(error: Exception) -> bool:
    """Return whether a store refused to create what is there (412), or what another one creates at that instant (409).

    s3fs 2026.9 raises FileExistsError only for a 412 that names its condition, as AWS's does.
    """
    return isinstance(error, FileExistsError) or _status_of(error) in _CONFLICTS


def _is_unsupported(error: Exception) -> bool:
    """Return whether a driver (ossfs 2023.12) or a store (501: S3's NotImplemented) has no create-if-absent."""
    is_driver = isinstance(error, TypeError | ValueError | NotImplementedError)
    return is_driver or _status_of(error) == HTTPStatus.NOT_IMPLEMENTED


def _status_of(error: Exception) -> int | None:
    """Return the HTTP status that one of botocore's errors tells of, from which an error of s3fs is raised."""
    response = getattr(error.__cause__, "response", None)
    return response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
