"""A place with a file system of the caller's: sources, destinations and reuse stores are opened with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.dirfs import DirFileSystem

from tts_pipeline.dataset.location import Location, filesystem_of
from tts_pipeline.dataset.reuse import find_reusable
from tts_pipeline.dataset.source import open_source
from tts_pipeline.dataset.store import open_store


@pytest.fixture
def vault(tmp_path: Path) -> Any:
    """A file system that no URL alone leads to, with a source of one row in it."""
    (tmp_path / "vault" / "texts").mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"], "text": ["One."]}), tmp_path / "vault" / "texts" / "a.parquet")
    return DirFileSystem(str(tmp_path / "vault"), target_protocol="file")


@pytest.mark.parametrize("url", ["dir://texts", "dir://texts/a.parquet", "dir://texts/*.parquet"])
def test_a_source_is_opened_with_its_own_file_system(vault: Any, url: str) -> None:
    """A folder, a file, a glob."""
    source = open_source(Location(url, vault))
    assert ([file.path for file in source.files], source.rows) == (["a.parquet"], 1)
    assert [batch.num_rows for _, batch in source.batches()] == [1]


def test_a_destination_is_too(vault: Any, tmp_path: Path) -> None:
    """So is a reuse store, which asks for one."""
    store = open_store(Location("dir://out", vault), tmp_path)
    store.write("one.json", b"{}")
    assert (store.root, (tmp_path / "vault" / "out" / "one.json").read_bytes()) == ("dir://out", b"{}")
    assert find_reusable(Location("dir://kept", vault), tmp_path).is_new


def test_without_one_the_url_says_how() -> None:
    """Through fsspec; an unknown kind is an error of its."""
    filesystem, path = filesystem_of("memory://texts/a")
    assert (filesystem.protocol, path) == ("memory", "/texts/a")
    with pytest.raises(ValueError, match="Protocol not known"):
        filesystem_of("vault://texts")


def test_a_location_is_its_url(vault: Any) -> None:
    """In an identity, in a message; never what opens it."""
    place = Location("dir://a", vault)
    assert place == Location("dir://a", None)
    assert (repr(place), os.fspath(place)) == ("Location(url='dir://a')", "dir://a")
