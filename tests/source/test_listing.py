"""Tests of the files that a source names, on the disk and in a bucket alike."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import fsspec
import pytest

from tts_pipeline.errors import ConfigurationError, MissingSourceError
from tts_pipeline.source.listing import describe_left_out, list_source

DATASET = b'{"format_version": 1, "job_fingerprint": "a"}'


class Place:
    """A folder on the disk or in a bucket."""

    def __init__(self, root: str) -> None:
        self.root = root

    def fill(self, *names: str, content: bytes = b"") -> None:
        for name in names:
            with fsspec.open(f"{self.root}/{name}", "wb", auto_mkdir=True) as file:
                file.write(content)

    def names(self, pattern: str = "") -> list[str]:
        return [name for name, _ in list_source(f"{self.root}/{pattern}".rstrip("/")).files]

    def left_out(self, pattern: str = "") -> dict[str, int]:
        return dict(list_source(f"{self.root}/{pattern}".rstrip("/")).left_out)


@pytest.fixture(params=["disk", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Return a folder on the disk, and one in a bucket."""
    if request.param == "disk":
        yield Place(str(tmp_path / "in"))
        return
    url = f"memory://{uuid.uuid4().hex}"
    yield Place(url)
    filesystem, path = fsspec.core.url_to_fs(url)
    filesystem.rm(path, recursive=True)


def test_files_of_tools_are_left_out_and_counted(place: Place) -> None:
    """Hidden names are those of Spark and pyarrow; other Parquet endings are counted, files of other types are not."""
    hidden = ["_temporary/0/a.parquet", ".b.parquet", "_c.parquet", "x/.git/d.parquet"]
    place.fill("a.parquet", *hidden, "B.PARQUET", "c.pq", "_SUCCESS", ".a.parquet.crc", "_metadata", "notes.txt")
    expected = {"named with _ or . in front": 4, "not called *.parquet": 2}
    assert (place.names(), place.left_out()) == (["a.parquet"], expected)
    text = describe_left_out({"not called *.parquet": 1, "named with _ or . in front": 4_000})
    assert text == "1 file not called *.parquet, 4,000 files named with _ or . in front"


def test_a_folder_of_rows_may_begin_with_an_underscore(place: Place) -> None:
    """A Hive folder such as ``_lang=en`` is not hidden, for a folder and for a glob."""
    place.fill("_lang=en/a.parquet", "_lang=de/_x.parquet", ".lang=fr/a.parquet")
    for pattern in ("", "*/*.parquet", "**/*.parquet"):
        assert place.names(pattern) == ["_lang=en/a.parquet"]
        assert place.left_out(pattern) == {"named with _ or . in front": 2}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("_*.parquet", ["_a.parquet"]),
        ("_a.parquet", ["_a.parquet"]),
        ("[_]a.parquet", []),
        ("*/_*.parquet", ["x/_a.parquet"]),
        ("**/_*.parquet", ["_a.parquet", "x/_a.parquet"]),
        ("_t*/*.parquet", ["_tmp/a.parquet"]),
        ("_tmp", ["a.parquet"]),
        (".h/_a.parquet", ["_a.parquet"]),
        (".*/_*.parquet", [".h/_a.parquet"]),
    ],
)
def test_what_is_named_is_read(place: Place, pattern: str, names: list[str]) -> None:
    """A pattern that begins with the hidden character matches hidden names; a wildcard does not."""
    place.fill("_a.parquet", "x/_a.parquet", "_tmp/a.parquet", ".h/_a.parquet")
    if names:
        assert place.names(pattern) == names
        return
    with pytest.raises(MissingSourceError, match=r"no Parquet file .*\(left out: 1 file named with _ or \. in front\)"):
        place.names(pattern)


def test_datasets_and_exports_of_ours_are_left_out_and_counted(place: Place) -> None:
    """Our own datasets and exports are left out anywhere below the source, but read if the source names them."""
    place.fill("a.parquet", "out/speech/p.parquet", "out/usage/p.parquet", "x/kept/data/t.parquet")
    place.fill("x/theirs/b.parquet", "out/.generations/2/speech/p.parquet")
    place.fill("out/dataset.json", content=DATASET)
    place.fill("x/kept/export.json", content=b'{"format_version": 1, "as": "huggingface"}')
    place.fill("x/theirs/dataset.json", content=b'{"name": "my own"}')
    for pattern in ("", "**/*.parquet"):
        assert place.names(pattern) == ["a.parquet", "x/theirs/b.parquet"]
        assert place.left_out(pattern) == {"of the dataset at out/": 3, "of the export at x/kept/": 1}
    assert place.names("out/speech") == place.names("out/speech/*.parquet") == ["p.parquet"]
    assert place.names("*/speech/*.parquet") == ["out/speech/p.parquet"]
    assert place.names("x/kept") == ["data/t.parquet"]
    with pytest.raises(ConfigurationError, match="is a dataset that tts-pipeline made") as exc_info:
        place.names("out")
    assert "speech/" in (exc_info.value.hint or "")


def test_a_bucket_of_a_server_is_searched_likewise(s3: Mapping[str, str], tmp_path: Path) -> None:
    """The driver that people use finds folders, names that look like globs, datasets, and tables with their hint."""
    place = Place("s3://bucket/lake")
    place.fill("in/k=1/a.parquet", "in/_b.parquet", "in/out/speech/p.parquet", "in/run[1]/k=2/c[2].parquet")
    place.fill("t/_delta_log/0.json", "t/k=1/a.parquet")
    place.fill("in/out/dataset.json", content=DATASET)
    expected = {"named with _ or . in front": 1, "of the dataset at out/": 1}
    for pattern in ("in", "in/**/*.parquet"):
        assert place.names(pattern) == ["k=1/a.parquet", "run[1]/k=2/c[2].parquet"]
        assert place.left_out(pattern) == expected
    assert place.names("in/run[1]/*/*.parquet") == place.names("in/run[1]") == ["k=2/c[2].parquet"]
    assert place.names("in/run[1]/k=2/c[2].parquet") == ["c[2].parquet"]
    for pattern in ("", "t/*/*.parquet", "t/k=1", "t/k=1/a.parquet"):
        with pytest.raises(ConfigurationError, match="Delta") as exc_info:
            place.names(pattern)
        assert "pl.scan_delta('s3://bucket/lake/t')" in (exc_info.value.hint or "")


def test_a_work_folder_is_no_source(tmp_path: Path) -> None:
    """Files in the work folder are not read."""
    place = Place(str(tmp_path))
    place.fill("a.parquet", "work/staging/speech+p.parquet")
    listing = list_source(tmp_path, tmp_path / "work")
    assert [name for name, _ in listing.files] == ["a.parquet"]
    assert listing.left_out == {"of the work folder at work/": 1}
    assert len(list_source(tmp_path / "work", tmp_path / "work").files) == 1


@pytest.mark.parametrize(
    ("mark", "kind", "way"),
    [
        ("_delta_log/00000000000000000000.json", "Delta", "pl.scan_delta("),
        ("metadata/00000-3f0.metadata.json", "Iceberg", "pl.scan_iceberg("),
        (".hoodie/hoodie.properties", "Hudi", "tts.run(rows"),
        ("snapshot/LATEST", "Paimon", "tts.run(rows"),
    ],
)
@pytest.mark.parametrize(
    "source", ["", "lake", "lake/t", "lake/t/*.parquet", "*/*/*.parquet", "lake/t/a.parquet", "lake/t/data/k=1"]
)
def test_a_table_with_a_log_is_refused_with_the_way_to_read_it(
    place: Place, mark: str, kind: str, way: str, source: str
) -> None:
    """A table is refused because its files hold deleted rows: below the source, or with the source inside the table."""
    place.fill(f"lake/t/{mark}", "lake/t/a.parquet", "lake/t/data/k=1/b.parquet", "a.parquet", "lake/other/c.parquet")
    with pytest.raises(ConfigurationError, match=rf"lake/t' is a {kind} table") as exc_info:
        place.names(source)
    assert way in (exc_info.value.hint or "")
    assert place.names("lake/other") == place.names("lake/other/*.parquet") == ["c.parquet"]


def test_a_delta_table_without_an_entry_is_one(tmp_path: Path) -> None:
    """The folder of a Delta log suffices, even without an entry."""
    (tmp_path / "_delta_log").mkdir()
    Place(str(tmp_path)).fill("a.parquet")
    with pytest.raises(ConfigurationError, match="Delta"):
        list_source(tmp_path)


@pytest.mark.parametrize(
    "source", ["run[1]/a[1].parquet", "run[1]", "run[1]/*.parquet", "run[1]/x?/a*", "run[12]/*1.p*"]
)
def test_a_name_that_is_there_goes_before_a_glob(place: Place, source: str) -> None:
    """Brackets and question marks are literal if such a name exists; otherwise they are wildcards."""
    place.fill("run[1]/a[1].parquet", "run[1]/x?/a1.parquet", "run1/b1.parquet", "run1/x1/b1.parquet")
    expected = {"run[1]": ["a[1].parquet", "x?/a1.parquet"], "run[1]/x?/a*": ["a1.parquet"]}
    assert place.names(source) == expected.get(source, ["run1/b1.parquet" if "12" in source else "a[1].parquet"])


def test_file_urls_are_sources(tmp_path: Path) -> None:
    """A ``file:`` URL of any form names a file, a folder or a glob."""
    Place(str(tmp_path)).fill("my texts/a[1].parquet")
    file = tmp_path / "my texts" / "a[1].parquet"
    for url in (file.as_uri(), f"file:{file}", f"file://localhost{file}", file.parent.as_uri() + "/*.parquet"):
        assert list_source(url).files == [("a[1].parquet", str(file))]


def test_names_that_are_not_utf8_are_sources(tmp_path: Path) -> None:
    """Names that are not UTF-8 are stored escaped; two names with the same escaped form are refused."""
    for name in (b"caf\xe9.parquet", b"d\xff/x.parquet"):
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [name for name, _ in list_source(tmp_path).files] == [r"caf\xe9.parquet", r"d\xff/x.parquet"]
    (tmp_path / r"caf\xe9.parquet").touch()
    with pytest.raises(ConfigurationError, match="two files"):
        list_source(tmp_path)


def test_linked_folders_are_followed_once_around(tmp_path: Path) -> None:
    """Links to folders are followed, as pyarrow and Polars do; a link to a folder around it is not."""
    for name in ("in/a/x.parquet", "elsewhere/y.parquet"):
        Place(str(tmp_path)).fill(name)
    for link, target in (("in/link", "../elsewhere"), ("in/a/back", "../../in"), ("elsewhere/to", "../in/a")):
        (tmp_path / link).symlink_to(target)
    assert [name for name, _ in list_source(tmp_path / "in").files] == [
        "a/x.parquet",
        "link/to/x.parquet",
        "link/y.parquet",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_refused(tmp_path: Path, locked: Callable[[Path], None]) -> None:
    """An unreadable folder is refused: its rows would be missing silently."""
    Place(str(tmp_path)).fill("a.parquet", "b/c.parquet")
    locked(tmp_path / "b")
    with pytest.raises(ConfigurationError, match="cannot open the source"):
        list_source(tmp_path)


@pytest.fixture
def locked() -> Iterator[Callable[[Path], None]]:
    """Give a function that removes all permissions from folders until the end of the test."""
    folders: list[Path] = []

    def lock(folder: Path) -> None:
        folder.chmod(0)
        folders.append(folder)

    yield lock
    for folder in folders:
        folder.chmod(0o700)
