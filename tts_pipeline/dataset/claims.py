"""Who works on a part: a lock on this machine, and a claim at the destination that all machines see."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Self

from tts_pipeline.dataset.json_files import json_bytes, read_fields
from tts_pipeline.dataset.names import file_names, parse_part_number, part_name
from tts_pipeline.dataset.safe_folder import open_lock_file
from tts_pipeline.dataset.store import Store, storage_errors
from tts_pipeline.errors import StorageError


class HeldElsewhereError(StorageError):
    """Another process works on a part, or on the whole dataset. Never retried; may be looked at again.

    Args:
        resource: The part's name, or ``dataset``.
        holder: Who, for people.
        is_alive: Whether that is known; else it may have died.
    """

    def __init__(self, resource: str, holder: str, *, is_alive: bool = True) -> None:
        super().__init__(
            f"another process ({holder}) is working on {resource} of this dataset",
            hint="wait for it to end, or give each process parts of its own",
        )
        self.resource = resource
        self.holder = holder
        self.is_alive = is_alive


class FileLock:
    """An operating-system lock on one part: two processes of one machine never work on it at a time.

    The whole dataset has one, too, which all its runs share, and a descriptor that grows has another. It is free the
    instant its owner dies. Held by ``with``.

    Args:
        path: The lock's file; removed on release.
        shared: Whether others may share it: who needs it alone is then refused.

    Raises:
        HeldElsewhereError: On entering, when another process holds it.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self._operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self._fd: int | None = None

    def __enter__(self) -> Self:
        with storage_errors(f"locking {self.path}"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            while self._fd is None:
                self._fd = self._try_acquire()
        return self

    def _try_acquire(self) -> int | None:
        fd = open_lock_file(self.path)
        try:
            fcntl.flock(fd, self._operation | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(fd, 64, 0).decode(errors="replace").strip()
            os.close(fd)
            raise HeldElsewhereError(self.path.stem, owner or "unknown") from error
        # The last owner may have removed the file between our opening and locking it: then we hold nothing.
        if not self._is_current(fd):
            os.close(fd)
            return None
        with suppress(OSError):  # who holds it is good to know, but a full disk need not know
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()}\n".encode(), 0)
        return fd

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            # The last one of those that share it removes the file. Where the disk takes no change any more it stays: a
            # file that nobody has locked is no lock.
            with suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def is_locked(path: Path) -> bool:
    """Return whether a process of this machine holds a lock alone."""
    with storage_errors(f"looking at {path}"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False


@dataclass(frozen=True, slots=True)
class Claim:
    """Which journal has opened a part, since when, and what it may spend at most.

    Args:
        journal_id: The journal.
        invocation_id: The execution that opened it.
        opened_at_us: Microseconds since 1970 UTC.
        characters_upper_bound: It will not spend more than this without raising the claim first.
        cost_upper_bound: The same in money; None without a price.
        currency: Of the cost.
        service: For the bill, should the journal be lost.
        model: For the bill, should the journal be lost.
        account: For the bill, should the journal be lost.
        tags: For the bill, should the journal be lost.
        host: The machine that holds the journal.
        process: The process there.
    """

    journal_id: str
    invocation_id: str
    opened_at_us: int
    characters_upper_bound: int
    cost_upper_bound: Decimal | None
    currency: str | None
    service: str
    model: str
    account: str | None
    tags: Mapping[str, str] = field(default_factory=dict)
    host: str = ""
    process: int = 0


def write_claim(store: Store, part: int, claim: Claim) -> None:
    """Put a claim at the destination, replacing an earlier one of the same journal."""
    values = {name: getattr(claim, name) for name in Claim.__dataclass_fields__}
    values |= {"host": socket.gethostname(), "process": os.getpid()}
    store.write(claim_name(part, claim.journal_id), json_bytes(values))


def read_claim(store: Store, name: str) -> Claim | None:
    """Read a claim by its full name; None when it is gone.

    Raises:
        StorageError: It is damaged: what was spent under it is not known.
    """
    data = store.read(name)
    if data is None:
        return None
    fields = read_fields(data, store.describe(name), "restore it: it tells what may have been spent")
    claim = Claim(
        journal_id=fields.text("journal_id"),
        invocation_id=fields.text("invocation_id"),
        opened_at_us=fields.count("opened_at_us", maximum=_MAX_INSTANT_US),
        characters_upper_bound=fields.count("characters_upper_bound"),
        cost_upper_bound=fields.amount("cost_upper_bound", limit=_COST_LIMIT),
        currency=fields.text_or_none("currency"),
        service=fields.text("service"),
        model=fields.text("model"),
        account=fields.text_or_none("account"),
        tags=fields.object("tags").texts() if "tags" in fields else {},
        host=fields.text("host") if "host" in fields else "",
        process=fields.count("process") if "process" in fields else 0,
    )
    if name != claim_name(parse_part_number(name), claim.journal_id):
        raise fields.damage_error(f"it is the claim of journal {claim.journal_id!r}")
    return claim


_MAX_INSTANT_US = 253_402_300_799_999_999
"""The end of the year 9999, in microseconds since 1970: a table holds no later moment."""

_COST_LIMIT = Decimal(10) ** 9
"""A cost in the usage table has nine digits before its point."""


def claim_name(part: int, journal_id: str) -> str:
    """Return a claim's name within the dataset."""
    return f"claims/{part_name(part)}-{journal_id}.json"


def claim_names(store: Store, part: int) -> list[str]:
    """Return the names of all claims on a part."""
    return [f"claims/{name}" for name in file_names(store, "claims", f"{part_name(part)}-")]
