"""Tests of locations: sources, destinations and reuse stores open with the caller's file system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.dirfs import DirFileSystem

from tts_pipeline.cache.cache_location import find_cache
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.source.parquet_source import open_source
from tts_pipeline.storage.location import FsspecPath, filesystem_of, is_local, is_url, local_path, utf8_name
from tts_pipeline.storage.open_store import open_store


@pytest.fixture
def vault(tmp_path: Path) -> Any:
    """Return a file system that no URL alone opens, with a source of one row."""
    (tmp_path / "vault" / "texts").mkdir(parents=True)
    pq.write_table(pa.table({"id": ["a"], "text": ["One."]}), tmp_path / "vault" / "texts" / "a.parquet")
    return DirFileSystem(str(tmp_path / "vault"), target_protocol="file")


@pytest.mark.parametrize("url", ["dir://texts", "dir://texts/a.parquet", "dir://texts/*.parquet"])
def test_a_source_is_opened_with_its_own_file_system(vault: Any, url: str) -> None:
    """A folder, a file and a glob open with the caller's file system."""
    source = open_source(FsspecPath(url, vault))
    assert ([file.path for file in source.files], source.rows) == (["a.parquet"], 1)
    assert [batch.num_rows for _, batch in source.batches()] == [1]


def test_a_destination_is_too(vault: Any, tmp_path: Path) -> None:
    """A destination and a reuse store open with the caller's file system."""
    store = open_store(FsspecPath("dir://out", vault), tmp_path)
    store.write("one.json", b"{}")
    assert (store.root, (tmp_path / "vault" / "out" / "one.json").read_bytes()) == ("dir://out", b"{}")
    assert find_cache(FsspecPath("dir://kept", vault), tmp_path).is_new


def test_without_one_the_url_says_how() -> None:
    """Fsspec opens a plain URL; an unknown protocol is fsspec's error."""
    filesystem, path = filesystem_of("memory://texts/a")
    assert (filesystem.protocol, path) == ("memory", "/texts/a")
    with pytest.raises(ValueError, match="Protocol not known"):
        filesystem_of("vault://texts")


def test_a_location_is_its_url(vault: Any) -> None:
    """Identities and messages contain the URL, never the file system."""
    place = FsspecPath("dir://a", vault)
    assert place == FsspecPath("dir://a", None)
    assert (repr(place), os.fspath(place)) == ("FsspecPath(url='dir://a')", "dir://a")


@pytest.mark.parametrize(
    ("location", "local", "url"),
    [
        ("out", True, False),
        ("/data/a://b", True, False),
        ("file:out", True, False),
        ("file:/data/out", True, True),
        ("FILE:///data/out", True, True),
        ("s3://bucket/out", False, True),
        ("simplecache::s3://bucket/out", False, True),
    ],
)
def test_locations_are_local_or_not(location: str, local: bool, url: bool) -> None:
    """A path and a file URL are local; any other URL is not; a name with a colon is a path."""
    assert (is_local(location), is_url(location)) == (local, url)


def test_a_file_url_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every way to write one; ``~`` stands for the home, and the path is absolute."""
    monkeypatch.chdir(tmp_path)
    for url in (f"file://{tmp_path}", f"file:{tmp_path}", f"file://localhost{tmp_path}", "file://.", "FILE:///"):
        assert local_path(url) == (Path("/") if url == "FILE:///" else tmp_path)
    assert local_path("~/out") == local_path("file://~/out") == local_path("file:~/out") == Path.home() / "out"
    assert local_path("out") == tmp_path / "out"


def test_what_a_file_url_escapes_is_decoded_unless_it_is_there_as_it_is_written(tmp_path: Path) -> None:
    """A new destination gets the decoded name; an existing one of an earlier version, with percent signs, is found."""
    url = f"file://{tmp_path}/my%20texts%5B1%5D%FF"
    plain = tmp_path / os.fsdecode(b"my texts[1]\xff")
    assert local_path(url) == plain
    (tmp_path / "my%20texts%5B1%5D%FF").mkdir()
    assert local_path(url) == tmp_path / "my%20texts%5B1%5D%FF"
    assert local_path(plain.as_uri() + "a") == plain.with_name(plain.name + "a")


def test_a_home_that_nobody_knows_is_no_folder_of_that_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An unknown user's tilde is part of the name, as in a shell; our own tilde is refused if no home is known."""
    monkeypatch.chdir(tmp_path)
    assert local_path("~nobody-of-this-name/a") == tmp_path / "~nobody-of-this-name" / "a"
    monkeypatch.setenv("HOME", "~")
    with pytest.raises(ConfigurationError, match="no home is known") as exc_info:
        local_path("~/out")
    assert "HOME" in (exc_info.value.hint or "")
    for name in ("", "file://", "file:///a%00b"):
        with pytest.raises(ConfigurationError, match="is not a name of a file"):
            local_path(name)


def test_a_name_that_is_not_utf8_is_written_so_that_it_can_be_stored() -> None:
    """Bytes that are not UTF-8 are escaped; all other names stay unchanged."""
    assert utf8_name(os.fsdecode(b"caf\xe9/\xc3\xa9.parquet")) == "caf\\xe9/é.parquet"
    assert utf8_name("plain\\xe9") == "plain\\xe9"
