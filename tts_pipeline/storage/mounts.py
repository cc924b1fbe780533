"""Tell on which kind of file system a path is."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPE = re.compile(r"\\([0-7]{3})")
_NETWORK = re.compile(
    r"nfs4?|cifs|smb3|smbfs|afs|ceph|lustre|gpfs|beegfs|glusterfs|fuse\.(?:sshfs|glusterfs|ceph|s3fs)"
)


def network_file_system(path: str | os.PathLike[str]) -> str:
    """Return the name of the network file system that a path is on, such as ``nfs4``; empty for any other one.

    It is also empty where the system does not list its mounts (proc(5), mountinfo).
    """
    with suppress(OSError):
        name = file_system_of(os.path.realpath(path), _MOUNTS.read_text("utf-8", "surrogateescape"))
        return name if _NETWORK.fullmatch(name) else ""
    return ""


def file_system_of(path: str, mounts: str) -> str:
    """Return the type of the file system of an absolute path without links, from the lines of ``mountinfo``.

    A later mount hides an earlier one.
    """
    place, name = "", ""
    for line in mounts.splitlines():
        fields, _, source = line.partition(" - ")
        mount = _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4])
        if len(mount) >= len(place) and f"{path}/".startswith(f"{mount.rstrip('/')}/"):
            place, name = mount, source.split(" ")[0]
    return name
