from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store, storage_errors


def test_a_file_written_is_read_back_and_replaced_whole(store: Store) -> None:
    """A written file is read back; a second write replaces it; a file never written is None."""
    assert store.read("folder/name.json") is None
    store.write("folder/name.json", b"one")
    store.write("folder/name.json", b"second")
    assert store.read("folder/name.json") == b"second"


def test_names_are_sorted_and_chosen_by_prefix(store: Store) -> None:
    """Names are sorted, without other prefixes and hidden names; a missing folder has no names."""
    assert store.names("usage") == []
    for name in ("part-00001-b", "part-00001-a", "part-00010-a", "other", ".hidden"):
        store.write(f"usage/{name}", b"x")
    assert store.names("usage", "part-00001-") == ["part-00001-a", "part-00001-b"]
    assert store.names("usage") == ["other", "part-00001-a", "part-00001-b", "part-00010-a"]


def test_removing_is_harmless_when_done_again(store: Store) -> None:
    """A removed file does not exist; a second removal is no error."""
    store.write("claims/one.json", b"x")
    store.remove("claims/one.json")
    store.remove("claims/one.json")
    assert store.read("claims/one.json") is None
    assert store.names("claims") == []


def test_create_never_replaces(store: Store) -> None:
    """The first ``create`` of a name writes the file; the second returns False and changes nothing."""
    assert store.create("dataset.json", b"first")
    assert not store.create("dataset.json", b"second")
    assert store.read("dataset.json") == b"first"


def test_a_destination_is_empty_until_something_visible_is_in_it(store: Store) -> None:
    """Hidden files do not count: a destination with only a work folder is empty."""
    assert store.is_empty()
    store.write(".work/journals/x", b"x")
    assert store.is_empty()
    store.write("dataset.json", b"x")
    assert not store.is_empty()


def test_a_file_is_moved_with_all_that_it_holds(store: Store) -> None:
    """The file has only its new name, in place of an earlier file; a second move changes nothing."""
    store.write("new/usage/a", b"new")
    store.write("usage/a", b"old")
    for _ in range(2):
        store.move("new/usage/a", "usage/a")
    assert store.read("usage/a") == b"new"
    assert not store.exists("new/usage/a")


def test_a_folder_is_a_store_of_its_own(store: Store) -> None:
    """A folder with a dot is hidden from the store around it, and is removed with its contents."""
    inner = store.subfolder(".generations/2")
    inner.write("dataset.json", b"x")
    with inner.stage("speech/a") as path:
        path.write_bytes(b"y")
    assert store.is_empty()
    assert store.read(".generations/2/speech/a") == b"y"
    assert store.names(".generations") == ["2"]
    for _ in range(2):
        store.remove_folder(".generations/2")
    assert inner.is_empty()
    assert store.names(".generations") == []


def test_a_staged_file_is_visible_whole_and_only_after_the_end(store: Store) -> None:
    """The file is invisible while it is written; at the end it is visible whole."""
    with store.stage("speech/part-00000.parquet") as path:
        path.write_bytes(b"half")
        assert store.read("speech/part-00000.parquet") is None
        assert store.names("speech") == []
        path.write_bytes(b"the whole")
    assert store.read("speech/part-00000.parquet") == b"the whole"


def _stage_half(store: Store, name: str) -> None:
    with store.stage(name) as path:
        path.write_bytes(b"half")
        raise ZeroDivisionError


@pytest.mark.parametrize("earlier", [None, b"earlier"])
def test_an_exception_while_staging_leaves_everything_as_it_was(
    store: Store, tmp_path: Path, earlier: bytes | None
) -> None:
    """No partial file and no temporary file remain, and an earlier file stays unchanged."""
    if earlier is not None:
        store.write("speech/part-00000.parquet", earlier)
    with pytest.raises(ZeroDivisionError):
        _stage_half(store, "speech/part-00000.parquet")
    assert store.read("speech/part-00000.parquet") == earlier
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "part-00000.parquet"]
    assert left == []


def test_a_full_disk_while_staging_is_a_storage_error_that_names_the_file(store: Store) -> None:
    """The disk's error (ENOSPC) appears once, with the file's full name and a hint."""
    with (
        pytest.raises(StorageError, match=r"writing .*part-00000\.parquet: No space left") as exc_info,
        store.stage("speech/part-00000.parquet"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert exc_info.value.hint is not None
    assert store.read("speech/part-00000.parquet") is None


_WITH_SMALL_FILES_ONLY = """
import resource, signal, sys
from contextlib import suppress
from pathlib import Path
from tts_pipeline.storage.open_store import open_store
from tts_pipeline.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
store = open_store(sys.argv[1], Path(sys.argv[2]))
try:
    if sys.argv[3] == "create":
        store.create("dataset.json", b"x" * 5_000)
    elif sys.argv[3] == "write":
        store.write("dataset.json", b"x" * 5_000)
    else:
        with store.stage("dataset.json") as path:
            path.write_bytes(b"x" * 5_000)
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("way", ["create", "write", "stage"])
def test_a_disk_that_takes_no_more_leaves_no_file_at_all(tmp_path: Path, way: str) -> None:
    """A write that breaks off leaves neither the file nor a temporary file."""
    command = [sys.executable, "-c", _WITH_SMALL_FILES_ONLY, str(tmp_path / "out"), str(tmp_path / "staging"), way]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "File too large" in output
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_bug_inside_a_stage_is_not_taken_for_the_disk(store: Store) -> None:
    """Only exceptions of a disk or a driver become a StorageError; a bug of ours passes through."""
    with pytest.raises(KeyError), store.stage("x"):
        raise KeyError("x")


def test_a_storage_error_is_told_once() -> None:
    """An error that was translated further inside keeps its message."""
    with pytest.raises(StorageError, match=r"^inner"), storage_errors("outer", Exception), storage_errors("inner"):
        raise OSError("broken")


_LEAVING = (
    "../x",
    "/tmp/x",
    "speech/../../x",
    "speech//x",
    "./x",
    "speech/.",
    "speech/..",
    "..",
    "a\\b",
    "a\0b",
    "a/",
    "\ud800",
)
_WAYS: dict[str, Callable[[Store, str], object]] = {
    "names": lambda store, name: store.names(name),
    "read": lambda store, name: store.read(name),
    "exists": lambda store, name: store.exists(name),
    "open": lambda store, name: store.open(name),
    "remove": lambda store, name: store.remove(name),
    "create": lambda store, name: store.create(name, b"x"),
    "write": lambda store, name: store.write(name, b"x"),
    "move": lambda store, name: store.move(name, "x"),
    "move to": lambda store, name: store.move("there", name),
    "remove_all": lambda store, name: store.remove_folder(name),
    "below": lambda store, name: store.subfolder(name),
    "stage": lambda store, name: store.stage(name).__enter__(),
}


@pytest.mark.parametrize("way", _WAYS)
def test_a_name_that_leaves_the_store_is_refused(store: Store, way: str) -> None:
    """No method, on any store, reads, writes, lists or removes anything above the root."""
    store.write("there", b"x")
    for name in _LEAVING:
        with pytest.raises(StorageError, match="is not the name of a file in"):
            _WAYS[way](store.subfolder("inner"), name)
    assert store.read("there") == b"x"


@pytest.mark.parametrize("way", _WAYS)
@pytest.mark.parametrize("planted", ["folder", "file"])
def test_a_link_below_a_local_store_is_not_followed(tmp_path: Path, way: str, planted: str) -> None:
    """The target is neither read nor changed; the root itself may be a link."""
    outside, real, root = tmp_path / "outside", tmp_path / "real", tmp_path / "root"
    for folder in (outside, real):
        folder.mkdir()
    (outside / "x").write_bytes(b"theirs")
    root.symlink_to(real)
    store = LocalStore(root)
    store.write("there", b"x")
    if planted == "folder":
        (real / "speech").symlink_to(outside)
    else:
        (real / "speech").mkdir()
        (real / "speech/x").symlink_to(outside / "x")
        (real / "speech/.x.tmp").symlink_to(outside / "x")
    name = "speech" if planted == "folder" and way in ("names", "remove_all", "below") else "speech/x"
    with suppress(StorageError):
        result = _WAYS[way](store, name)
        if way == "below":
            result = LocalStore(real).subfolder("speech").names("")
        # A link that stands where a file is to be is replaced, moved or removed itself.
        assert (planted, way) in {("file", call) for call in ("remove", "create", "write", "stage", "move to", "below")}
        assert result in (None, False) or way in ("stage", "below")
    assert (outside / "x").read_bytes() == b"theirs"
    assert os.listdir(outside) == ["x"]


def test_sizes_are_of_all_files_below_a_folder(store: Store) -> None:
    """At any depth, by name; hidden files and those of other folders do not count; a missing folder has none."""
    assert store.sizes("usage") == {}
    for name in ("usage/b/two", "usage/a", "usage/.hidden", "usage/.folder/x", "usage-2/other"):
        store.write(name, name.encode())
    assert list(store.sizes("usage").items()) == [("a", 7), ("b/two", 11)]
    assert store.sizes("usage", "b/") == {"b/two": 11}
    assert store.subfolder("usage").sizes("b") == {"two": 11}
    assert store.sizes("") == {"usage-2/other": 13, "usage/a": 7, "usage/b/two": 11}
    store.write("usage/a", b"longer than before")
    assert store.sizes("usage")["a"] == 18


def test_sizes_refuse_links(tmp_path: Path) -> None:
    """A link would lead out of the store."""
    store = LocalStore(tmp_path / "store")
    store.write("usage/a", b"x")
    (tmp_path / "store" / "usage" / "b").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="usage/b is a link"):
        store.sizes("usage")
