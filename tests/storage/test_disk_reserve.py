from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import small_disk
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.disk_reserve import DiskReserve

MEGABYTE = 1024 * 1024


def _free(folder: Path) -> int:
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def test_space_is_taken_and_given_back(tmp_path: Path) -> None:
    """The reserve takes the requested space in a file without a name; a second release is harmless."""
    with small_disk(tmp_path / "disk", 8_192) as disk:
        before = _free(disk.folder)
        reserve = DiskReserve(disk.folder / "journals", 4 * MEGABYTE)
        reserve.allocate()
        assert before - _free(disk.folder) >= 4 * MEGABYTE
        assert os.listdir(disk.folder / "journals") == []
        for _ in range(2):
            reserve.release()
        assert before - _free(disk.folder) < 64 * 1024


def test_with_little_room_it_is_smaller(tmp_path: Path) -> None:
    """A run can start with a little free space; without any, an error precedes the first request."""
    with small_disk(tmp_path / "disk", 1_024) as disk:
        reserve = DiskReserve(disk.folder, 4 * MEGABYTE)
        reserve.allocate()
        assert _free(disk.folder) < 800 * 1024
        reserve.release()
        (disk.folder / "film").write_bytes(bytes(_free(disk.folder) - 8_192))
        with pytest.raises(StorageError, match="is full"):
            reserve.allocate()


_HELD = """
import sys, time
from pathlib import Path
from tts_pipeline.storage.disk_reserve import DiskReserve
reserve = DiskReserve(Path(sys.argv[1]), 4 * 1024 * 1024)
reserve.allocate()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    """SIGKILL frees the space immediately, and leaves no file."""
    with small_disk(tmp_path / "disk", 8_192) as disk:
        before = _free(disk.folder)
        command = [sys.executable, "-c", _HELD, str(disk.folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            assert before - _free(disk.folder) >= 4 * MEGABYTE
            process.kill()
        assert before - _free(disk.folder) < 64 * 1024
        assert os.listdir(disk.folder) == []


_LIMITED = """
import resource, signal, sys
from pathlib import Path
from tts_pipeline.storage.disk_reserve import DiskReserve
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
reserve = DiskReserve(Path(sys.argv[1]), 4 * 1024 * 1024)
reserve.allocate()
print("begun")
"""


def test_where_space_cannot_be_set_aside_there_is_none(tmp_path: Path) -> None:
    """A run starts without a reserve if the file system cannot allocate ahead."""
    command = [sys.executable, "-c", _LIMITED, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "begun\n"
