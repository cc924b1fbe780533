"""Tests of stores that fsspec opens."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.fsspec_store import FsspecStore


class _Raced(FsspecStore):
    """An object store where another process creates the file just after our check."""

    def exists(self, name: str) -> bool:
        return False


def test_an_object_store_is_asked_not_to_replace(tmp_path: Path) -> None:
    """A check before the write is not enough: the store itself refuses the second write."""
    path = f"/{uuid.uuid4().hex}"
    store = _Raced(MemoryFileSystem(), path, url=f"memory:/{path}", staging=tmp_path)
    assert store.create("dataset.json", b"first")
    assert not store.create("dataset.json", b"second")
    assert store.read("dataset.json") == b"first"
    store.remove_folder("")


class _MoodyFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store whose driver raises its own exceptions, as cloud drivers do."""

    cachable = False

    class ExpiredTokenError(Exception):
        """An exception that is no OSError."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise self.ExpiredTokenError("the token has expired")

    ls = cat_file = rm_file = put_file = pipe_file = _refuse


def test_whatever_a_driver_raises_is_a_storage_error(tmp_path: Path) -> None:
    """A driver's own exception is translated once, into an error that names the action."""
    store = FsspecStore(_MoodyFileSystem(), "/x", url="cloud://x", staging=tmp_path)
    doings: list[tuple[str, Callable[[], object]]] = [
        ("listing", lambda: store.names("done")),
        ("reading", lambda: store.read("done/x")),
        ("removing", lambda: store.remove("done/x")),
        ("writing", lambda: store.write("done/x", b"")),
        ("writing", lambda: store.create("done/x", b"")),
    ]
    for doing, call in doings:
        with pytest.raises(StorageError, match=f"{doing} cloud://x/done.*expired"):
            call()
    with pytest.raises(StorageError, match=r"writing cloud://x/done/x.*expired"), store.stage("done/x") as path:
        path.write_bytes(b"")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_name_is_a_pattern_is_removed_alone(tmp_path: Path) -> None:
    """Drivers of object stores expand a star to its matches; only the folder of this very name is removed."""
    files = MemoryFileSystem()
    root = f"/{uuid.uuid4()}"
    for name in ("a*", "ab"):
        FsspecStore(files, f"{root}/{name}", url="memory://", staging=tmp_path).write("old/x", b"x")
    FsspecStore(files, f"{root}/a*", url="memory://", staging=tmp_path).remove_folder("old")
    assert files.find(root) == [f"{root}/ab/old/x"]
