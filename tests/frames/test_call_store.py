"""What calls leave on the machine, and what goes."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import platformdirs
import pytest

import tts_pipeline as tts
from tests.builders import call_arguments, line_frame
from tests.machine import patience
from tts_pipeline.cache.file_cache import FileCache
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StoppedError
from tts_pipeline.frames import call_store
from tts_pipeline.frames.call_store import ABANDONED_S, CallStore
from tts_pipeline.job import CancelToken
from tts_pipeline.storage.local_store import LocalStore


@pytest.fixture(autouse=True)
def _tidy_after_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_store, "TIDY_EVERY_S", 0.0)


def _calls(folder: Path) -> list[Path]:
    return list((folder / "frames" / "calls").iterdir())


def test_it_is_in_the_users_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unless a folder is named; nobody else may look into it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert CallStore.at().root == Path(platformdirs.user_state_dir("tts-pipeline")) / "frames"
    assert CallStore.at().file_cache_dir().is_relative_to(tmp_path)
    assert stat.S_IMODE(CallStore.at().root.stat().st_mode) == 0o700


def test_a_call_that_ended_leaves_its_bill_and_its_answers(tone_service: LocalService, tmp_path: Path) -> None:
    """And nothing to go on with, also without a cache, where it leaves no answers."""
    for cache, count in ((True, 5), (False, 0)):
        folder = tmp_path / str(count)
        spoken = tts.synthesize(line_frame(5), voice="Cherry", cache=cache, **call_arguments(tone_service, folder))
        assert _calls(folder) == []
        assert tts.usage_of(spoken, work_dir=folder).height == 5
        answers = list(FileCache(LocalStore(folder / "frames" / "answers")).keys())
        assert len(answers) == count


def test_a_call_that_was_stopped_is_found_again(tmp_path: Path) -> None:
    """By the hash of its rows and of what determines the result."""
    store = CallStore(tmp_path)
    with store.open_call("hash") as call:
        (call.path / "journal").touch()
    with store.open_call("hash") as again:
        assert (again.path / "journal").exists()
    with store.open_call("other hash") as other:
        assert call.path != other.path


def test_the_same_call_at_the_same_time_is_made_apart(tmp_path: Path) -> None:
    """And leaves nothing to go on with."""
    store = CallStore(tmp_path)
    with store.open_call("hash") as call, store.open_call("hash") as beside:
        assert call.path != beside.path
    assert not beside.path.exists()
    assert call.path.exists()


def test_an_abandoned_call_is_given_up(tone_service: LocalService, tmp_path: Path) -> None:
    """After 30 days; what it has spent stays on the bill. One that nobody can go on with goes at once."""
    stop = CancelToken()
    stop.set()
    with pytest.raises(StoppedError):
        tts.synthesize(line_frame(5), voice="Cherry", stop=stop, **call_arguments(tone_service, tmp_path))
    capped = call_arguments(tone_service, tmp_path, budget=tts.BudgetCap(max_characters=20))
    with pytest.raises(StoppedError):
        tts.synthesize(line_frame(7), voice="Cherry", **capped)
    spent = tts.usage_of(work_dir=tmp_path)
    assert spent.height > 0
    (tmp_path / "frames" / "calls" / "once-killed").mkdir()
    tts.synthesize(line_frame(1), voice="Cherry", **call_arguments(tone_service, tmp_path))
    assert len(_calls(tmp_path)) == 2
    long_ago = time.time() - ABANDONED_S - 60
    for path in _calls(tmp_path):
        os.utime(path, (long_ago, long_ago))
    tts.synthesize(line_frame(1), voice="Cherry", **call_arguments(tone_service, tmp_path))
    assert _calls(tmp_path) == []
    assert tts.usage_of(work_dir=tmp_path).height >= spent.height


def test_a_finished_call_is_stripped_to_its_usage(tone_service: LocalService, tmp_path: Path) -> None:
    """Beside the caller; what a process left behind when it ended, a later call removes."""
    folder = tmp_path / "frames" / "usage"
    tts.synthesize(line_frame(1), voice="Cherry", **call_arguments(tone_service, tmp_path))
    for thread in threading.enumerate():
        if thread.name == "call-remover":
            thread.join(patience(60))
    (finished,) = folder.iterdir()
    assert {path.name for path in finished.iterdir()} == {"dataset.json", "usage"}
    recent, killed = finished / ".work", folder / "killed" / ".work"
    for leftover in (recent, killed):
        leftover.mkdir(parents=True)
    os.utime(killed, (0, 0))
    tts.synthesize(line_frame(2), voice="Cherry", **call_arguments(tone_service, tmp_path))
    assert (recent.exists(), killed.exists()) == (True, False)


def test_a_process_tidies_its_store_now_and_then(
    tone_service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its first call, and not after each."""
    monkeypatch.setattr(call_store, "TIDY_EVERY_S", patience(600))
    monkeypatch.setattr(call_store, "CACHE_BYTES", 0)
    cache = FileCache(LocalStore(tmp_path / "frames" / "answers"))
    for count in (0, 1):
        tts.synthesize(line_frame(count + 1), voice="Cherry", **call_arguments(tone_service, tmp_path))
        assert len(list(cache.keys())) == 2 * count


def test_audio_is_kept_up_to_a_size(
    tone_service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest goes first; what is gone is bought again."""
    arguments = call_arguments(tone_service, tmp_path)
    tts.synthesize(line_frame(5), voice="Cherry", **arguments)
    folder = CallStore.at(tmp_path).file_cache_dir()
    monkeypatch.setattr(call_store, "CACHE_BYTES", sum(path.stat().st_size for path in folder.glob("*/*.answer")))
    tts.synthesize(line_frame(7), voice="Cherry", **arguments)
    size_bytes = sum(path.stat().st_size for path in folder.glob("*/*.answer"))
    assert 0 < size_bytes <= call_store.CACHE_BYTES
    before = tone_service.bill()["received"]
    tts.synthesize(line_frame(7), voice="Cherry", **arguments)
    assert before < tone_service.bill()["received"] <= before + 5
