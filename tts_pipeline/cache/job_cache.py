"""Keep the audio of a job's duplicate requests beside its journals until the job is done."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tts_pipeline.cache.file_cache import FileCache, request_hash
from tts_pipeline.storage.hash_index import HashIndex
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import storage_errors

_MAX_NEW_HASHES = 10_000


def request_hashes(store: FileCache) -> HashIndex:
    """Return the hashes of the requests that a reuse store answers; reads names only. Blocking."""
    keys = store.keys()
    return HashIndex(request_hash(*key) for key in keys)


class JobCache(FileCache):
    """The reuse store of one job, on the local disk, with an index in memory of 8 bytes per answer.

    ``is_new`` means that the folder did not exist: this store does not know earlier purchases of the job, if any.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalStore(folder))
        self.is_new = not folder.exists()
        self._folder = folder
        self._new_hashes: set[int] = set()
        self._known_hashes = request_hashes(self)

    def may_have(self, request_key: str, take: int) -> bool:
        """Return whether the store may have the audio of a request; never blocks."""
        key_hash = request_hash(request_key, take)
        return key_hash in self._new_hashes or key_hash in self._known_hashes

    def create(self) -> None:
        """Make the folder, readable by its owner only: it will hold texts and voices. Blocking."""
        with storage_errors(f"making the folder {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def note_put(self, request_key: str, take: int) -> None:
        """Add a put answer to the index, in the thread of ``may_have``: only one thread changes the index."""
        self._new_hashes.add(request_hash(request_key, take))
        if len(self._new_hashes) > _MAX_NEW_HASHES:
            new_hashes = np.fromiter(self._new_hashes, np.uint64, len(self._new_hashes))
            self._known_hashes = HashIndex(np.concatenate([self._known_hashes.hashes, new_hashes]))
            self._new_hashes.clear()
