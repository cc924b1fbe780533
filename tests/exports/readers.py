"""Exports as the toolkits read them. NeMo itself is far too large for a test: its manifest's rules are written here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TimedWords = list[tuple[str, int, int]]
"""Words with the milliseconds at which they begin and end."""


def read_nemo(manifest: Path) -> list[dict[str, Any]]:
    """Read a manifest: one JSON object a line; a relative path with a folder in it is beside the manifest."""
    items = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    for item in items:
        path = Path(item["audio_filepath"])
        assert path.is_absolute() or path.parent != Path()
        item["audio_filepath"] = manifest.parent / path
        assert isinstance(item["duration"], float)
        assert isinstance(item["text"], str)
    return items


def nemo_words(item: dict[str, Any]) -> TimedWords:
    """Read an alignment: each word begins where the one before it ends, and an empty one is silence."""
    begins = [0.0, *item["alignments"]]
    timed = zip(item["words"], begins, item["alignments"], strict=False)
    return [(word, round(begin * 1_000), round(end * 1_000)) for word, begin, end in timed if word]


def words_of(timestamps: Sequence[dict[str, Any]] | None) -> TimedWords:
    """Return the words of a speech table's row."""
    return [(word["text"], word["start_ms"], word["end_ms"]) for word in timestamps or ()]
