"""Who works on which part, on this machine and on all that meet at a destination: a lock here, and a lease there.

A lease is a file ``leases/part-00007-000001.json``. It is only ever created where there is none, and never rewritten.
Its number is the epoch: who takes a part over from a process that died creates the next one that is free. A part is
held by the process whose file stands beside none but those of the dead, which it makes sure of when it has created its
own; else it removes that again. What a process holds ends with its sign of life (``heartbeat``). An orderly end removes
all these files.

A local destination has locks alone: they are free the instant their owner dies.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import secrets
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tts_pipeline.config import LEASE_S
from tts_pipeline.dataset.claims import HeldElsewhereError, PartLock
from tts_pipeline.dataset.heartbeat import SILENCE, Heartbeat, Owner, Watch, alive_name, elapsed_s, read_owner
from tts_pipeline.dataset.safe_folder import create_file, make_folder
from tts_pipeline.dataset.store import LEASES, FsspecStore, Store, storage_errors
from tts_pipeline.errors import StorageError

logger = logging.getLogger("tts_pipeline")

WHOLE = "dataset"
"""What is held alone while a new generation is put in place; every run shares its lock."""

HASTE_S = 1.0
"""How long a run that is ended at once takes to let its leases go."""

_LOOKS = 8
"""Looks at another process within ``lease_s``, while nothing else can be done."""

_ID = re.compile(r"[0-9a-f]{16}")
_EPOCH = re.compile(r"[0-9]{6,15}")
_PART = re.compile(r"(part-[0-9]{5,9})-[0-9]{6,15}\.json")
_ALIVE = re.compile(r"alive-([0-9a-f]{32})\.json")


class Leases:
    """What a process holds of a dataset. Entered by ``with``, and let go at its end; for many threads.

    Args:
        home: The destination itself, also where a new generation is made beside the one in place.
        locks: Where the locks of this machine are.
        lease_s: How long what it holds is its own after its last sign of life.
        elapsed: The clock.
        sleep: Waits that many seconds.
    """

    def __init__(
        self,
        home: Store,
        locks: Path,
        lease_s: float = LEASE_S,
        *,
        elapsed: Callable[[], float] = elapsed_s,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.locks = locks
        self.invocation_id = uuid.uuid4().hex
        self._store = home if isinstance(home, FsspecStore) else None
        self._lease_s = lease_s
        self._elapsed = elapsed
        self._sleep = sleep
        self._owner: Owner | None = None
        self._heartbeat: Heartbeat | None = None
        self._files: dict[str, list[str]] = {}
        self._met: dict[str, Watch] = {}
        self._watches: dict[str, Watch] = {}
        self._beginning = threading.Lock()
        self._is_hasty = False
        self._were_lost = False

    @property
    def look_every_s(self) -> float:
        """How often to look again at what others hold."""
        return self._lease_s / _LOOKS

    @property
    def are_in_force(self) -> bool:
        """Whether other machines may meet at the destination."""
        return self._store is not None

    @property
    def are_lost(self) -> bool:
        """Whether others may hold what this process held."""
        return self._heartbeat is not None and self._heartbeat.is_lost

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._heartbeat is None:
            return
        if kind is None or issubclass(kind, Exception):
            self._remove_all()
            return
        self.hurry()
        thread = threading.Thread(target=self._remove_all, name="leases", daemon=True)
        thread.start()
        thread.join(HASTE_S)

    def check(self) -> None:
        """Make sure that all that is held is still held. Takes a microsecond.

        Raises:
            LeaseLostError: Others may have it.
        """
        if self._heartbeat is not None:
            self._heartbeat.check()

    def hurry(self) -> None:
        """Let nothing be sent or published any more, without a word to the destination until the end."""
        self._is_hasty, self._were_lost = True, self.are_lost
        if self._heartbeat is not None:
            self._heartbeat.give_up()

    @contextmanager
    def hold(self, what: str, *, patiently: bool = False) -> Iterator[None]:
        """Hold a part. Blocking.

        Args:
            what: Its name; or ``growth``, or ``dataset``.
            patiently: Whether to wait until a process that holds it has shown whether it lives.

        Raises:
            HeldElsewhereError: On entering, when another process holds it; or, without patience, when it is not known
                whether that one lives.
            LeaseLostError: This process holds nothing any more.
            StorageError: The disk or the destination failed, or a lease is damaged.
        """
        with PartLock(self.locks / f"{what}.lock"):
            if self._store is None:
                yield
                return
            self._begin(self._store)
            self._acquire(self._store, what, patiently=patiently)
            try:
                yield
            finally:
                if not self._is_hasty:
                    self._release(self._store, what)

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep the dataset from being replaced while it is worked on. Blocking; see ``hold`` for what it raises."""
        with PartLock(self.locks / f"{WHOLE}.lock", shared=True):
            if self._store is not None:
                self._begin(self._store)
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the whole dataset to oneself. Blocking; see ``hold`` for what it raises."""
        with self.hold(WHOLE, patiently=True):
            if self._store is not None:
                # Whoever begins gives a sign of life and then looks for our lease: at least one of us sees the other.
                self._wait_for_ends(self._store)
            yield

    def look(self) -> None:
        """Look again at those who held what could not be had, all at one time. Blocking.

        Raises:
            StorageError: The destination failed.
        """
        if self._store is None or not self._met:
            return  # a lock tells by itself
        names = self._names(self._store)
        self._met = {what: watch for what, watch in self._met.items() if _epochs(what, names)}
        for watch in {id(watch): watch for watch in self._met.values()}.values():
            watch.look()

    def busy(self, what: str) -> HeldElsewhereError | None:
        """Return who had something that could not be had, as far as the last look tells; None when it may be free."""
        watch = self._met.get(what)
        if watch is not None and not watch.is_dead:
            return HeldElsewhereError(what, str(watch.owner), is_living=watch.is_living)
        try:
            with PartLock(self.locks / f"{what}.lock"):
                return None
        except HeldElsewhereError as error:
            return error

    def leased_parts(self) -> list[str]:
        """Return the names of the parts that have a lease. Blocking.

        Raises:
            StorageError: The destination failed.
        """
        names = () if self._store is None else self._names(self._store)
        found = (_PART.fullmatch(name) for name in names)
        return sorted({one[1] for one in found if one})

    def _begin(self, store: FsspecStore) -> None:
        with self._beginning:
            if self._heartbeat is not None:
                return
            with storage_errors(f"reading {self.locks.parent}"):
                work_id = _work_id(self.locks.parent)
            owner = Owner(self.invocation_id, socket.gethostname(), os.getpid(), work_id, self._lease_s)
            heartbeat = Heartbeat(store, owner, self._elapsed)
            self._owner, self._heartbeat = owner, heartbeat
            try:
                self._meet(store, heartbeat)
            except BaseException:
                heartbeat.give_up()
                raise

    def _meet(self, store: FsspecStore, heartbeat: Heartbeat) -> None:
        if not heartbeat.begin():
            logger.warning(
                "%s cannot create a file only if there is none: of two machines that work there at one time both would "
                "buy the same rows. Let only one run",
                store.root,
            )
        names = self._names(store)
        self._strangers(store, names)  # met now, those who have died are known at the end
        for epoch in _epochs(WHOLE, names):
            self._wait_for_swap(store, _lease_name(WHOLE, epoch))

    def _wait_for_swap(self, store: FsspecStore, name: str) -> None:
        owner = read_owner(store, name)
        if owner is not None and not self._is_neighbour(owner):  # among neighbours the lock is enough
            self._wait_for(self._watch(store, owner), WHOLE)

    def _acquire(self, store: FsspecStore, what: str, *, patiently: bool) -> None:
        self.check()
        met = self._met.get(what)
        while met is None or met.is_dead or patiently:
            met = self._try(store, what)
            if met is None:
                self._met.pop(what, None)
                return
            self._met[what] = met
            if not patiently:
                break
            self._wait_for(met, what)
        raise HeldElsewhereError(what, str(met.owner), is_living=met.is_living)

    def _try(self, store: FsspecStore, what: str) -> Watch | None:
        """Create a lease, and make sure that it stands alone; return who has it when it does not."""
        assert self._owner is not None
        epoch = 1
        while True:
            name = _lease_name(what, epoch)
            is_created = store.create(name, self._owner.to_json())
            if is_created:
                self._files[what] = [name]
            others = set(_epochs(what, self._names(store)))
            # One of ours that is not listed was removed by a holder that let go and took it for a dead one's.
            is_there = is_created and epoch in others
            others -= {epoch} if is_created else set()
            dead, holder = self._judge(store, what, others)
            if is_there and holder is None:
                self._files[what] = [*(_lease_name(what, one) for one in dead), name]
                return None
            if is_created:
                self._release(store, what)
            if holder is not None:
                return holder
            epoch = next(number for number in itertools.count(1) if number not in others)

    def _judge(self, store: FsspecStore, what: str, epochs: set[int]) -> tuple[list[int], Watch | None]:
        """Return which of these leases are of the dead, and who has one and is not dead, if anybody."""
        dead: list[int] = []
        for epoch in sorted(epochs):
            owner = read_owner(store, _lease_name(what, epoch))
            if owner is None:
                continue
            # Of the same work folder: we hold its lock, so whoever had the lease before does not hold it any more.
            if not self._is_neighbour(owner) and not (watch := self._watch(store, owner)).is_dead:
                return dead, watch
            dead.append(epoch)
        return dead, None

    def _release(self, store: FsspecStore, what: str) -> None:
        """Remove a lease, and those of the dead before it. Of a lost one nothing is touched: it may be another's."""
        if self.are_lost:
            return
        with suppress(StorageError):  # ours is looked for again at the end; whoever waits sees that we are gone
            *dead, ours = self._files[what]
            self._files[what] = [ours]  # the others are removed once: soon they may be a living one's
            for name in (*dead, ours):
                store.remove(name)
            self._files.pop(what)

    def _remove_all(self) -> None:
        """Remove what is left at the destination: of ours, and signs of life of the dead."""
        assert self._heartbeat is not None
        if self._store is None:
            return
        if not (self._were_lost if self._is_hasty else self.are_lost):
            for *dead, ours in tuple(self._files.values()):
                with suppress(StorageError):
                    if read_owner(self._store, ours) == self._owner:
                        for name in (*dead, ours):
                            self._store.remove(name)
        with suppress(StorageError):
            self._heartbeat.end()
            for invocation_id, watch in self._watches.items():
                watch.look()
                if watch.is_dead or (self._is_neighbour(watch.owner) and _is_gone(watch.owner.process)):
                    self._store.remove(alive_name(invocation_id))

    def _wait_for(self, watch: Watch, what: str) -> None:
        """Wait until a process is known to be dead.

        Raises:
            HeldElsewhereError: It lives.
        """
        while not watch.is_dead:
            if watch.is_living:
                raise HeldElsewhereError(what, str(watch.owner))
            self._sleep(self.look_every_s)
            watch.look()

    def _names(self, store: FsspecStore) -> list[str]:
        return store.names(LEASES)

    def _wait_for_ends(self, store: FsspecStore) -> None:
        """Wait until no other process is at work, as long as it takes to know that one is dead.

        Raises:
            HeldElsewhereError: One goes on.
        """
        until = self._elapsed() + SILENCE * self._lease_s
        while strangers := [watch for watch in self._strangers(store, self._names(store)) if not watch.is_dead]:
            if self._elapsed() > until and (living := [watch for watch in strangers if watch.is_living]):
                raise HeldElsewhereError(WHOLE, str(living[0].owner))
            self._sleep(self.look_every_s)
            for watch in strangers:
                watch.look()

    def _strangers(self, store: FsspecStore, names: list[str]) -> list[Watch]:
        """Return the processes that gave a sign of life, but for those that our locks keep away."""
        ids = {found[1] for found in map(_ALIVE.fullmatch, names) if found} - {self.invocation_id}
        owners = [
            self._watches[one].owner if one in self._watches else read_owner(store, alive_name(one))
            for one in sorted(ids)
        ]
        watches = [self._watch(store, owner) for owner in owners if owner is not None]
        return [watch for watch in watches if not self._is_neighbour(watch.owner)]

    def _watch(self, store: FsspecStore, owner: Owner) -> Watch:
        watch = self._watches.get(owner.invocation_id)
        if watch is None:
            watch = self._watches[owner.invocation_id] = Watch(store, owner, self._lease_s, self._elapsed)
        return watch

    def _is_neighbour(self, owner: Owner) -> bool:
        return self._owner is not None and owner.is_neighbour_of(self._owner)


def _lease_name(what: str, epoch: int) -> str:
    return f"{LEASES}/{what}-{epoch:06}.json"


def _epochs(what: str, names: list[str]) -> list[int]:
    """Return the epochs that there are of a lease; names that are none of ours are left alone."""
    middles = [name.removeprefix(f"{what}-").removesuffix(".json") for name in names if name.startswith(f"{what}-")]
    return [int(middle) for middle in middles if _EPOCH.fullmatch(middle) and f"{int(middle):06}" == middle]


def _is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _work_id(folder: Path) -> str:
    """Return the id of a work folder; made when there is none."""
    path = folder / "work.id"
    with suppress(FileNotFoundError):
        found = path.read_text(errors="replace")
        if _ID.fullmatch(found):
            return found
    made = secrets.token_hex(8)
    make_folder(folder)
    with open(create_file(path), "w") as file:  # noqa: PTH123 (a descriptor)
        file.write(made)
    return made
