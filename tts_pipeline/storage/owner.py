"""Name the files of leases and heartbeats, and read their owner: the process that each belongs to."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import msgspec
import orjson

from tts_pipeline.config import MAX_LEASE_S
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.safe_folder import create_file, make_folder
from tts_pipeline.storage.store import LEASES

MAX_OWNER_BYTES = 64 * 1024
_WORK_ID = re.compile(r"[0-9a-f]{16}")
_EPOCH = re.compile(r"[0-9]{6,15}")
PART_LEASE_NAME = re.compile(r"(part-[0-9]{5,9})-[0-9]{6,15}\.json")
HEARTBEAT_NAME = re.compile(r"alive-([0-9a-f]{32})\.json")

_Label = Annotated[str, msgspec.Meta(max_length=255)]


def lease_name(resource: str, epoch: int) -> str:
    """Return the name of the lease of a part, or of another resource, in an epoch."""
    return f"{LEASES}/{resource}-{epoch:06}.json"


def lease_epochs(resource: str, names: Iterable[str]) -> list[int]:
    """Return the epochs of the leases of a resource; other names are ignored."""
    epochs = [
        name.removeprefix(f"{resource}-").removesuffix(".json") for name in names if name.startswith(f"{resource}-")
    ]
    return [int(epoch) for epoch in epochs if _EPOCH.fullmatch(epoch) and f"{int(epoch):06}" == epoch]


def heartbeat_name(invocation_id: str) -> str:
    """Return the name of the heartbeat file of a process."""
    return f"{LEASES}/alive-{invocation_id}.json"


class Owner(msgspec.Struct, frozen=True):
    """The process that a lease belongs to; ``process`` is its id on ``host``.

    ``work_id`` is the id of its work folder, which holds the locks of its machine. Its leases hold for ``lease_s``
    without a heartbeat.
    """

    invocation_id: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    host: _Label
    process: int
    work_id: _Label
    lease_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_LEASE_S)]

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"

    def to_json(self, **extra: int) -> bytes:
        """Return the contents of a lease or heartbeat file."""
        return orjson.dumps({**msgspec.structs.asdict(self), **extra})

    def shares_locks_with(self, other: Owner) -> bool:
        """Return whether both have their locks in the same folder of the same machine."""
        return (self.host, self.work_id) == (other.host, other.work_id)


def read_owner(store: FsspecStore, name: str) -> Owner | None:
    """Read the owner of a lease or a heartbeat; None when the file is gone.

    Raises:
        StorageError: The file is damaged: its owner is unknown, and so is whether that process lives.
    """
    data = store.read_start(name, MAX_OWNER_BYTES)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Owner)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StorageError(
            f"{store.describe(name)} is damaged, so the process that works there is unknown: {error}",
            hint="when no run of this dataset is at work on any machine, remove the file",
        ) from error


def has_exited(process: int) -> bool:
    """Return whether a process of this machine is known to have ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def work_id_of(folder: Path) -> str:
    """Return the id of a work folder; create it if it is missing or damaged."""
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
