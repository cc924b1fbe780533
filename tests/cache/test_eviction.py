"""A reuse store that stays within a size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tts_pipeline.cache.file_cache import FileCache, evict
from tts_pipeline.models import Answer, Audio, CachedAudio
from tts_pipeline.storage.local_store import LocalStore

KEYS = [f"{number:064x}" for number in (7, 3, 2**255, 1, 5)]


@pytest.fixture
def store(tmp_path: Path) -> FileCache:
    """A store of five answers, each a second younger than the one before."""
    made = FileCache(LocalStore(tmp_path))
    made.create()
    for age, key in enumerate(KEYS):
        made.put(key, 0, CachedAudio(Answer(0, Audio(bytes(1_000), "wav", 24_000, 1, 20)), "origin"))
        (path,) = tmp_path.glob(f"*/{key}.0.answer")
        os.utime(path, (1_000 + age, 1_000 + age))
    return made


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*.answer"))


@pytest.mark.parametrize("kept", range(6))
def test_the_oldest_go_until_the_rest_fits(kept: int, store: FileCache, tmp_path: Path) -> None:
    """And no more than that; the others are as they were."""
    one = _bytes(tmp_path) // len(KEYS)
    assert evict(tmp_path, one * kept + one // 2) == len(KEYS) - kept
    assert {key for key in KEYS if store.get(key, 0)} == set(KEYS[len(KEYS) - kept :])
    assert _bytes(tmp_path) == one * kept


def test_it_touches_nothing_else(store: FileCache, tmp_path: Path) -> None:
    """The store stays one, and what is no answer stays there."""
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "notes.txt").write_text("mine")
    evict(tmp_path, 0)
    assert list(store.keys()) == []
    assert (tmp_path / "reuse.json").exists()
    assert (tmp_path / "ab" / "notes.txt").exists()


def test_what_is_not_there_needs_no_room(tmp_path: Path) -> None:
    """No error."""
    assert evict(tmp_path / "none", 0) == 0
