"""What a job bought for its repeated requests, kept beside its journals until the job is done."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tts_pipeline.dataset.answers import AnswerStore, request_hash
from tts_pipeline.dataset.store import LocalStore, storage_errors

_MOST_NEW = 10_000


def answer_hashes(store: AnswerStore) -> npt.NDArray[np.uint64]:
    """Return the hashes of the requests that a reuse store answers, ascending; reads names only. Blocking.

    Raises:
        StorageError: The store failed.
    """
    keys = store.keys()
    hashes = np.fromiter((request_hash(*key) for key in keys), np.uint64)
    hashes.sort()
    return hashes


class KeptAnswers(AnswerStore):
    """A reuse store of a job's own, on the local disk; it knows what it holds, at 8 bytes an answer.

    Args:
        folder: Where; nothing is made yet.

    Attributes:
        is_new: Whether there was no such folder: what the job bought before, if anything, is known elsewhere at best.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalStore(folder))
        self.is_new = not folder.exists()
        self._folder = folder
        self._new: set[int] = set()
        self._known = answer_hashes(self)

    def may_have(self, request_key: str, take: int) -> bool:
        """Say whether it is worth a look; never blocks."""
        wanted = request_hash(request_key, take)
        if wanted in self._new:
            return True
        place = int(np.searchsorted(self._known, np.uint64(wanted)))
        return place < len(self._known) and int(self._known[place]) == wanted

    def begin(self) -> None:
        """Make the folder, for its owner's eyes only: it will hold texts and voices. Blocking.

        Raises:
            StorageError: The disk failed.
        """
        with storage_errors(f"making the folder {self._folder}"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def learn(self, request_key: str, take: int) -> None:
        """Take note that something was put; where it is asked for, so that what is known changes in one thread only."""
        self._new.add(request_hash(request_key, take))
        if len(self._new) > _MOST_NEW:
            new = np.fromiter(self._new, np.uint64, len(self._new))
            self._known = np.sort(np.concatenate([self._known, new]))
            self._new.clear()


def remove_kept(folder: Path) -> None:
    """Remove what was kept: the job is done. Blocking.

    Raises:
        StorageError: The disk failed.
    """
    with storage_errors(f"removing {folder}"):
        if folder.exists():
            shutil.rmtree(folder)
