"""Write manifests beside audio files, in the form that a toolkit reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, TextIO

import orjson

from tts_pipeline.exports.index import IndexEntry
from tts_pipeline.storage.store import Store


class Manifests(ExitStack):
    """The manifests of an export, for each split, visible only when the export is complete; use it by ``with``.

    This class writes none: it serves an export with only files and their index.

    ``has_splits`` is False if one split holds everything, so that no name needs it.
    """

    columns: ClassVar[tuple[str, ...]] = ()
    """The columns of the speech table that manifests need beyond those of the index."""

    def __init__(self, store: Store, splits: Sequence[str], *, has_splits: bool) -> None:
        super().__init__()
        self.store = store
        self.splits = splits
        self.has_splits = has_splits

    def names(self) -> Sequence[str]:
        """Return the names of the manifests."""
        return ()

    def open(self) -> None:
        """Open the manifests, inside the ``with``."""

    def add(self, split: str, entry: IndexEntry, values: Mapping[str, Any]) -> None:
        """Write an utterance, from its row of the index and its values in ``columns`` of the speech table."""


class NemoManifests(Manifests):
    """The manifest of NVIDIA NeMo, one JSON object a line: ``manifest.json``, or ``train_manifest.json``.

    Paths are relative to the manifest, which NeMo supports for paths with a folder. Words have the form of NeMo's tools
    for alignments (``scripts/speaker_tasks/create_alignment_manifest.py``, read 2026-11): ``words``, with an empty word
    for each silence, and ``alignments``, the second at which each word ends. A word that begins before the previous
    word ends is written from that end on.
    """

    columns: ClassVar[tuple[str, ...]] = ("timestamps",)

    def names(self) -> Sequence[str]:
        """Return the name of a manifest for each split."""
        return [f"{split}_manifest.json" if self.has_splits else "manifest.json" for split in self.splits]

    def open(self) -> None:
        """Open a manifest for each split."""
        self._files: dict[str, TextIO] = {}
        for split, name in zip(self.splits, self.names(), strict=True):
            path = self.enter_context(self.store.stage(name))
            self._files[split] = self.enter_context(path.open("w", encoding="utf-8"))

    def add(self, split: str, entry: IndexEntry, values: Mapping[str, Any]) -> None:
        """Write a line."""
        line = {
            "audio_filepath": entry["name"],
            "duration": seconds_of(entry),
            "text": entry["text"],
            "speaker": entry["voice"],
            "lang": entry["language"],
            "utterance_id": entry["utterance_id"],
            **_alignment(values["timestamps"], seconds_of(entry)),
        }
        fields = {name: value for name, value in line.items() if value is not None}
        self._files[split].write(orjson.dumps(fields).decode() + "\n")


def seconds_of(entry: IndexEntry) -> float:
    """Return the length of an exported file, exact if its samples were counted."""
    if entry["frames"] is None:
        return float(entry["duration_ms"]) / 1_000
    return float(entry["frames"]) / float(entry["sample_rate_hz"])


def _alignment(timestamps: Sequence[Mapping[str, Any]] | None, duration_s: float) -> dict[str, Any]:
    if timestamps is None:
        return {}
    words, ends = list[str](), list[float]()
    for word in timestamps:
        start_s, end_s = word["start_ms"] / 1_000, word["end_ms"] / 1_000
        if start_s > (ends[-1] if ends else 0):
            words.append("")
            ends.append(start_s)
        words.append(word["text"])
        ends.append(end_s)
    if duration_s > (ends[-1] if ends else 0):
        words.append("")
        ends.append(duration_s)
    return {"words": words, "alignments": ends}
