"""A small dataset to export."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.datasets import speech_row, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two rows."""
    return write_dataset(tmp_path / "dataset", [speech_row("a"), speech_row("b")])
