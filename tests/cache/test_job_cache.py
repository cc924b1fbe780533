from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import pytest

from tests.builders import cached_audio
from tts_pipeline.cache import job_cache as keeping
from tts_pipeline.cache.job_cache import JobCache
from tts_pipeline.storage.local_store import remove_folder


def _key(number: int) -> str:
    return hashlib.sha256(bytes([number])).hexdigest()


def test_it_knows_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows the answers from before it was opened, and any number of later ones."""
    monkeypatch.setattr(keeping, "_MAX_NEW_HASHES", 3)
    first = JobCache(tmp_path / "kept")
    for number in range(5):
        first.put(_key(number), number, cached_audio())
    again = JobCache(tmp_path / "kept")
    for number in range(5, 15):
        again.put(_key(number), number, cached_audio())
        again.note_put(_key(number), number)
    assert all(again.may_have(_key(number), number) for number in range(15))
    assert not any(again.may_have(_key(number), number + 1) for number in range(15))
    assert not again.may_have(_key(99), 0)
    assert again.get(_key(12), 12) == cached_audio()


def test_its_folder_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    """The folder holds texts and voices. ``is_new`` says whether this machine has worked on the job before."""
    answers = JobCache(tmp_path / "work" / "kept")
    assert answers.is_new
    assert not (tmp_path / "work").exists()
    answers.create()
    assert stat.S_IMODE((tmp_path / "work" / "kept").stat().st_mode) == 0o700
    assert not JobCache(tmp_path / "work" / "kept").is_new


def test_removing_it_leaves_nothing(tmp_path: Path) -> None:
    """A folder that never existed is no error."""
    JobCache(tmp_path / "kept").put(_key(1), 0, cached_audio())
    for _ in range(2):
        remove_folder(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []
