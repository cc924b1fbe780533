"""The names of the files of parts."""

from __future__ import annotations

import pytest

from tts_pipeline.dataset.names import file_names, is_valid_name, parse_journal_id, parse_part_number, part_name
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.store import Store


@pytest.mark.parametrize("name", ["part-", "part-x", "part--1.json", "part-1.json", "x", "../part-x-y"])
def test_a_name_that_is_none_of_ours_is_a_storage_error(name: str) -> None:
    """It is neither ignored nor guessed at, because it may be a file of the bill."""
    with pytest.raises(StorageError, match="not the name of a dataset file"):
        parse_part_number(name)
    with pytest.raises(StorageError, match="not the name of a dataset file"):
        parse_journal_id("part-00000.json")


@pytest.mark.parametrize("number", [0, 7, 99_999, 123_456_789])
def test_a_part_is_known_from_the_name_of_any_of_its_files(number: int) -> None:
    """A number has at least five digits, and leading zeros only up to five: each part has exactly one name."""
    name = part_name(number)
    for file in (f"{name}.parquet", f"usage/{name}-j1.parquet", f"generation-2-{name}-j1.parquet", f"{name}-j1.json"):
        assert parse_part_number(file) == number
    assert parse_journal_id(f"usage/{name}-j1.parquet") == "j1"
    assert parse_journal_id(f"{name}-j1-000000000000000.segment") == "j1"
    with pytest.raises(StorageError):
        parse_part_number(name.replace("part-", "part-0"))


@pytest.mark.parametrize(
    ("folder", "name", "is_valid"),
    [
        ("done", "part-00000.json", True),
        ("done", "part-00000-j.json", False),
        ("speech", "part-00000.parquet", True),
        ("speech", "part-00000.json", False),
        ("usage", "part-00000-j.parquet", True),
        ("usage", "generation-2-part-00000-j.parquet", True),
        ("usage", "generation-0-part-00000-j.parquet", False),
        ("usage", "part-00000.parquet", False),
        ("claims", "part-00000-j.json", True),
        ("journal", "part-00000-j-000000000000001.segment", True),
        ("elsewhere", "part-00000.json", False),
    ],
)
def test_each_folder_has_names_of_its_own(folder: str, name: str, is_valid: bool) -> None:
    """A file that was moved to another folder is not valid there."""
    assert is_valid_name(folder, name) is is_valid


def test_a_renamed_file_is_an_error_and_is_not_left_out(store: Store) -> None:
    """Ignoring it would omit its spending."""
    store.write("usage/part-00001-a.parquet", b"")
    store.write("usage/part-00000-b.parquet", b"")
    assert file_names(store, "usage") == ["part-00000-b.parquet", "part-00001-a.parquet"]
    assert file_names(store, "usage", "part-00001-") == ["part-00001-a.parquet"]
    store.write("usage/part-00002-c (copy).parquet", b"")
    with pytest.raises(StorageError, match=r"part-00002-c \(copy\)\.parquet.* not the name of a dataset file"):
        file_names(store, "usage")
