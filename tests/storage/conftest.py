"""Fixtures of object stores, one for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tts_pipeline.storage.fsspec_store import FsspecStore


@pytest.fixture
def object_store(tmp_path: Path) -> Iterator[FsspecStore]:
    """Return an object store in memory."""
    root = f"/{uuid.uuid4().hex}"
    filesystem = MemoryFileSystem()
    yield FsspecStore(filesystem, root, url=f"memory:/{root}", staging=tmp_path / "staging")
    if filesystem.exists(root):
        filesystem.rm(root, recursive=True)
