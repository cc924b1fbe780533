"""Ogg pages: whole to the last one."""

from __future__ import annotations

import pytest

from tests.sounds import sample
from tts_pipeline.audio.ogg import PageScan, scan_pages


@pytest.mark.parametrize("name", ["ogg vorbis", "ogg opus"])
def test_a_whole_file_ends_with_its_last_page(name: str) -> None:
    """The last page says so; bytes that are no page do not matter."""
    assert scan_pages(sample(name)) == scan_pages(sample(name) + b"\0\0") == PageScan(is_cut=False, is_last=True)


def test_every_cut_shows() -> None:
    """Within a page it is cut; between two pages the last one is missing."""
    data = sample("ogg vorbis", seconds=0.2)
    for length in range(1, len(data)):
        scan = scan_pages(data[:length])
        assert scan.is_cut or not scan.is_last
