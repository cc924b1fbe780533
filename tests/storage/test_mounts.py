"""A path is on the file system whose mount is nearest above it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.machine import small_disk
from tts_pipeline.storage import mounts
from tts_pipeline.storage.mounts import file_system_of, network_file_system

_MOUNTS = r"""22 27 0:20 / /proc rw,nosuid shared:13 - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 27 0:40 / /home rw,relatime shared:20 - nfs4 server:/home rw,vers=4.2
41 40 8:2 / /home/me/local rw - xfs /dev/sdb1 rw
42 27 0:42 / /mnt/with\040blank rw master:1 propagate_from:2 - cifs //server/share rw
43 27 0:43 / /over rw - nfs server:/over rw
44 43 0:44 / /over rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "ext4"),
        ("/homes/me", "ext4"),
        ("/home", "nfs4"),
        ("/home/me/.local/state", "nfs4"),
        ("/home/me/local/account.db", "xfs"),
        ("/mnt/with blank/account.db", "cifs"),
        ("/over/account.db", "tmpfs"),
    ],
)
def test_the_nearest_mount_counts(path: str, name: str) -> None:
    """Not one whose name only begins alike; of two at one place, the later one."""
    assert file_system_of(path, _MOUNTS) == name


def test_a_network_file_system_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also through a link; a local one is not, nor is any where the system lists none."""
    (tmp_path / "mounts").write_text(f"27 1 8:1 / / rw - ext4 x rw\n40 27 0:40 / {tmp_path}/home rw - nfs4 x rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "mounts")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    assert network_file_system(tmp_path / "home" / "account.db") == "nfs4"
    assert network_file_system(tmp_path / "link" / "account.db") == "nfs4"
    assert network_file_system(tmp_path / "account.db") == ""
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "nothing")
    assert network_file_system(tmp_path / "home" / "account.db") == ""


def test_a_real_disk_is_found(tmp_path: Path) -> None:
    """In what this system lists."""
    with small_disk(tmp_path / "a disk", 100) as disk:
        listed = Path("/proc/self/mountinfo").read_text()
        assert file_system_of(str(disk.folder / "file"), listed) == "tmpfs"
