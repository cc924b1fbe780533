"""A destination on an object store, and a job that is ready to run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from tests.builders import prepare_lines
from tts_pipeline.job.prepared_job import PreparedJob


@pytest.fixture
def remote() -> Iterator[str]:
    """A destination on an object store."""
    url = f"memory://{uuid.uuid4().hex}/out"
    yield url
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.rm(path, recursive=True)


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedJob:
    """A job of 20 rows in four parts."""
    return prepare_lines(tmp_path)
