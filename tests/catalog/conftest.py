from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tts_pipeline.catalog import Catalog, load_catalog

LoadText = Callable[[str], Catalog]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The built-in catalog."""
    return load_catalog()


@pytest.fixture
def load_text(tmp_path: Path) -> LoadText:
    """Load a user's catalog from its text; the file is called mine.toml."""

    def load(content: str) -> Catalog:
        file = tmp_path / "mine.toml"
        file.write_text(content, encoding="utf-8")
        return load_catalog(file)

    return load
