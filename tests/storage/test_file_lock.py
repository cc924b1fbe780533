"""Tests of locks on one machine: one process holds a lock, until it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.file_lock import FileLock

_HOLD = """
import sys
from pathlib import Path
from tts_pipeline.storage.file_lock import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def _held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_process_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """The error names the part and the process, and the next step."""
    path = tmp_path / "part-00007.lock"
    with _held_elsewhere(path) as other, pytest.raises(StorageError) as exc_info:
        FileLock(path).__enter__()
    assert f"process {other.pid}" in exc_info.value.message
    assert "part-00007" in exc_info.value.message
    assert exc_info.value.hint


def test_a_lock_is_free_the_instant_its_owner_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the owner frees the lock, without a timeout or a stale file."""
    path = tmp_path / "part-00007.lock"
    with _held_elsewhere(path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert path.exists()
        with FileLock(path):
            pass
    assert not path.exists()


def test_a_lock_is_free_after_its_owner_let_it_go(tmp_path: Path) -> None:
    """The end of ``with``, also by an exception, releases the lock and removes its file."""
    path = tmp_path / "locks" / "part-00007.lock"
    with pytest.raises(ZeroDivisionError), FileLock(path):
        raise ZeroDivisionError
    with FileLock(path), pytest.raises(StorageError):
        FileLock(path).__enter__()
    assert os.listdir(path.parent) == []


def test_of_many_at_once_exactly_one_has_it_at_any_time(tmp_path: Path) -> None:
    """Acquire and release, which removes the file, race with others: the lock never has two owners."""
    path = tmp_path / "part-00000.lock"
    owners: list[int] = []
    most: list[int] = []
    start = threading.Barrier(4)

    def contend() -> None:
        start.wait()
        won = 0
        while won < 40:
            try:
                with FileLock(path):
                    owners.append(1)
                    most.append(len(owners))
                    owners.pop()
                    won += 1
            except StorageError:
                continue

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


class _RacedLock(FileLock):
    """A lock whose file the last owner removes just after we locked it."""

    races = 0

    def _is_current(self, descriptor: int) -> bool:
        if self.races == 0:
            self.races += 1
            self.path.unlink()
        return super()._is_current(descriptor)


def test_a_lock_on_a_removed_file_is_not_held(tmp_path: Path) -> None:
    """A process that locked a removed file tries again, so that no other process gets in by a new file."""
    path = tmp_path / "part-00000.lock"
    with _RacedLock(path) as lock:
        assert lock.races == 1
        with pytest.raises(StorageError):
            FileLock(path).__enter__()


def test_a_lock_where_no_file_can_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """The error names the lock."""
    (tmp_path / "locks").write_bytes(b"")
    with pytest.raises(StorageError, match="locking"):
        FileLock(tmp_path / "locks" / "part-00000.lock").__enter__()


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """The target is neither emptied nor removed; the link stays for a person to inspect."""
    (tmp_path / "theirs").write_bytes(b"theirs")
    lock = tmp_path / "part-00000.lock"
    for target in ("theirs", "nothing"):
        lock.symlink_to(tmp_path / target)
        with pytest.raises(StorageError, match=r"part-00000\.lock is a link"), FileLock(lock):
            pass
        lock.unlink()
    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert not (tmp_path / "nothing").exists()
