"""The process that a lease belongs to: what its files say of it, and how they are read."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from tts_pipeline.config import MAX_LEASE_S
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.safe_folder import create_file, make_folder

MAX_OWNER_BYTES = 64 * 1024
_INVOCATION_ID = re.compile(r"[0-9a-f]{32}")
_WORK_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that a lease belongs to.

    Args:
        invocation_id: One execution of a job by one process.
        host: Its machine, for people.
        process: Its number there.
        work_id: Of its work folder, which holds the locks of that machine.
        lease_s: How long its leases hold without a sign of life.
    """

    invocation_id: str
    host: str
    process: int
    work_id: str
    lease_s: float

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    def to_json(self, **extra: int) -> bytes:
        """Return what a file says of it."""
        return orjson.dumps({**asdict(self), **extra})

    def shares_locks_with(self, other: Owner) -> bool:
        """Return whether both have their locks in the same folder of the same machine."""
        return (self.host, self.work_id) == (other.host, other.work_id)


def read_owner(store: FsspecStore, name: str) -> Owner | None:
    """Read whose a lease or a sign of life is; None when it is gone.

    Raises:
        StorageError: It is damaged: whose it is, and whether that process lives, cannot be told.
    """
    data = store.read_start(name, MAX_OWNER_BYTES)
    if data is None:
        return None
    owner = _parse_owner(data)
    if owner is None:
        raise StorageError(
            f"{store.describe(name)} is damaged: it should tell which process works there",
            hint="when no run of this dataset is at work on any machine, remove it",
        )
    return owner


def _parse_owner(data: bytes) -> Owner | None:
    try:
        values = orjson.loads(data)
        owner = Owner(**{name: values[name] for name in Owner.__slots__})
        is_valid = (
            all(isinstance(text, str) and len(text) < 256 for text in (owner.invocation_id, owner.host, owner.work_id))
            and _INVOCATION_ID.fullmatch(owner.invocation_id) is not None
            and type(owner.process) is int
            and type(owner.lease_s) in {int, float}
            and 0 < owner.lease_s <= MAX_LEASE_S
        )
    except (ValueError, TypeError, KeyError):
        return None
    return owner if is_valid else None


def has_exited(process: int) -> bool:
    """Return whether a process of this machine is known to be gone."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def work_id_of(folder: Path) -> str:
    """Return the id of a work folder; made when there is none."""
    path = folder / "work.id"
    with suppress(FileNotFoundError):
        text = path.read_text(errors="replace")
        if _WORK_ID.fullmatch(text):
            return text
    work_id = secrets.token_hex(8)
    make_folder(folder)
    with open(create_file(path), "w") as file:  # noqa: PTH123 (a descriptor)
        file.write(work_id)
    return work_id
