"""Tests of leases at a shared destination: who holds a part, who may take it over, and who has lost it."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.datasets import Bench
from tts_pipeline.dataset.commit import PartCommitter, create_marker
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.file_lock import FileLock, HeldElsewhereError
from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.heartbeat import BEATS_PER_LEASE, TIMEOUT_LEASES, LeaseLostError
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.owner import Owner

LEASE_S = 1_000.0
"""So long that no thread beats within a test: beats are the test's own."""


@dataclass(slots=True)
class Machine:
    """A machine with its own clock, which differs from the clocks of other machines."""

    folder: Path
    store: FsspecStore
    offset_s: float = 0.0
    now_s: float = 0.0
    meanwhile: list[Leases] = field(default_factory=list)
    """Processes that send heartbeats while this machine waits."""

    def clock(self) -> float:
        """Return the time by this machine's clock."""
        return self.now_s + self.offset_s

    def sleep(self, seconds: float) -> None:
        """Let time pass on this machine; other machines may send heartbeats meanwhile."""
        self.now_s += seconds
        for other in self.meanwhile:
            beat(other)

    def process(self) -> Leases:
        """Start a process."""
        return Leases(self.store, self.folder / "locks", LEASE_S, clock=self.clock, sleep=self.sleep)


def beat(leases: Leases) -> None:
    """Write a heartbeat, as the thread would."""
    assert leases._heartbeat is not None
    leases._heartbeat.beat()


@pytest.fixture
def machine(tmp_path: Path, object_store: FsspecStore) -> Machine:
    """Return a machine."""
    return Machine(tmp_path / "here", object_store)


@pytest.fixture
def other_machine(tmp_path: Path, object_store: FsspecStore) -> Machine:
    """Return another machine, whose clock is 90 s apart."""
    return Machine(tmp_path / "there", object_store, offset_s=-90.0)


def kill(machine: Machine) -> Leases:
    """Let a process die that holds a part: its lock is free, its files at the destination stay."""
    dead = machine.process()
    hold = dead.hold("part-00000")
    hold.__enter__()
    (machine.folder / "locks" / "part-00000.lock").unlink()
    OPEN_HOLDS.append(hold)
    return dead


OPEN_HOLDS: list[object] = []
"""What a killed process held is not to be let go by the collector of garbage."""


def test_a_part_is_held_by_one_and_free_when_it_is_let_go(machine: Machine, other_machine: Machine) -> None:
    """Another machine gets the holder's name; after the release the destination has no files, and nobody waits."""
    with machine.process() as process, other_machine.process() as other_process:
        with process.hold("part-00000"):
            with pytest.raises(HeldElsewhereError, match=r"process \d+ on .* is working on part-00000"):
                other_process.hold("part-00000").__enter__()
            with other_process.hold("part-00001"):
                assert machine.store.names("leases", "part-") == ["part-00000-000001.json", "part-00001-000001.json"]
        other_process.poll()
        with other_process.hold("part-00000"):
            pass
    assert machine.store.names("leases") == []


def test_a_living_process_is_told_from_a_dead_one_by_the_clock_of_whoever_waits(
    machine: Machine, other_machine: Machine
) -> None:
    """A process with a heartbeat after the first look lives; silence for one and a half leases frees its part."""
    dead = kill(other_machine)
    with machine.process() as process:
        with pytest.raises(HeldElsewhereError) as first:
            process.hold("part-00000").__enter__()
        assert not first.value.is_alive
        machine.sleep(LEASE_S / BEATS_PER_LEASE)
        beat(dead)
        process.poll()
        busy = process.find_holder("part-00000")
        assert busy is not None
        assert busy.is_alive
        machine.sleep(TIMEOUT_LEASES * LEASE_S - 1)
        beat(process)  # a thread does so in time
        process.poll()
        assert process.find_holder("part-00000") is not None
        machine.sleep(2)
        process.poll()
        assert process.find_holder("part-00000") is None


def test_whoever_waits_takes_over_and_the_epoch_tells(machine: Machine, other_machine: Machine) -> None:
    """With ``wait``, a dead process's part is acquired after its silence; the end removes the files of both."""
    kill(other_machine)
    process = machine.process()
    machine.meanwhile = [process]
    with process, process.hold("part-00000", wait=True):
        assert machine.now_s >= TIMEOUT_LEASES * LEASE_S
        assert machine.store.names("leases", "part-") == ["part-00000-000001.json", "part-00000-000002.json"]
    assert machine.store.names("leases") == []


def test_a_killed_run_goes_on_at_once_in_its_own_work_folder(machine: Machine) -> None:
    """We hold the lock of the work folder, so the earlier owner has no lease any more."""
    kill(machine)
    with machine.process() as process, process.hold("part-00000"):
        assert machine.now_s == 0


def test_a_process_that_was_stopped_knows_that_it_has_lost_all(machine: Machine, other_machine: Machine) -> None:
    """By its own clock it knows before others take its part; the loss is final, and files of others stay."""
    process = machine.process()
    with process:
        hold = process.hold("part-00000")
        hold.__enter__()
        process.check()
        machine.sleep(LEASE_S + 1)
        with pytest.raises(LeaseLostError, match="wrote no heartbeat"):
            process.check()
        other_process = other_machine.process()
        other_machine.meanwhile = [other_process]
        with other_process, other_process.hold("part-00000", wait=True):
            beat(process)
            with pytest.raises(LeaseLostError):
                process.check()
            hold.__exit__(None, None, None)
            assert len(machine.store.names("leases", "part-00000")) == 2
            other_process.check()
    assert machine.store.names("leases") == []


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\0" * 200_000, b'{"invocation_id": "../../x"}'])
def test_a_lease_that_cannot_be_read_is_an_error_that_names_it(machine: Machine, data: bytes) -> None:
    """The writer may live: nothing is bought beside it."""
    machine.store.write("leases/part-00000-000001.json", data)
    with machine.process() as process, pytest.raises(StorageError, match=r"leases/part-00000-000001\.json"):
        process.hold("part-00000").__enter__()


@pytest.mark.parametrize(
    "name", ["part-00000-x.json", "part-00000-1.json", "part-00000-.json", "part-00000", "alive-.json"]
)
def test_names_that_are_no_leases_are_left_alone(machine: Machine, name: str) -> None:
    """Other files in the folder are ignored."""
    machine.store.write(f"leases/{name}", b"what is this")
    with machine.process() as process, process.hold("part-00000"):
        pass
    assert machine.store.names("leases") == [name]


def test_a_number_however_high_is_in_nobodys_way(machine: Machine) -> None:
    """A dead process's file with the highest number blocks the part no longer than others, and is removed with them."""
    dead = Owner(uuid.uuid4().hex, "elsewhere", 1, "0" * 16, LEASE_S)
    for number in (1, 10**15 - 1):
        machine.store.write(f"leases/part-00000-{number:06}.json", dead.to_json())
    process = machine.process()
    machine.meanwhile = [process]
    with process, process.hold("part-00000", wait=True):
        assert "part-00000-000002.json" in machine.store.names("leases")
    assert machine.store.names("leases") == []


def test_the_whole_dataset_is_had_only_beside_the_dead(machine: Machine, other_machine: Machine) -> None:
    """A living process is waited for until it is seen to live; a dead one does not count."""
    process, other_process = machine.process(), other_machine.process()
    with process, other_process, other_process.hold_shared():
        machine.meanwhile = [process, other_process]
        with pytest.raises(HeldElsewhereError, match="working on dataset"):
            process.hold_exclusive().__enter__()
        process.__exit__(None, None, None)
        process = machine.process()
        machine.meanwhile = other_machine.meanwhile = [process]
        with process, process.hold_exclusive():
            late = other_machine.process()
            with pytest.raises(HeldElsewhereError, match="working on dataset"):
                late.hold("part-00000").__enter__()
            late.__exit__(None, None, None)


def test_a_store_without_create_if_absent_is_told(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """A warning states that two machines there would buy the same rows, and the run goes on."""

    class Forgetful(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
        cachable = False

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: object) -> None:
            super().pipe_file(path, value)

    machine.store.filesystem = Forgetful()
    with machine.process() as process, process.hold("part-00000"):
        process.check()
    assert "Let only one run" in caplog.text
    caplog.clear()
    machine.store.filesystem = MemoryFileSystem()
    with machine.process() as process, process.hold("part-00000"):
        pass
    assert not caplog.text


def test_a_local_destination_has_locks_alone(tmp_path: Path) -> None:
    """A local destination gets no files, and no thread is started."""
    with Leases(LocalStore(tmp_path / "out"), tmp_path / "locks") as process:
        with process.hold("part-00000"), process.hold_shared():
            with pytest.raises(HeldElsewhereError):
                process.hold("part-00000").__enter__()
            assert process.find_holder("part-00000") is not None
        assert process.find_holder("part-00000") is None
    assert not (tmp_path / "out").exists()


def test_what_another_published_is_not_replaced(object_store: FsspecStore) -> None:
    """The second writer of a new file or a marker gets an error, unless the contents are equal."""
    object_store.write("leases/probe", b"there")
    assert object_store.probe_create_if_absent("leases/probe")
    for data in (b"mine", b"mine", b"another's"):
        expected = pytest.raises(StorageError, match="meanwhile") if data == b"another's" else nullcontext()
        with expected, object_store.subfolder("speech").stage("part-00000.parquet", is_new=True) as path:
            path.write_bytes(data)
        with expected:
            create_marker(object_store, "done/part-00000.json", data)
    assert object_store.read("speech/part-00000.parquet") == object_store.read("done/part-00000.json") == b"mine"


def test_nothing_is_sent_or_published_once_the_lease_is_lost(tmp_path: Path, object_store: FsspecStore) -> None:
    """No attempt and no file of the part; only the usage of its own journal is published when the part is left."""
    bench = Bench.of(tmp_path, object_store)
    events: list[str] = []

    def check() -> None:
        if events:
            raise LeaseLostError("lost")

    async def work() -> None:
        async with bench.part() as part:
            part.hold(ExitStack(), check)
            for utterance in part.todo:
                await bench.say(part, utterance)
            events.append("lease")
            with pytest.raises(LeaseLostError):
                await part.intend(bench.attempt(part.rows.utterances[0]), None)

    asyncio.run(work())
    committer = PartCommitter(object_store, bench.mapper.roles, fence=check)
    with pytest.raises(LeaseLostError):
        committer.commit_part(bench.rows(), bench.replays())
    assert [object_store.names(table) for table in ("usage", "speech", "rejects", "done")] == [[], [], [], []]
    committer.suspend_part(bench.rows(), bench.replays())
    assert object_store.names("usage")


def test_a_process_that_shares_our_locks_has_ended_when_its_lock_is_free(machine: Machine, tmp_path: Path) -> None:
    """At once, at a local destination as at a shared one; and when its heartbeat is gone."""
    local, holder = (Leases(LocalStore(tmp_path), tmp_path / "locks") for _ in range(2))
    with holder.hold("part-00000"):
        assert not local.has_ended("part-00000", holder.invocation_id)
    assert local.has_ended("part-00000", holder.invocation_id)
    with machine.process() as watcher, machine.process() as working:
        with watcher.hold("part-00001"), working.hold("part-00000"):
            assert not watcher.has_ended("part-00000", working.invocation_id)
        assert watcher.has_ended("part-00000", working.invocation_id)
        assert watcher.has_ended("part-00000", "never seen")


def test_who_held_a_lock_before_its_holder_has_ended(machine: Machine, tmp_path: Path) -> None:
    """Also where the one that asks has the lock now, and goes on with the dead one's work."""
    local, other = (Leases(LocalStore(tmp_path), tmp_path / "locks") for _ in range(2))
    with local.hold("part-00000"):
        assert local.has_ended("part-00000", "killed")
        assert other.has_ended("part-00000", "killed")
        assert not local.has_ended("part-00000", local.invocation_id)
    with machine.process() as working, machine.process() as watcher, working.hold("part-00000"):
        assert working.has_ended("part-00000", "killed")
        assert watcher.has_ended("part-00000", "killed")


def test_a_holder_without_a_name_may_be_anybody(tmp_path: Path) -> None:
    """An earlier version wrote no name, and a full disk may have none."""
    watcher = Leases(LocalStore(tmp_path), tmp_path / "locks")
    with FileLock(tmp_path / "locks" / "part-00000.lock"):
        assert not watcher.has_ended("part-00000", "killed")


def test_a_process_of_another_machine_has_ended_when_it_is_silent(machine: Machine, other_machine: Machine) -> None:
    """After one and a half leases by our clock, and not while it sends heartbeats."""
    with machine.process() as watcher, watcher.hold("part-00001"):
        other = kill(other_machine)
        assert not watcher.has_ended("part-00000", other.invocation_id)
        machine.now_s += LEASE_S
        beat(other)
        assert not watcher.has_ended("part-00000", other.invocation_id)
        machine.now_s += TIMEOUT_LEASES * LEASE_S
        assert watcher.has_ended("part-00000", other.invocation_id)
