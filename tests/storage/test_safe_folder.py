"""Tests of folders that are made and read without following links."""

from __future__ import annotations

from pathlib import Path

import pytest

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.safe_folder import SafeFolder, create_file, make_folder


def test_make_folder_makes_all_that_is_missing_and_nothing_again(tmp_path: Path) -> None:
    """Missing parents are made, and an existing folder stays unchanged."""
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Return a folder outside the root, with a file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "x").write_bytes(b"theirs")
    return folder


def test_the_root_may_be_a_link_and_nothing_below_it(tmp_path: Path, outside: Path) -> None:
    """The user chose the root, so its link is followed; links below it may be planted."""
    (tmp_path / "root").symlink_to(outside)
    folder = SafeFolder(tmp_path / "root")
    with folder.open("x") as file:
        assert file.read() == b"theirs"
    (outside / "inner").symlink_to(outside)
    (outside / "file").symlink_to(outside / "x")
    for name in ("inner/x", "file"):
        with pytest.raises(StorageError, match="is a link"):
            folder.open(name)
        with pytest.raises(StorageError, match="is a link"):
            folder.lstat(name)


def test_links_are_found_where_they_would_be_written_through(tmp_path: Path, outside: Path) -> None:
    """Links are found among the folders and their entries; missing folders are no links."""
    (tmp_path / "work" / "locks").mkdir(parents=True)
    folder = SafeFolder(tmp_path / "work")
    folder.check_no_links("", "locks", "journals")
    (tmp_path / "work" / "locks" / "a.lock").symlink_to(outside / "x")
    folder.check_no_links("journals")
    with pytest.raises(StorageError, match=r"locks/a\.lock is a link"):
        folder.check_no_links("locks")


def test_a_new_file_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path: Path, outside: Path) -> None:
    """A link is replaced, not its target; so is a killed process's temporary file."""
    (tmp_path / "new").symlink_to(outside / "x")
    for _ in range(2):
        with open(create_file(tmp_path / "new"), "wb") as file:  # noqa: PTH123 (a descriptor)
            file.write(b"ours")
        assert ((tmp_path / "new").read_bytes(), (outside / "x").read_bytes()) == (b"ours", b"theirs")


def test_folders_are_made_step_by_step_and_only_where_asked_for(tmp_path: Path) -> None:
    """A read makes no folders."""
    folder = SafeFolder(tmp_path / "root").subfolder("a")
    with pytest.raises(FileNotFoundError), folder.open_folder("b/c"):
        pass
    assert not (tmp_path / "root").exists()
    with folder.open_folder("b/c", make=True):
        assert (tmp_path / "root" / "a" / "b" / "c").is_dir()
