"""Tests of stores in a folder of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.local_store import LocalStore


def test_a_file_in_place_of_a_folder_is_a_storage_error(tmp_path: Path) -> None:
    """Every method raises a StorageError, and none lets the system's exception through."""
    (tmp_path / "speech").write_bytes(b"")
    store = LocalStore(tmp_path)
    doings: list[Callable[[], object]] = [
        lambda: store.names("speech"),
        lambda: store.remove("speech/x"),
        lambda: store.write("speech/x", b""),
        lambda: store.create("speech/x", b""),
        lambda: store.stage("speech/x").__enter__(),
    ]
    for doing in doings:
        with pytest.raises(StorageError, match="speech"):
            doing()


def test_a_destination_that_is_a_file_is_told_as_such(tmp_path: Path) -> None:
    """A file in place of the destination is not read as an empty dataset."""
    (tmp_path / "out").write_bytes(b"")
    store = LocalStore(tmp_path / "out")
    assert store.read("dataset.json") is None
    with pytest.raises(StorageError, match="is a file, not a folder"):
        store.is_empty()


def test_many_may_write_one_name_at_a_time(tmp_path: Path) -> None:
    """Two processes may finalize a dataset at the same time: one of the two whole files remains."""
    store = LocalStore(tmp_path)
    failures: list[BaseException] = []

    def write(letter: bytes) -> None:
        try:
            for _ in range(25):
                store.write("parts.json", letter * 10_000)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.read("parts.json") in {b"a" * 10_000, b"b" * 10_000, b"c" * 10_000}
    assert os.listdir(tmp_path) == ["parts.json"]


def test_only_one_of_many_creates(tmp_path: Path) -> None:
    """Of many processes that create one name together, exactly one succeeds, and its bytes are in the file."""
    store = LocalStore(tmp_path)
    start = threading.Barrier(8)
    winners: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if store.create("dataset.json", f"{number}".encode() * 1_000):
            winners.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert store.read("dataset.json") == f"{winners[0]}".encode() * 1_000


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe is not waited for, and a folder is not read: each error says that the path is not a file."""
    os.mkfifo(tmp_path / "dataset.json")
    (tmp_path / "parts.json").mkdir()
    for name in ("dataset.json", "parts.json"):
        with pytest.raises(StorageError, match=f"{name} is not a file"):
            LocalStore(tmp_path).read(name)
