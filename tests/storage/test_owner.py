"""Tests of the files of leases and heartbeats: their names and owners."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import msgspec
import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.fsspec_store import FsspecStore
from tts_pipeline.storage.owner import Owner, has_exited, lease_epochs, lease_name, read_owner, work_id_of

OWNER = Owner(uuid.uuid4().hex, "here", 7, "0" * 16, 60.0)


def test_the_epochs_of_a_resource_are_read_back_from_its_names() -> None:
    """Leases of other resources, and other names, are ignored."""
    names = [lease_name("part-00001", epoch).removeprefix("leases/") for epoch in (1, 12, 1_234_567)]
    others = ["part-00001-1.json", "part-00001-00000a.json", "part-00001-0000012.json", "part-000011-000001.json"]
    assert lease_epochs("part-00001", [*names, *others]) == [1, 12, 1_234_567]


def test_an_owner_is_read_back(object_store: FsspecStore) -> None:
    """Other fields of the file are ignored; a missing file has no owner."""
    object_store.write("leases/one.json", OWNER.to_json(beat=3))
    assert read_owner(object_store, "leases/one.json") == OWNER
    assert read_owner(object_store, "leases/two.json") is None


@pytest.mark.parametrize(
    "change", [{"invocation_id": "../x"}, {"lease_s": 0}, {"lease_s": 1e9}, {"host": "h" * 256}, {"process": "seven"}]
)
def test_an_owner_that_cannot_be_is_damage(object_store: FsspecStore, change: dict[str, object]) -> None:
    """The state of the process is unknown then, so the file is an error."""
    fields = msgspec.structs.asdict(OWNER)
    object_store.write("leases/one.json", msgspec.json.encode({**fields, **change}))
    with pytest.raises(StorageError, match=r"leases/one\.json is damaged"):
        read_owner(object_store, "leases/one.json")


def test_locks_are_shared_in_one_folder_of_one_machine() -> None:
    """A copy of the folder on another machine has the same id, and other locks."""
    assert OWNER.shares_locks_with(msgspec.structs.replace(OWNER, process=8, invocation_id=uuid.uuid4().hex))
    assert not OWNER.shares_locks_with(msgspec.structs.replace(OWNER, host="there"))
    assert not OWNER.shares_locks_with(msgspec.structs.replace(OWNER, work_id="1" * 16))


def test_a_process_that_was_waited_for_has_exited() -> None:
    """An existing process has not exited; for an impossible number the answer is no."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert has_exited(process.pid)
    assert not has_exited(os.getpid())
    assert not has_exited(2**80)


def test_a_work_folder_keeps_its_id(tmp_path: Path) -> None:
    """The id is made with the folder, and made again if it is damaged."""
    first = work_id_of(tmp_path / "a" / "locks")
    assert work_id_of(tmp_path / "a" / "locks") == first != work_id_of(tmp_path / "b")
    (tmp_path / "b" / "work.id").write_text("\0damaged")
    again = work_id_of(tmp_path / "b")
    assert again == work_id_of(tmp_path / "b")
    assert len(again) == 16
