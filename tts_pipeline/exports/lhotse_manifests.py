"""Write manifests for lhotse, built from its own types: recordings, supervisions with alignments, cuts.

lhotse 1.33 always imports PyTorch, so that this module is imported only for an export as ``lhotse``.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lhotse import AudioSource, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from tts_pipeline.exports.file_names import mark_of
from tts_pipeline.exports.index import IndexEntry
from tts_pipeline.exports.manifests import Manifests, seconds_of
from tts_pipeline.storage.location import is_local

KINDS = ("recordings", "supervisions", "cuts")
PREFIX = "speech"
"""Names follow lhotse's own recipes: ``speech_cuts_train.jsonl.gz``."""


class LhotseManifests(Manifests):
    """Three manifests for each split: ``speech_recordings_train.jsonl.gz`` and so on."""

    columns: ClassVar[tuple[str, ...]] = ("timestamps",)

    def names(self) -> Sequence[str]:
        """Return the names of three manifests for each split."""
        return [self._name(kind, split) for split in self.splits for kind in KINDS]

    def _name(self, kind: str, split: str) -> str:
        return f"{PREFIX}_{kind}_{split if self.has_splits else 'all'}.jsonl.gz"

    def open(self) -> None:
        """Open three manifests for each split."""
        self._files: dict[tuple[str, str], gzip.GzipFile] = {}
        for split in self.splits:
            for kind in KINDS:
                path = self.enter_context(self.store.stage(self._name(kind, split)))
                raw = self.enter_context(path.open("wb"))
                # No name and no time in the header, so that the same rows give the same bytes.
                self._files[kind, split] = self.enter_context(gzip.GzipFile("", "wb", 6, raw, mtime=0))

    def add(self, split: str, entry: IndexEntry, values: Mapping[str, Any]) -> None:
        """Write a recording, its supervision, and a cut of both."""
        recording = _recording(entry)
        supervision = _supervision(entry, recording, values["timestamps"])
        cut = recording.to_cut()
        cut.supervisions = [supervision]
        for kind, item in zip(KINDS, (recording, supervision, cut), strict=True):
            line = json.dumps(item.to_dict(), ensure_ascii=False) + "\n"
            self._files[kind, split].write(line.encode())


def _recording(entry: IndexEntry) -> Recording:
    channels, rate_hz = list(range(entry["channels"])), entry["sample_rate_hz"]
    source = AudioSource("file" if is_local(entry["uri"]) else "url", channels, entry["uri"])
    duration_s = seconds_of(entry)
    return Recording(
        id=entry["utterance_id"] + (mark_of(entry["utterance_id"], entry["take"]) if entry["take"] else ""),
        sources=[source],
        sampling_rate=rate_hz,
        num_samples=entry["frames"] or round(duration_s * rate_hz),
        duration=duration_s,
        channel_ids=channels,
    )


def _supervision(
    entry: IndexEntry, recording: Recording, timestamps: Sequence[Mapping[str, Any]] | None
) -> SupervisionSegment:
    return SupervisionSegment(
        id=recording.id,
        recording_id=recording.id,
        start=0.0,
        duration=recording.duration,
        channel=0 if recording.num_channels == 1 else recording.channel_ids,
        text=entry["text"],
        language=entry["language"],
        speaker=entry["voice"],
        alignment=None if timestamps is None else {"word": [_item(word) for word in timestamps]},
    )


def _item(word: Mapping[str, Any]) -> AlignmentItem:
    return AlignmentItem(word["text"], word["start_ms"] / 1_000, (word["end_ms"] - word["start_ms"]) / 1_000)
