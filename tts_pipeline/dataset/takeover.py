"""Journals of other machines, or of disks that are lost: taken over from what was shipped to the destination."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from tts_pipeline.dataset.claims import Claim, claim_name, read_claim
from tts_pipeline.dataset.journal import SUFFIX, encode_record, frame
from tts_pipeline.dataset.journals import lost_of
from tts_pipeline.dataset.names import file_names, journal_of, part_name
from tts_pipeline.dataset.replay import Replay, replay
from tts_pipeline.dataset.safe_folder import create_file, make_folder, sync_path
from tts_pipeline.dataset.shipping import FOLDER, segment_name
from tts_pipeline.dataset.store import Store, storage_errors

_CHUNKS_AT_ONCE = 16
"""Chunks that are read or removed at one time: a part may have one for each of its rows."""


def take_over(store: Store, folder: Path, part: int, but: Collection[str] = ()) -> list[str]:
    """Copy the journals of a part that were shipped, and are not here, to this machine. Blocking.

    A copy ends where the last segment did. What the journal's writer sent after that is not known: the copy says so in
    a last record, ``lost``, with what the claim still covers beyond all that the copy tells. Whoever takes over holds
    the part's lock; that the writer is dead is taken for granted, as it is where nothing was shipped.

    Args:
        store: The destination.
        folder: Where the journals are.
        part: Whose.
        but: Ids of journals that are not of interest.

    Returns:
        The ids of the journals that were copied.

    Raises:
        StorageError: The destination or the disk failed, or a journal is of another version.
    """
    taken = []
    for journal_id, names in _segments(store, part).items():
        path = folder / f"{part_name(part)}-{journal_id}{SUFFIX}"
        if journal_id in but or path.exists():
            continue
        copy = path.with_suffix(".copying")
        with storage_errors(f"copying the journal {path}"):
            make_folder(folder)
            with _create(copy) as file:
                _copy(store, path.stem, names, file)
            whole = replay(copy)
            if whole is not None:
                _end(copy, whole, read_claim(store, claim_name(part, journal_id)))
                copy.rename(path)
                sync_path(folder)
                taken.append(journal_id)
            copy.unlink(missing_ok=True)
    return taken


def remove_shipped(store: Store, part: int, journal_ids: Collection[str] | None = None) -> None:
    """Remove what was shipped of a part that is published. Blocking.

    Args:
        store: The destination.
        part: Whose.
        journal_ids: Of the journals; None is all of the part.

    Raises:
        StorageError: The destination failed.
    """
    found = _segments(store, part)
    names = [
        name for journal_id in found if journal_ids is None or journal_id in journal_ids for name in found[journal_id]
    ]
    with ThreadPoolExecutor(_CHUNKS_AT_ONCE, thread_name_prefix="chunks") as threads:
        list(threads.map(store.remove, names))


def _segments(store: Store, part: int) -> dict[str, list[str]]:
    """Return the names of a part's segments by journal, oldest first, in order."""
    found = defaultdict[str, list[str]](list)
    for name in file_names(store, FOLDER, f"{part_name(part)}-"):
        found[journal_of(name)].append(f"{FOLDER}/{name}")
    return found


def _create(path: Path) -> BinaryIO:
    descriptor = create_file(path)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, "wb")


def _copy(store: Store, journal: str, names: Sequence[str], file: BinaryIO) -> None:
    """Write the segments one after the other, as far as they follow upon one another."""
    with ThreadPoolExecutor(_CHUNKS_AT_ONCE, thread_name_prefix="chunks") as threads:
        for first in range(0, len(names), _CHUNKS_AT_ONCE):  # not all ahead: they may be more than the memory holds
            some = names[first : first + _CHUNKS_AT_ONCE]
            for name, data in zip(some, threads.map(store.read, some), strict=True):
                if data is None or name != segment_name(journal, file.tell()):
                    return
                file.write(data)


def _end(path: Path, whole: Replay, claim: Claim | None) -> None:
    """Cut off what is torn, and add what may have been spent beyond."""
    with path.open("r+b") as file:
        file.truncate(whole.size_bytes)
        file.seek(0, os.SEEK_END)
        file.write(b"".join(frame(encode_record({"kind": "lost", **asdict(lost_of(whole, claim))}))))
        file.flush()
        os.fsync(file.fileno())
