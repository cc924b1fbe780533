"""The layers of a profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.answers import AnswerSpec
from benchmarks.profile import LAYERS, by_layer, layer_of, profile
from benchmarks.service import load_service


@pytest.mark.parametrize(
    ("thread", "module", "layer"),
    [
        ("event-loop", "asyncio/events.py", "transport"),
        ("event-loop", "wire/response.py", "reading"),
        ("asyncio.to_thread", "numpy", "sound"),
        ("event-loop", "client/synthesis.py", "limiter"),
        ("event-loop", "wal/journal.py", "journal"),
        ("journal-writer", "asyncio/events.py", "journal"),
        ("publisher", "wal/replay.py", "publishing"),
        ("event-loop", "dataset/commit.py", "publishing"),
        ("main", "http/tls.py", "start-up"),
    ],
)
def test_a_layer_is_a_thread_or_a_room(thread: str, module: str, layer: str) -> None:
    """Threads with one duty are one layer; elsewhere the module decides."""
    assert layer_of(thread, module) == layer


def test_layers_add_up() -> None:
    """Nothing is lost or counted twice."""
    costs = [("event-loop", "asyncio", 0.2), ("publisher", "pyarrow", 0.1), ("all", "other", 0.05)]
    sums = by_layer(costs)
    assert tuple(sums) == LAYERS
    assert sum(sums.values()) == pytest.approx(0.35)
    assert sums["transport"] == 0.2


@pytest.mark.slow
def test_the_harness_is_not_charged(tmp_path: Path) -> None:
    """A real run's profile has our layers, and neither the sampler nor its signals."""
    with load_service() as service:
        costs = profile(service, tmp_path, AnswerSpec("raw", 2_000, 5), rows=60, max_concurrency=8)
    assert {"event-loop", "publisher", "journal-writer"} <= {thread for thread, _, _ in costs}
    assert "the harness" not in {module for _, module, _ in costs}
