"""Hold the figures of an export."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tts_pipeline.deprecation import renamed_arguments
from tts_pipeline.exports.formats import has_audio_files
from tts_pipeline.models import HOUR_MS


@dataclass(slots=True)
class Export:
    """The figures of an export.

    Args:
        as_: The format.
        destination: The folder or URL of the export.
        rows: The number of exported utterances.
        splits: The same by split; empty if the export has no splits.
        audio_ms: The length of all exported audio.
        written: Audio files that were written; 0 for ``huggingface``, which has none.
        unchanged: Audio files that existed already and were kept.
        removed: Audio files of an earlier export that are not part of this one.
        renamed: Audio files whose name differs from the template; the index has the column ``renamed``.
        failed: Reasons by id, for the first utterances that are left out because their audio cannot be converted.
        failures: The number of all such utterances.
        parts_left: Unfinished parts of the dataset, which are left out.
        elapsed_s: The time of the export, without imports.
    """

    as_: str
    destination: str
    rows: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    audio_ms: int = 0
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    renamed: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    parts_left: int = 0
    elapsed_s: float = 0.0

    @property
    def has_files(self) -> bool:
        """Whether the export has an audio file for each utterance."""
        return has_audio_files(self.as_)

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values for JSON."""
        return {
            "as": self.as_,
            "destination": self.destination,
            "rows": self.rows,
            "splits": dict(self.splits),
            "audio_hours": round(self.audio_ms / HOUR_MS, 6),
            "written": self.written,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "renamed": self.renamed,
            "failures": self.failures,
            "failed": dict(self.failed),
            "parts_left": self.parts_left,
            "elapsed_s": round(self.elapsed_s, 3),
        }

    def add(self, split: str | None, duration_ms: int) -> None:
        """Count an utterance; the split is None if the export has no splits."""
        self.rows += 1
        self.audio_ms += duration_ms
        if split is not None:
            self.splits[split] += 1

    @renamed_arguments(why="reason")
    def fail(self, utterance_id: str, reason: str) -> None:
        """Count an utterance that is left out."""
        self.failures += 1
        if len(self.failed) < MAX_FAILURES_LISTED:
            self.failed[utterance_id] = reason


MAX_FAILURES_LISTED = 20
"""The most failures that ``Export.failed`` lists."""
