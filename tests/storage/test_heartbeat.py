"""Tests of the heartbeats of this process and of others, with the test's own time."""

from __future__ import annotations

import uuid

import pytest

from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.heartbeat import TIMEOUT_LEASES, Heartbeat, LeaseLostError, PeerMonitor
from tts_pipeline.storage.owner import Owner, heartbeat_name

LEASE_S = 1_000.0
"""So long that no thread beats within a test: beats are the test's own."""


class Peer:
    """A process with heartbeats, a process that watches it, and the time of both."""

    def __init__(self, store: FsspecStore) -> None:
        self.now_s = 0.0
        self.owner = Owner(uuid.uuid4().hex, "elsewhere", 1, "0" * 16, LEASE_S)
        self.heartbeat = Heartbeat(store, self.owner, lambda: self.now_s)
        self.heartbeat.beat()
        self.monitor = PeerMonitor(store, self.owner, LEASE_S, lambda: self.now_s)

    def poll_at(self, now_s: float) -> tuple[bool, bool]:
        """Poll at a time; return whether the process is alive, and whether it is dead."""
        self.now_s = now_s
        self.monitor.poll()
        return self.monitor.is_alive, self.monitor.is_dead


def test_a_sign_of_life_that_went_away_is_none(object_store: FsspecStore) -> None:
    """Only new contents count: a process without a heartbeat file, whoever removed it, is silent."""
    peer = Peer(object_store)
    object_store.remove(heartbeat_name(peer.owner.invocation_id))
    assert peer.poll_at(TIMEOUT_LEASES * LEASE_S) == (False, True)


def test_one_who_beats_lives_and_one_who_is_silent_for_long_is_dead(object_store: FsspecStore) -> None:
    """A heartbeat at the first look proves nothing; between alive and dead, the state is unknown."""
    peer = Peer(object_store)
    assert peer.poll_at(1.0) == (False, False)
    peer.heartbeat.beat()
    assert peer.poll_at(2.0) == (True, False)
    assert peer.poll_at(1.9 + TIMEOUT_LEASES * LEASE_S) == (True, False)
    assert peer.poll_at(2.0 + TIMEOUT_LEASES * LEASE_S) == (False, True)


def test_a_writer_knows_that_it_has_lost_all_before_anybody_takes_it(object_store: FsspecStore) -> None:
    """A lease ends ``lease_s`` after the last heartbeat, and a later heartbeat does not restore it."""
    peer = Peer(object_store)
    peer.now_s = LEASE_S
    peer.heartbeat.check()
    assert peer.poll_at(LEASE_S + 1.0) == (False, False)
    with pytest.raises(LeaseLostError, match="wrote no heartbeat"):
        peer.heartbeat.check()
    before = object_store.read(heartbeat_name(peer.owner.invocation_id))
    peer.heartbeat.beat()
    assert peer.heartbeat.is_lost
    assert object_store.read(heartbeat_name(peer.owner.invocation_id)) == before


def test_each_sign_of_life_prolongs_the_lease_from_when_it_began(object_store: FsspecStore) -> None:
    """The lease runs from the start of the write, by the writer's own clock."""
    peer = Peer(object_store)
    peer.now_s = 0.9 * LEASE_S
    peer.heartbeat.beat()
    peer.now_s = 1.9 * LEASE_S
    peer.heartbeat.check()
    peer.now_s = 1.9 * LEASE_S + 1.0
    assert peer.heartbeat.is_lost


def test_whoever_stops_leaves_no_sign(object_store: FsspecStore) -> None:
    """After a stop, no write under way leaves a heartbeat."""
    peer = Peer(object_store)
    peer.heartbeat.stop()
    peer.heartbeat.beat()
    assert object_store.names("leases") == []
