"""Format and parse the names of the files of parts."""

from __future__ import annotations

import re

from tts_pipeline.errors import StorageError
from tts_pipeline.storage.store import Store

_PART, _JOURNAL = r"part-(?P<part>\d{5,9})", r"-(?P<journal>\w{1,64})"
_ANY_NAME = re.compile(rf"(?:generation-\d{{1,9}}-)?{_PART}(?:{_JOURNAL})?(?:-\d{{15}})?(?:\.[a-z]+)?", re.ASCII)
_PATTERNS = {
    name: re.compile(pattern, re.ASCII)
    for name, pattern in {
        "done": rf"{_PART}\.json",
        "speech": rf"{_PART}\.parquet",
        "rejects": rf"{_PART}\.parquet",
        "usage": rf"(?:generation-[1-9]\d{{0,8}}-)?{_PART}{_JOURNAL}\.parquet",
        "claims": rf"{_PART}{_JOURNAL}\.json",
        "journal": rf"{_PART}{_JOURNAL}-\d{{15}}\.segment",
    }.items()
}


def part_name(number: int) -> str:
    """Return the name of a part within the dataset."""
    return f"part-{number:05}"


def parse_part_number(name: str) -> int:
    """Return the part's number in the name of any of its files."""
    return int(_parse(name)["part"])


def parse_journal_id(name: str) -> str:
    """Return the journal's id in the name of its file, its claim or its usage."""
    journal = _parse(name)["journal"]
    if journal is None:
        raise _bad_name(name)
    return journal


def is_valid_name(folder: str, name: str) -> bool:
    """Return whether a name is valid for a file in a folder of a dataset."""
    match = _PATTERNS[folder].fullmatch(name) if folder in _PATTERNS else None
    return match is not None and part_name(int(match["part"])) == f"part-{match['part']}"


def file_names(store: Store, folder: str, prefix: str = "") -> list[str]:
    """Return the sorted names of the files in a folder of a dataset that begin with a prefix. Blocking.

    Raises:
        StorageError: A file has a foreign name. Ignoring a renamed file would silently omit the spending in it.
    """
    names = store.names(folder, prefix)
    for name in names:
        if not is_valid_name(folder.rsplit("/", 1)[-1], name):
            raise _bad_name(store.describe(f"{folder}/{name}"))
    return names


def _parse(name: str) -> re.Match[str]:
    match = _ANY_NAME.fullmatch(name.rsplit("/", 1)[-1])
    if match is None or part_name(int(match["part"])) != f"part-{match['part']}":
        raise _bad_name(name)
    return match


def _bad_name(name: str) -> StorageError:
    return StorageError(
        f"{name!r} is not the name of a dataset file",
        hint="restore its name, or move it elsewhere: a file of the bill must not be ignored",
    )
