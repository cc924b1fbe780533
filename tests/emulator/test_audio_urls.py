from __future__ import annotations

from tts_pipeline.emulator.audio_urls import AudioFile, AudioStore


def test_the_oldest_audio_is_forgotten() -> None:
    """Memory stays flat: beyond the capacity the oldest goes, never the newest."""
    store = AudioStore(capacity_bytes=10)
    for name in ("a", "b", "c"):
        store.put(name, AudioFile(b"12345", "audio/wav"))
    assert [store.get(name) is not None for name in "abc"] == [False, True, True]
    store.put("big", AudioFile(b"x" * 50, "audio/wav"))
    assert [store.get(name) is not None for name in ("b", "c", "big")] == [False, False, True]
