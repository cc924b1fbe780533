"""List the Parquet files of a source, count those left out, and refuse tables such as Delta Lake's.

A folder is the glob ``**/*.parquet``. Wildcards match neither hidden names nor files of our own datasets and exports:
such files are read if the source names them, and otherwise counted.
"""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tts_pipeline.errors import ConfigurationError, MissingSourceError, TtsPipelineError, cause_of
from tts_pipeline.source.file_tree import FileTree, is_hidden, open_tree
from tts_pipeline.storage.daemon_threads import DaemonExecutor
from tts_pipeline.storage.location import utf8_name

FOLDER_READERS = 16
"""Folders of a glob that are searched at the same time."""

_ALL_PARQUET = ("**", "*.parquet")
_PARQUET = re.compile(r"\.(?:parquet|parq|pq)$", re.IGNORECASE)
_OWN_MARKS = {"dataset.json": ("dataset", b'"job_fingerprint"'), "export.json": ("export", b'"as"')}
"""The marks of our own folders: a file's name, the kind of the folder, and bytes that the file contains."""

_TABLE_MARK = re.compile(
    r"(?:^|/)(?:(?P<Delta>_delta_log)|(?P<Hudi>\.hoodie(?:_partition_metadata)?)"
    r"|(?P<Iceberg>metadata/[^/]*\.metadata\.json)|(?P<Paimon>snapshot/LATEST))(?:/|$)"
)
"""The marks of tables whose log states which files and rows are current, by their specifications of 2026-11 (Delta 4,
Hudi 1, Iceberg 3, Paimon 1)."""

_TABLE_MARKS = ("_delta_log", ".hoodie", ".hoodie_partition_metadata", "snapshot/LATEST")
_ICEBERG_MARK = "metadata/*.metadata.json"
_TABLE_SUBFOLDER = re.compile(r"[^/]*=[^/]*|data|bucket-\d+")
"""Folders of such tables that hold data files."""

_SCANS = {"Delta": "pl.scan_delta", "Iceberg": "pl.scan_iceberg"}


@dataclass(frozen=True, slots=True)
class SourceListing:
    """The files of a source, sorted: each has a relative path, as storable text, and a location to open.

    ``filesystem`` None is the local disk. ``left_out`` counts Parquet files that are not read, by the reason.
    """

    filesystem: Any | None
    files: Sequence[tuple[str, str]]
    left_out: Mapping[str, int] = field(default_factory=dict)


def list_source(location: str | os.PathLike[str], work_dir: Path | None = None) -> SourceListing:
    """Find the files of a source, outside ``work_dir``. Blocking.

    A file whose name is the glob itself replaces the matches of the glob.

    Raises:
        MissingSourceError: The file does not exist, or no Parquet file is in the folder or matches the glob.
        ConfigurationError: The source cannot be listed, or is a table or a dataset, which cannot be read file by file.
    """
    text = os.fspath(location)
    try:
        listing = _list_source(text, *open_tree(location), work_dir)
    except TtsPipelineError:
        raise
    except Exception as error:  # drivers of object stores raise exceptions of their own
        raise ConfigurationError(
            f"cannot open the source {text!r}: {error}", hint="check its path or URL, and access"
        ) from cause_of(error)
    if not listing.files:
        note = f" (left out: {describe_left_out(listing.left_out)})" if listing.left_out else ""
        hint = "give a file, a folder, a glob or a URL of Parquet files"
        raise MissingSourceError(f"no Parquet file at {text!r}{note}", hint=hint)
    _refuse_equal_names([name for name, _ in listing.files])
    return listing


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """Describe the files that were left out of a source, for people."""
    return ", ".join(f"{count:,} file{'' if count == 1 else 's'} {reason}" for reason, count in left_out.items())


def _list_source(text: str, tree: FileTree, path: str, work_dir: Path | None) -> SourceListing:
    if tree.is_folder(path):
        names = list(tree.walk(path))
        _refuse_tables_above(tree, path)
        return _Search(tree, path, _ALL_PARQUET).listing([n for n in names if _PARQUET.search(n)], names, work_dir)
    if tree.exists(path):
        folder, _, name = path.rpartition("/")
        _refuse_tables_above(tree, f"{folder}/")
        return SourceListing(tree.filesystem, [(utf8_name(name), path)])
    root, pieces = tree.split(path)
    if not glob.has_magic("/".join(pieces)):
        raise MissingSourceError(f"no such file or folder: {text!r}", hint="check the path or the URL of the source")
    matches = list(tree.glob(root, "/".join(pieces)))
    _refuse_tables_above(tree, root)
    return _Search(tree, root, pieces).listing(matches, _marks_beside(tree, root, matches), work_dir)


@dataclass(frozen=True, slots=True)
class _Search:
    """A folder, and the pieces of the glob to search in it."""

    tree: FileTree
    root: str
    pieces: tuple[str, ...]

    def listing(self, matches: Sequence[str], names: Sequence[str], work_dir: Path | None) -> SourceListing:
        """Divide the matches into files to read and files left out; ``names`` may contain marks of folders."""
        own_folders = {**dict(self._own_folders(names)), **self._below_root(work_dir)}
        files, left_out = [], Counter[str]()
        for name in sorted(matches):
            reason = self._skip_reason(name, own_folders)
            if reason is None:
                files.append((utf8_name(name), self.tree.join(self.root, name)))
            elif _PARQUET.search(name):
                left_out[reason] += 1
        self._refuse_tables(names, [name for name, _ in files])
        return SourceListing(self.tree.filesystem, files, dict(left_out))

    def _skip_reason(self, name: str, own_folders: Mapping[str, str]) -> str | None:
        """Return the reason why a file is left out; None if it is read."""
        parts = name.split("/")
        above = itertools.accumulate(parts[:-1], "{}/{}".format) if own_folders else ()
        owner = next((folder for folder in above if folder in own_folders), None)
        if owner is None and not any(map(is_hidden, parts)):
            is_read = self.pieces is not _ALL_PARQUET or name.endswith(".parquet")
            return None if is_read else "not called *.parquet"
        protected = set() if owner is None else {owner.count("/") + 1}
        protected |= {index for index, part in enumerate(parts) if is_hidden(part)}
        if _matches(self.pieces, parts, protected):
            return None
        return "named with _ or . in front" if owner is None else f"of the {own_folders[owner]} at {utf8_name(owner)}/"

    def _own_folders(self, names: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield our own folders, each with its kind."""
        for name in names:
            folder, _, mark = name.rpartition("/")
            kind, content = _OWN_MARKS.get(mark, ("", b""))
            if not kind or content not in self.tree.read(self.tree.join(self.root, name)):
                continue
            if folder:
                yield folder, kind
            elif kind == "dataset" and self.pieces[0] == "**":
                raise ConfigurationError(
                    f"{self.tree.display_path(self.root)!r} is a dataset that tts-pipeline made, not a source",
                    hint="to make another dataset from its speech, name its folder speech/",
                )

    def _below_root(self, work_dir: Path | None) -> dict[str, str]:
        if work_dir is None or self.tree.filesystem is not None:
            return {}
        folder = os.path.relpath(os.path.realpath(work_dir), os.path.realpath(self.root))
        return {} if folder == "." or folder.startswith("..") else {folder: "work folder"}

    def _refuse_tables(self, names: Sequence[str], files: Sequence[str]) -> None:
        marks = (match for match in map(_TABLE_MARK.search, names) if match)
        tables = {match.string[: match.start()]: str(match.lastgroup) for match in marks}
        for folder in sorted(tables):
            if not folder or any(name.startswith(f"{utf8_name(folder)}/") for name in files):
                _refuse_table(self.tree.display_path(self.tree.join(self.root, folder)), tables[folder])


def _matches(pieces: Sequence[str], parts: Sequence[str], protected: Collection[int], depth: int = 0) -> bool:
    """Return whether a pattern matches a path; wildcards do not match the protected parts."""
    if not pieces or depth == len(parts):
        return depth == len(parts) and all(piece == "**" for piece in pieces)
    piece, part = pieces[0], parts[depth]
    if piece == "**":
        matches_deeper = depth not in protected and _matches(pieces, parts, protected, depth + 1)
        return matches_deeper or _matches(pieces[1:], parts, protected, depth)
    is_match = part == piece or depth not in protected or (is_hidden(part) and part[0] == piece[0])
    return is_match and fnmatchcase(part, piece) and _matches(pieces[1:], parts, protected, depth + 1)


def _refuse_equal_names(names: Sequence[str]) -> None:
    equal = [name for name, count in Counter(names).items() if count > 1]
    if equal:
        raise ConfigurationError(f"two files of the source have the name {equal[0]!r}", hint="rename one of them")


def _refuse_tables_above(tree: FileTree, path: str) -> None:
    """Refuse a source that lies in a table, as one of its data files or data folders."""
    folder, _, name = path.rpartition("/")
    if not tree.has_folders or not folder or (name and not _TABLE_SUBFOLDER.fullmatch(name)):
        return
    for mark in _marks_in(tree, folder):
        match = _TABLE_MARK.search(mark)
        if match:
            _refuse_table(tree.display_path(folder), str(match.lastgroup))
    _refuse_tables_above(tree, folder)


def _refuse_table(folder: str, kind: str) -> None:
    function = _SCANS.get(kind)
    advice = (
        f"with Polars: tts.run({function}({folder!r}), ...)"
        if function
        else "with a library for it, and tts.run(rows, ...)"
    )
    raise ConfigurationError(
        f"{folder!r} is a {kind} table: its files also hold rows that were deleted or replaced",
        hint=f"read it {advice}",
    )


def _marks_beside(tree: FileTree, root: str, matches: Sequence[str]) -> list[str]:
    """Return the marks of tables and datasets in the folders of a glob's matches, relative to its root."""
    if not tree.has_folders:
        return []
    folders = {""}
    for name in matches:
        folders.update(itertools.accumulate(name.split("/")[:-1], "{}/{}".format))
    plain_folders = sorted(folder for folder in folders if "=" not in folder.rpartition("/")[2])
    with DaemonExecutor(FOLDER_READERS, "source-folders") as probes:
        marks_by_folder = probes.map(lambda folder: _marks_in(tree, tree.join(root, folder)), plain_folders)
        return [
            f"{folder}/{mark}".lstrip("/")
            for folder, marks in zip(plain_folders, marks_by_folder, strict=True)
            for mark in marks
        ]


def _marks_in(tree: FileTree, folder: str) -> list[str]:
    with suppress(OSError):  # an unreadable folder shows no marks
        marks = [mark for mark in (*_OWN_MARKS, *_TABLE_MARKS) if tree.exists(tree.join(folder, mark))]
        return [*marks, *tree.glob(folder, _ICEBERG_MARK)]
    return []
