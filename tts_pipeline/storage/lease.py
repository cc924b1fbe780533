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
from tts_pipeline.storage.file_lock import FileLock, HeldElsewhereError
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
"""What is held alone while a new generation is put in place; every run shares its lock."""

ABORT_TIMEOUT_S = 1.0
"""How long a run that is ended at once takes to let its leases go."""

_POLLS_PER_LEASE = 8
"""Looks at another process within ``lease_s``, while nothing else can be done."""


class Leases:
    """Parts and datasets that a process holds. Entered by ``with``, and let go at its end; for many threads.

    The destination is the place itself, also where a new generation is made beside the one in place. A lease holds for
    ``lease_s`` after the last sign of life.
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
        """How often to look again at what others hold."""
        return self._lease_s / _POLLS_PER_LEASE

    @property
    def are_lost(self) -> bool:
        """Whether others may hold what this process held."""
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
        """Make sure that all that is held is still held. Takes a microsecond.

        Raises:
            LeaseLostError: Others may have it.
        """
        if self._heartbeat is not None:
            self._heartbeat.check()

    def forfeit(self) -> None:
        """Let nothing be sent or published any more, without a word to the destination until the end."""
        self._is_forfeited, self._were_lost = True, self.are_lost
        if self._heartbeat is not None:
            self._heartbeat.forfeit()

    @contextmanager
    def hold(self, resource: str, *, wait: bool = False) -> Iterator[None]:
        """Hold a part, ``growth``, or ``dataset``. Blocking.

        ``wait`` waits until a process that holds it has shown whether it lives.

        Raises:
            HeldElsewhereError: On entering, when another process holds it; or, without patience, when it is not known
                whether that one lives.
            LeaseLostError: This process holds nothing any more.
            StorageError: The disk or the destination failed, or a lease is damaged.
        """
        with FileLock(self.lock_folder / f"{resource}.lock"):
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
        """Keep the dataset from being replaced while it is worked on. Blocking; see ``hold`` for what it raises."""
        with FileLock(self.lock_folder / f"{WHOLE_DATASET}.lock", shared=True):
            if self._store is not None:
                self._start_heartbeat(self._store)
            yield

    @contextmanager
    def hold_exclusive(self) -> Iterator[None]:
        """Have the whole dataset to oneself. Blocking; see ``hold`` for what it raises."""
        with self.hold(WHOLE_DATASET, wait=True):
            if self._store is not None:
                # Whoever begins gives a sign of life and then looks for our lease: at least one of us sees the other.
                self._wait_for_peers(self._store)
            yield

    def poll(self) -> None:
        """Look again at those who held what could not be had, all at one time. Blocking."""
        if self._store is None or not self._holders:
            return  # a lock tells by itself
        names = self._store.names(LEASES)
        self._holders = {
            resource: holder for resource, holder in self._holders.items() if lease_epochs(resource, names)
        }
        for peer in {id(watch): watch for watch in self._holders.values()}.values():
            peer.poll()

    def find_holder(self, resource: str) -> HeldElsewhereError | None:
        """Return who had something that could not be had, as far as the last look tells; None when it may be free."""
        holder = self._holders.get(resource)
        if holder is not None and not holder.is_dead:
            return HeldElsewhereError(resource, str(holder.owner), is_alive=holder.is_alive)
        try:
            with FileLock(self.lock_folder / f"{resource}.lock"):
                return None
        except HeldElsewhereError as error:
            return error

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
                "%s cannot create a file only if there is none: of two machines that work there at one time both would "
                "buy the same rows. Let only one run",
                store.root,
            )
        names = store.names(LEASES)
        self._remote_peers(store, names)  # met now, those who have died are known at the end
        for epoch in lease_epochs(WHOLE_DATASET, names):
            self._wait_for_exclusive_holder(store, lease_name(WHOLE_DATASET, epoch))

    def _wait_for_exclusive_holder(self, store: FsspecStore, name: str) -> None:
        owner = read_owner(store, name)
        if owner is not None and not self._shares_locks(owner):  # among neighbours the lock is enough
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
        """Create a lease, and make sure that it stands alone; return who has it when it does not."""
        assert self._owner is not None
        epoch = 1
        while True:
            name = lease_name(resource, epoch)
            is_created = store.create(name, self._owner.to_json())
            if is_created:
                self._lease_names[resource] = [name]
            others = set(lease_epochs(resource, store.names(LEASES)))
            # One of ours that is not listed was removed by a holder that let go and took it for a dead one's.
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
        """Return which of these leases are of the dead, and who has one and is not dead, if anybody."""
        dead: list[int] = []
        for epoch in sorted(epochs):
            owner = read_owner(store, lease_name(resource, epoch))
            if owner is None:
                continue
            # Of the same work folder: we hold its lock, so whoever had the lease before does not hold it any more.
            if not self._shares_locks(owner) and not (peer := self._peer(store, owner)).is_dead:
                return dead, peer
            dead.append(epoch)
        return dead, None

    def _release(self, store: FsspecStore, resource: str) -> None:
        """Remove a lease, and those of the dead before it. Of a lost one nothing is touched: it may be another's."""
        if self.are_lost:
            return
        with suppress(StorageError):  # ours is looked for again at the end; whoever waits sees that we are gone
            *dead, own_name = self._lease_names[resource]
            self._lease_names[resource] = [own_name]  # the others are removed once: soon they may be a living one's
            for name in (*dead, own_name):
                store.remove(name)
            self._lease_names.pop(resource)

    def _release_all(self) -> None:
        """Remove what is left at the destination: of ours, and signs of life of the dead."""
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
            for invocation_id, peer in self._peers.items():
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
        """Wait until no other process is at work, as long as it takes to know that one is dead."""
        deadline_s = self._clock() + TIMEOUT_LEASES * self._lease_s
        while peers := [peer for peer in self._remote_peers(store, store.names(LEASES)) if not peer.is_dead]:
            if self._clock() > deadline_s and (alive := [peer for peer in peers if peer.is_alive]):
                raise HeldElsewhereError(WHOLE_DATASET, str(alive[0].owner))
            self._sleep(self.poll_interval_s)
            for peer in peers:
                peer.poll()

    def _remote_peers(self, store: FsspecStore, names: list[str]) -> list[PeerMonitor]:
        """Return the processes that gave a sign of life, but for those that our locks keep away."""
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
