"""The way of a row from the queue to the wire to the journal stays as short as CONTRIBUTING says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.service import load_service
from benchmarks.way import measure


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """The figures of one row, each with its maximum."""
    with load_service() as service:
        return measure(service, Path(tmp_path_factory.mktemp("way"))).figures()


def test_the_way_is_short(figures: dict[str, tuple[int, int]]) -> None:
    """Each figure is counted, and none is above its maximum."""
    assert all(0 < figure <= maximum for figure, maximum in figures.values()), figures
