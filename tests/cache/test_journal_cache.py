from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.builders import descriptor_of
from tests.datasets import Bench
from tts_pipeline.cache.journal_cache import JournalCache
from tts_pipeline.config import AudioSettings
from tts_pipeline.emulator.tone import tone
from tts_pipeline.storage.local_store import LocalStore

JOB = {"audio_format": "as-received", "sample_rate_hz": None, "pause_ms": 300}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Return four rows in an abandoned journal: two are speech, one is rejected, one was not started."""
    bench = Bench.of(tmp_path, LocalStore(tmp_path / "out"))

    async def work() -> None:
        async with bench.part() as part:
            await bench.say(part, part.todo[0])
            await bench.say(part, part.todo[1], segments=2)
            await bench.refuse(part, part.todo[2])

    asyncio.run(work())
    return bench


def _cache(bench: Bench, audio: AudioSettings = AudioSettings(), **job: Any) -> JournalCache:
    descriptor = descriptor_of(4, 500, {**JOB, **job})
    return JournalCache(bench.journals, descriptor, audio, "generation 1")


def _key(number: int) -> str:
    return hashlib.sha256(f"Line {number}.".encode()).hexdigest()


def test_speech_is_found_by_what_was_asked_for(bench: Bench) -> None:
    """Audio returns byte for byte, with its origin; other rows and other takes are not found."""
    cache = _cache(bench)
    hit = cache.get(_key(0), 0)
    assert hit is not None
    assert hit.answer.audio.data == tone("Line 0.", tone_bytes=400)
    assert (hit.origin, hit.segments, hit.answer.usage.characters_reported) == ("generation 1#r0", 1, 7)
    assert hit.answer.words is not None
    assert [cache.may_have(_key(number), 0) for number in range(4)] == [True, True, False, False]
    assert cache.get(_key(2), 0) is cache.get(_key(0), 1) is None


def test_audio_that_does_not_fit_is_left_out(bench: Bench) -> None:
    """After a conversion to another format no audio is used; with other pauses, no joined audio."""
    assert not _cache(bench, audio_format="flac").may_have(_key(0), 0)
    assert _cache(bench, AudioSettings("flac"), audio_format="flac").may_have(_key(0), 0)
    other_pause = _cache(bench, AudioSettings(pause_ms=100))
    assert [other_pause.may_have(_key(number), 0) for number in range(2)] == [True, False]
