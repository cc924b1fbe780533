"""Destinations of both kinds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tts_pipeline.storage.store import Store, open_store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty destination, once in a folder and once on an fsspec file system."""
    if request.param == "local":
        yield open_store(tmp_path / "destination", tmp_path / "staging")
        return
    url = f"memory://{uuid.uuid4().hex}/destination"
    yield open_store(url, tmp_path / "staging")
    filesystem, path = fsspec.core.url_to_fs(url)
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


@pytest.fixture
def anyio_backend() -> str:
    """Coroutine tests marked with ``anyio`` (its pytest plugin comes with httpx) run on asyncio, and only there."""
    return "asyncio"
