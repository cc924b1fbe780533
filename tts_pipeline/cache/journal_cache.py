"""Use journals as a cache: an abandoned generation may hold audio that is not published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from tts_pipeline.cache.dataset_cache import cached_audio_of, compatible_segment_kinds, segment_kind
from tts_pipeline.config import AudioSettings
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.models import CachedAudio, UtteranceKey
from tts_pipeline.wal.journal import SUFFIX
from tts_pipeline.wal.replay import Replay, UtteranceRecord, replay_journal


class JournalCache:
    """The speech in journals that get no more records, by request key. For many threads.

    Audio that was converted to another format is left out. ``label`` begins each origin.
    """

    def __init__(self, folder: Path, descriptor: Descriptor, audio: AudioSettings, label: str) -> None:
        self.label = label
        kinds = compatible_segment_kinds(descriptor, audio)
        replays = (replay_journal(path) for path in sorted(folder.glob(f"part-*{SUFFIX}")))
        entries = _entries(replay for replay in replays if replay is not None)
        self._entries = {key: entry for key, entry in entries if segment_kind(entry.segments) in kinds}

    def may_have(self, request_key: str, take: int) -> bool:
        """Return whether the journals have the audio; see ``CacheTier``."""
        return (request_key, take) in self._entries

    def get(self, request_key: str, take: int) -> CachedAudio | None:
        """Return the audio of a request; see ``CacheTier``."""
        entry = self._entries.get((request_key, take))
        if entry is None or entry.record.audio is None:
            return None
        row = {"utterance_id": entry.utterance_id, "take": take, "audio": {"bytes": entry.record.audio.read()}}
        return cached_audio_of({**msgspec.to_builtins(entry.record.speech), **row}, self.label)


class _Entry(NamedTuple):
    utterance_id: str
    segments: int
    record: UtteranceRecord


def _entries(replays: Iterable[Replay]) -> Iterator[tuple[UtteranceKey, _Entry]]:
    for replay in replays:
        for (utterance_id, take), record in replay.utterances.items():
            if record.speech is not None:
                entry = _Entry(utterance_id, record.speech.segments, record)
                yield (record.speech.request_key, take), entry
