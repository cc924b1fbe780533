"""Give each part to one process at a time: by a lock on this machine, and by a lease at a shared destination.

A lease is a file ``leases/part-00007-000001.json``. It is created only if it does not exist, and never rewritten. Its
number is the epoch: a process that takes a part over from a dead process creates the lease of the next free epoch. A
process holds a part if all other leases of the part belong to dead processes. It checks this after it has created its
own lease; otherwise it removes its lease again. Leases end with the heartbeats of their process (``heartbeat``). An
orderly end removes all these files.

A local destination uses locks only, which are free the instant their owner dies.
"""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from tts_pipeline.config import LEASE_S
from tts_pipeline.errors import StorageError
from tts_pipeline.log import logger
from tts_pipeline.storage.file_lock import FileLock, HeldElsewhereError, read_lock_owner
from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.heartbeat import TIMEOUT_LEASES, Heartbeat, PeerMonitor, boottime_s
from tts_pipeline.storage.owner import (
    HEARTBEAT_NAME,
    PART_LEASE_NAME,
    Owner,
    has_exited,
    heartbeat_name,
    lease_epochs,
    lease_name,
    read_owner,
    work_id_of,
)
from tts_pipeline.storage.store import LEASES, Store, storage_errors

WHOLE_DATASET = "dataset"
"""The resource that is held exclusively while a new generation is put in place; every run shares its lock."""

ABORT_TIMEOUT_S = 1.0
"""Seconds that an aborted run waits for the release of its leases."""

_POLLS_PER_LEASE = 8
"""Polls of another process within ``lease_s``, while this process can only wait."""


class Leases:
    """The parts and datasets that a process holds; the end of ``with`` releases them. For many threads.

    ``destination`` is the final place, even if a new generation is made beside the present one. A lease holds for
    ``lease_s`` after the last heartbeat.
    """

    def __init__(
        self,
        destination: Store,
        lock_folder: Path,
        lease_s: float = LEASE_S,
        *,
        clock: Callable[[], float] = boottime_s,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.lock_folder = lock_folder
        self.invocation_id = uuid.uuid4().hex
        self._store = destination if isinstance(destination, FsspecStore) else None
        self._lease_s = lease_s
        self._clock = clock
        self._sleep = sleep
        self._owner: Owner | None = None
        self._heartbeat: Heartbeat | None = None
        self._lease_names: dict[str, list[str]] = {}
        self._holders: dict[str, PeerMonitor] = {}
        self._peers: dict[str, PeerMonitor] = {}
        self._start_lock = threading.Lock()
        self._is_forfeited = False
        self._were_lost = False

    @property
    def poll_interval_s(self) -> float:
        """Seconds between two polls of other processes."""
        return self._lease_s / _POLLS_PER_LEASE

    @property
    def are_lost(self) -> bool:
        """Whether other processes may hold the parts of this process."""
        return self._heartbeat is not None and self._heartbeat.is_lost

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._heartbeat is None:
            return
        if kind is None or issubclass(kind, Exception):
            self._release_all()
            return
        self.forfeit()
        thread = threading.Thread(target=self._release_all, name="leases", daemon=True)
        thread.start()
        thread.join(ABORT_TIMEOUT_S)

    def check(self) -> None:
        """Check that this process still holds its leases. Takes a microsecond.

        Raises:
            LeaseLostError: Other processes may hold them.
        """
        if self._heartbeat is not None:
            self._heartbeat.check()

    def forfeit(self) -> None:
        """Treat the leases as lost, without a write to the destination: nothing more is sent or published."""
        self._is_forfeited, self._were_lost = True, self.are_lost
        if self._heartbeat is not None:
            self._heartbeat.forfeit()

    @contextmanager
    def hold(self, resource: str, *, wait: bool = False) -> Iterator[None]:
        """Hold a part, ``growth``, or ``dataset``. Blocking.

        ``wait`` waits until another holder is known to be alive or dead.

        Raises:
            HeldElsewhereError: On entering, when another process holds the resource; without ``wait``, also when that
                process may be dead.
            LeaseLostError: The leases of this process have ended.
            StorageError: The disk or the destination failed, or a lease is damaged.
        """
        with FileLock(self.lock_folder / f"{resource}.lock", self.invocation_id):
            if self._store is None:
                yield
                return
            self._start_heartbeat(self._store)
            self._acquire(self._store, resource, wait=wait)
            try:
                yield
            finally:
                if not self._is_forfeited:
                    self._release(self._store, resource)

    @contextmanager
    def hold_shared(self) -> Iterator[None]:
        """Keep other processes from replacing the dataset during the work. Blocking; raises as ``hold`` does."""
        with FileLock(self.lock_folder / f"{WHOLE_DATASET}.lock", shared=True):
            if self._store is not None:
                self._start_heartbeat(self._store)
            yield

    @contextmanager
    def hold_exclusive(self) -> Iterator[None]:
        """Hold the whole dataset exclusively. Blocking; raises as ``hold`` does."""
        with self.hold(WHOLE_DATASET, wait=True):
            if self._store is not None:
                # A new run writes its heartbeat and then looks for our lease: at least one of the two sees the other.
                self._wait_for_peers(self._store)
            yield

    def poll(self) -> None:
        """Poll the holders of all resources that this process could not get. Blocking."""
        if self._store is None or not self._holders:
            return  # locks need no poll
        names = self._store.names(LEASES)
        self._holders = {
            resource: holder for resource, holder in self._holders.items() if lease_epochs(resource, names)
        }
        for peer in {id(holder): holder for holder in self._holders.values()}.values():
            peer.poll()

    def find_holder(self, resource: str) -> HeldElsewhereError | None:
        """Return the holder of a resource that this process could not get, by the last poll; None if it may be free."""
        holder = self._holders.get(resource)
        if holder is not None and not holder.is_dead:
            return HeldElsewhereError(resource, str(holder.owner), is_alive=holder.is_alive)
        try:
            with FileLock(self.lock_folder / f"{resource}.lock"):
                return None
        except HeldElsewhereError as error:
            return error

    def has_ended(self, resource: str, invocation_id: str) -> bool:
        """Return whether an invocation is known to have ended its work on a resource, in order or dead. Blocking.

        It has if another one, or this one, works on the resource now.
        """
        if self._store is not None:
            peer = self._peers.get(invocation_id)
            owner = read_owner(self._store, heartbeat_name(invocation_id)) if peer is None else peer.owner
            if owner is None:
                return True
            if not self._shares_locks(owner):
                peer = self._peer(self._store, owner)
                peer.poll()
                return peer.is_dead
        # One that has just taken a lock may not have written its name yet: the last holder's is there, or none.
        return read_lock_owner(self.lock_folder / f"{resource}.lock") not in {invocation_id, ""}

    def leased_parts(self) -> list[str]:
        """Return the names of the parts that have a lease. Blocking."""
        names = () if self._store is None else self._store.names(LEASES)
        matches = (PART_LEASE_NAME.fullmatch(name) for name in names)
        return sorted({match[1] for match in matches if match})

    def _start_heartbeat(self, store: FsspecStore) -> None:
        with self._start_lock:
            if self._heartbeat is not None:
                return
            with storage_errors(f"reading {self.lock_folder.parent}"):
                work_id = work_id_of(self.lock_folder.parent)
            owner = Owner(self.invocation_id, socket.gethostname(), os.getpid(), work_id, self._lease_s)
            heartbeat = Heartbeat(store, owner, self._clock)
            self._owner, self._heartbeat = owner, heartbeat
            try:
                self._join(store, heartbeat)
            except BaseException:
                heartbeat.forfeit()
                raise

    def _join(self, store: FsspecStore, heartbeat: Heartbeat) -> None:
        if not heartbeat.start():
            logger.warning(
                "%s cannot create a file only if it does not exist: two machines that work there at the same time "
                "would both buy the same rows. Let only one run",
                store.root,
            )
        names = store.names(LEASES)
        self._remote_peers(store, names)  # watched from now on: the dead are known at the end
        for epoch in lease_epochs(WHOLE_DATASET, names):
            self._wait_for_exclusive_holder(store, lease_name(WHOLE_DATASET, epoch))

    def _wait_for_exclusive_holder(self, store: FsspecStore, name: str) -> None:
        owner = read_owner(store, name)
        if owner is not None and not self._shares_locks(owner):  # between processes that share locks, a lock is enough
            self._wait_until_dead(self._peer(store, owner), WHOLE_DATASET)

    def _acquire(self, store: FsspecStore, resource: str, *, wait: bool) -> None:
        self.check()
        holder = self._holders.get(resource)
        while holder is None or holder.is_dead or wait:
            holder = self._try_acquire(store, resource)
            if holder is None:
                self._holders.pop(resource, None)
                return
            self._holders[resource] = holder
            if not wait:
                break
            self._wait_until_dead(holder, resource)
        raise HeldElsewhereError(resource, str(holder.owner), is_alive=holder.is_alive)

    def _try_acquire(self, store: FsspecStore, resource: str) -> PeerMonitor | None:
        """Create a lease, and check that no living process has another; return the holder if one has, else None."""
        assert self._owner is not None
        epoch = 1
        while True:
            name = lease_name(resource, epoch)
            is_created = store.create(name, self._owner.to_json())
            if is_created:
                self._lease_names[resource] = [name]
            others = set(lease_epochs(resource, store.names(LEASES)))
            # If our lease is not listed, a holder took it for a dead process's and removed it with its own.
            is_listed = is_created and epoch in others
            others -= {epoch} if is_created else set()
            dead, holder = self._inspect(store, resource, others)
            if is_listed and holder is None:
                self._lease_names[resource] = [*(lease_name(resource, dead_epoch) for dead_epoch in dead), name]
                return None
            if is_created:
                self._release(store, resource)
            if holder is not None:
                return holder
            epoch = next(candidate for candidate in itertools.count(1) if candidate not in others)

    def _inspect(self, store: FsspecStore, resource: str, epochs: set[int]) -> tuple[list[int], PeerMonitor | None]:
        """Return the epochs whose owners are dead, and the first owner that may be alive, or None."""
        dead: list[int] = []
        for epoch in sorted(epochs):
            owner = read_owner(store, lease_name(resource, epoch))
            if owner is None:
                continue
            # A lease from our own work folder has no holder any more: we hold the lock of that folder.
            if not self._shares_locks(owner) and not (peer := self._peer(store, owner)).is_dead:
                return dead, peer
            dead.append(epoch)
        return dead, None

    def _release(self, store: FsspecStore, resource: str) -> None:
        """Remove a lease, and those of dead processes before it; keep a lost lease, which may be another process's."""
        if self.are_lost:
            return
        with suppress(StorageError):  # ``_release_all`` tries again; waiting processes see our heartbeat end
            *dead, own_name = self._lease_names[resource]
            self._lease_names[resource] = [own_name]  # dead ones are removed once: new ones may take their names
            for name in (*dead, own_name):
                store.remove(name)
            self._lease_names.pop(resource)

    def _release_all(self) -> None:
        """Remove our remaining files from the destination, and the heartbeats of dead processes."""
        assert self._heartbeat is not None
        if self._store is None:
            return
        if not (self._were_lost if self._is_forfeited else self.are_lost):
            for *dead, own_name in tuple(self._lease_names.values()):
                with suppress(StorageError):
                    if read_owner(self._store, own_name) == self._owner:
                        for name in (*dead, own_name):
                            self._store.remove(name)
        with suppress(StorageError):
            self._heartbeat.stop()
            for invocation_id, peer in tuple(self._peers.items()):
                peer.poll()
                if peer.is_dead or (self._shares_locks(peer.owner) and has_exited(peer.owner.process)):
                    self._store.remove(heartbeat_name(invocation_id))

    def _wait_until_dead(self, peer: PeerMonitor, resource: str) -> None:
        while not peer.is_dead:
            if peer.is_alive:
                raise HeldElsewhereError(resource, str(peer.owner))
            self._sleep(self.poll_interval_s)
            peer.poll()

    def _wait_for_peers(self, store: FsspecStore) -> None:
        """Wait until no other process is at work, at most for the time after which a silent process is dead."""
        deadline_s = self._clock() + TIMEOUT_LEASES * self._lease_s
        while peers := [peer for peer in self._remote_peers(store, store.names(LEASES)) if not peer.is_dead]:
            if self._clock() > deadline_s and (alive := [peer for peer in peers if peer.is_alive]):
                raise HeldElsewhereError(WHOLE_DATASET, str(alive[0].owner))
            self._sleep(self.poll_interval_s)
            for peer in peers:
                peer.poll()

    def _remote_peers(self, store: FsspecStore, names: list[str]) -> list[PeerMonitor]:
        """Return the processes with a heartbeat, except those that share our locks."""
        ids = {match[1] for match in map(HEARTBEAT_NAME.fullmatch, names) if match} - {self.invocation_id}
        owners = [
            self._peers[invocation_id].owner
            if invocation_id in self._peers
            else read_owner(store, heartbeat_name(invocation_id))
            for invocation_id in sorted(ids)
        ]
        peers = [self._peer(store, owner) for owner in owners if owner is not None]
        return [peer for peer in peers if not self._shares_locks(peer.owner)]

    def _peer(self, store: FsspecStore, owner: Owner) -> PeerMonitor:
        peer = self._peers.get(owner.invocation_id)
        if peer is None:
            peer = self._peers[owner.invocation_id] = PeerMonitor(store, owner, self._lease_s, self._clock)
        return peer

    def _shares_locks(self, owner: Owner) -> bool:
        return self._owner is not None and owner.shares_locks_with(self._owner)
