"""Reopen committed parts to retry their rejects; their speech stays."""

from __future__ import annotations

from collections.abc import Collection

from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.dataset.finalize import read_markers
from tts_pipeline.dataset.names import part_name
from tts_pipeline.storage.lease import Leases
from tts_pipeline.storage.store import Store


def reopen_rejected_parts(store: Store, leases: Leases, numbers: Collection[int]) -> set[int]:
    """Open the done parts that have rejects again, so that these rows are tried anew. Blocking.

    A run may die at any instant, because of the order of what is written. The seal goes first, so that a dataset is
    never sealed while a part of it is open; then the parts' markers. From then on a part is open, and a plain run
    finishes it: its speech file is still there, and its rows are done; its usage files are there for good; its rejects
    are what is left to do. When these have their outcome, the part is published as ever: the new journal's usage, the
    rejects table written anew (or removed), the speech table replaced at one stroke by one that holds the old rows and
    the new, and the marker last.

    Args:
        store: The destination.
        leases: What this process holds.
        numbers: Which of the done parts to look at.

    Returns:
        The parts that are open now.

    Raises:
        StorageError: The destination failed, or another process has one of the parts.
    """
    rejected_parts = {marker["part"] for marker in read_markers(store, numbers) if marker["totals"]["rejects"]}
    if rejected_parts:
        store.remove(MANIFEST_FILE)
    for number in sorted(rejected_parts):
        with leases.hold(part_name(number), wait=True):
            leases.check()
            store.remove(marker_name(number))
    return rejected_parts
