"""Adopt journals of other machines, or of lost disks, from their chunks at the destination."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from tts_pipeline.dataset.claims import Claim, claim_name, read_claim
from tts_pipeline.dataset.names import file_names, parse_journal_id, part_name
from tts_pipeline.dataset.part_journals import unaccounted_spend
from tts_pipeline.storage.safe_folder import create_file, make_folder, sync_path
from tts_pipeline.storage.store import Store, storage_errors
from tts_pipeline.wal.journal import SUFFIX, encode_frame
from tts_pipeline.wal.records import encode_record
from tts_pipeline.wal.replay import Replay, replay_journal
from tts_pipeline.wal.shipping import FOLDER, chunk_name

_CHUNKS_AT_ONCE = 16
"""Chunks that are read or removed at the same time: a part may have one chunk per row."""


def adopt_journals(store: Store, folder: Path, part: int, exclude: Collection[str] = ()) -> list[str]:
    """Copy the shipped journals of a part that are not on this machine; return the ids of the copies. Blocking.

    A copy ends with the last chunk. The writer may have sent more requests after it: the last record of the copy,
    ``lost``, holds the rest of the claim beyond the spending in the copy. The caller holds the part's lock; the writer
    is assumed dead, as it is where nothing was shipped.

    Raises:
        StorageError: The destination or the disk failed, or another version wrote a journal.
    """
    adopted_ids = []
    for journal_id, names in _list_chunks(store, part).items():
        path = folder / f"{part_name(part)}-{journal_id}{SUFFIX}"
        if journal_id in exclude or path.exists():
            continue
        copy = path.with_suffix(".copying")
        with storage_errors(f"copying the journal {path}"):
            make_folder(folder)
            with _create_private(copy) as file:
                _copy_chunks(store, path.stem, names, file)
            replay = replay_journal(copy)
            if replay is not None:
                _finish_copy(copy, replay, read_claim(store, claim_name(part, journal_id)))
                copy.rename(path)
                sync_path(folder)
                adopted_ids.append(journal_id)
            copy.unlink(missing_ok=True)
    return adopted_ids


def remove_shipped_logs(store: Store, part: int, journal_ids: Collection[str] | None = None) -> None:
    """Remove the shipped chunks of a committed part; ``journal_ids`` None means all its journals. Blocking."""
    chunks = _list_chunks(store, part)
    names = [
        name for journal_id in chunks if journal_ids is None or journal_id in journal_ids for name in chunks[journal_id]
    ]
    with ThreadPoolExecutor(_CHUNKS_AT_ONCE, thread_name_prefix="chunks") as threads:
        list(threads.map(store.remove, names))


def _list_chunks(store: Store, part: int) -> dict[str, list[str]]:
    """Return the names of a part's chunks by journal id, in the order of their offsets."""
    chunks = defaultdict[str, list[str]](list)
    for name in file_names(store, FOLDER, f"{part_name(part)}-"):
        chunks[parse_journal_id(name)].append(f"{FOLDER}/{name}")
    return chunks


def _create_private(path: Path) -> BinaryIO:
    fd = create_file(path)
    os.fchmod(fd, 0o600)
    return os.fdopen(fd, "wb")


def _copy_chunks(store: Store, journal: str, names: Sequence[str], file: BinaryIO) -> None:
    """Write the chunks in order, up to the first gap."""
    with ThreadPoolExecutor(_CHUNKS_AT_ONCE, thread_name_prefix="chunks") as threads:
        for first in range(0, len(names), _CHUNKS_AT_ONCE):  # in batches: all together may not fit the memory
            batch = names[first : first + _CHUNKS_AT_ONCE]
            for name, data in zip(batch, threads.map(store.read, batch), strict=True):
                if data is None or name != chunk_name(journal, file.tell()):
                    return
                file.write(data)


def _finish_copy(path: Path, replay: Replay, claim: Claim | None) -> None:
    """Cut off a torn tail, and append the record of the spending that the copy may lack."""
    with path.open("r+b") as file:
        file.truncate(replay.size_bytes)
        file.seek(0, os.SEEK_END)
        file.write(b"".join(encode_frame(encode_record(unaccounted_spend(replay, claim)))))
        file.flush()
        os.fsync(file.fileno())
