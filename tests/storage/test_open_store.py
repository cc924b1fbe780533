"""Tests of the store that a path or a URL opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.open_store import open_store


@pytest.mark.parametrize("url", ["nosuch://bucket/out", "nosuch2+x://out"])
def test_an_unknown_kind_of_destination_is_refused_with_a_way_out(tmp_path: Path, url: str) -> None:
    """A URL without an installed driver is a ConfigurationError that names what to install."""
    with pytest.raises(ConfigurationError, match="cannot open the destination") as exc_info:
        open_store(url, tmp_path)
    assert "driver" in (exc_info.value.hint or "")
