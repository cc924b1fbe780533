"""What calls leave on the machine, and what goes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import platformdirs
import pytest

import tts_pipeline as tts
from tests.builders import call_arguments, line_frame
from tests.frames.speak_and_die import __file__ as SCRIPT  # noqa: N812
from tests.machine import patience, small_disk
from tts_pipeline.cache.file_cache import FileCache
from tts_pipeline.dataset.claims import Claim, claim_name, claim_names, write_claim
from tts_pipeline.dataset.usage_files import usage_name
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import StoppedError
from tts_pipeline.frames import call_store
from tts_pipeline.frames.call_store import ABANDONED_S, CallDirectory, CallStore
from tts_pipeline.job import CancelToken
from tts_pipeline.storage.local_store import LocalStore


@pytest.fixture(autouse=True)
def _tidy_after_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_store, "TIDY_EVERY_S", 0.0)


def _calls(folder: Path) -> list[Path]:
    """Return the folders: a call's lock file goes a moment after its folder, when another thread has closed it."""
    return list((folder / "frames" / "calls").glob("*/"))


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
        assert tts.usage_of(spoken, work_dir=folder).height == 5
        assert _calls(folder) == []
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
    CallStore.at(tmp_path).close_finished_calls()
    assert len(_calls(tmp_path)) == 2
    long_ago = time.time() - ABANDONED_S - 60
    for path in _calls(tmp_path):
        os.utime(path, (long_ago, long_ago))
    tts.synthesize(line_frame(1), voice="Cherry", **call_arguments(tone_service, tmp_path))
    assert tts.usage_of(work_dir=tmp_path).height >= spent.height
    assert _calls(tmp_path) == []


def test_a_finished_call_is_stripped_to_its_usage(tone_service: LocalService, tmp_path: Path) -> None:
    """Behind its caller, or by whoever asks for the bill."""
    tts.synthesize(line_frame(1), voice="Cherry", **call_arguments(tone_service, tmp_path))
    CallStore.at(tmp_path).close_finished_calls()
    (finished,) = (tmp_path / "frames" / "usage").iterdir()
    assert {path.name for path in finished.iterdir()} == {"dataset.json", "usage"}
    assert _calls(tmp_path) == []


def test_a_finished_call_is_closed_once(tone_service: LocalService, tmp_path: Path) -> None:
    """However many ask for the bill while it is closed; each sees the whole bill."""
    for number in range(1, 6):
        tts.synthesize(line_frame(number), voice="Cherry", **call_arguments(tone_service, tmp_path))
        with ThreadPoolExecutor(4) as askers:
            bills = list(askers.map(lambda _: tts.usage_of(work_dir=tmp_path), range(4)))
        assert [bill.filter(outcome="succeeded").height for bill in bills] == [number] * 4
    assert len(list((tmp_path / "frames" / "usage").iterdir())) == 5


def test_a_calls_folder_is_on_the_disk_before_its_first_request(
    tone_service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name, too: else a power cut could take the journal of a charge with it."""
    fsync, synced = os.fsync, set[tuple[int, int]]()

    def record(fd: int) -> None:
        synced.add((os.fstat(fd).st_ino, tone_service.bill()["received"]))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", record)
    tts.synthesize(line_frame(1), voice="Cherry", **call_arguments(tone_service, tmp_path))
    root = tmp_path / "frames"
    assert {(path.stat().st_ino, 0) for path in (root, root / "calls")} <= synced


def test_a_call_that_is_closed_between_two_looks_is_seen(tmp_path: Path) -> None:
    """At its next place, and at the one after that."""
    store = CallStore(tmp_path)
    for name in ("first", "second", "third"):
        claim = Claim(name, "i", 1, 500, Decimal("0.04"), "CNY", "local", "m", None)
        write_claim(LocalStore(tmp_path / "calls" / name / "dataset"), 0, claim)
    looks = store.open_datasets()
    assert claim_names(next(looks), 0) == [claim_name(0, "first")]
    store.finish_call(CallDirectory(tmp_path / "calls" / "second"))
    seen = [name for dataset in looks for name in claim_names(dataset, 0)]
    assert seen == [claim_name(0, "third"), claim_name(0, "second")]
    store.close_finished_calls()
    assert [path.name for path in store.usage_files()] == [Path(usage_name(0, "second")).name]


def test_a_finished_call_of_a_process_that_was_killed_is_closed_later(
    tone_service: LocalService, tmp_path: Path
) -> None:
    """Killed between the call's return and its closing: by a later call, with the tags of its rows."""
    done = _speak_and_die(tone_service, tmp_path, "text")
    assert not list((tmp_path / "frames").glob("usage/*"))
    os.utime(done, (1_000, 1_000))
    CallStore.at(tmp_path).tidy()
    assert _calls(tmp_path) == []
    bill = tts.usage_of(work_dir=tmp_path)
    assert bill["outcome"].to_list() == ["succeeded"] * 2
    tags = sorted(map(str, bill["tags"]))
    assert ["Line 0." in tags[0], "Line 1." in tags[1]] == [True, True]


def _speak_and_die(service: LocalService, folder: Path, *tags: str) -> Path:
    """Kill a process right after its call has returned; return the folder of the call."""
    command = [sys.executable, "-m", "tests.frames.speak_and_die", service.url, str(folder), *tags]
    process = subprocess.run(command, cwd=Path(SCRIPT).parents[2], timeout=patience(60), check=False)
    assert process.returncode == -signal.SIGKILL
    (done,) = (folder / "frames" / "calls").glob("*/")
    return done


def test_a_finished_call_whose_holder_stands_still_is_on_the_bill(
    tone_service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its claim: the bill is not waited for without end."""
    monkeypatch.setattr(call_store, "CLOSE_TIMEOUT_S", 0.05)
    done = _speak_and_die(tone_service, tmp_path)
    with CallDirectory(done).lock():
        bill = tts.usage_of(work_dir=tmp_path)
    charged = tone_service.bill()["characters"]
    assert (bill["outcome"].to_list(), bill["characters_upper_bound"].sum() >= charged) == (["unknown"], True)
    assert tts.usage_of(work_dir=tmp_path)["characters_billed"].sum() == charged


def test_a_bill_is_read_from_a_full_disk(
    tone_service: LocalService, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A finished call that cannot be closed is there at its claim, and a warning says so; with room, it is exact."""
    with small_disk(tmp_path / "disk", 4_096) as disk:
        _speak_and_die(tone_service, disk.folder)
        with suppress(OSError), (disk.folder / "film").open("wb", buffering=0) as film:
            while film.write(bytes(1_000)):
                pass
        charged = tone_service.bill()["characters"]
        assert tts.usage_of(work_dir=disk.folder)["characters_upper_bound"].sum() >= charged
        assert "stays in its journal" in caplog.text
        (disk.folder / "film").unlink()
        assert tts.usage_of(work_dir=disk.folder)["characters_billed"].sum() == charged


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
