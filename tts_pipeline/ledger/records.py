"""Hold what a process knows of one ledger: its files, and the records in it that never change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tts_pipeline.ledger.datasets import KnownDatasets
from tts_pipeline.ledger.manifests import KnownManifests
from tts_pipeline.storage.store import Store


@dataclass(frozen=True, slots=True)
class Records:
    """The files of a ledger, with its frozen months and its datasets."""

    store: Store
    manifests: KnownManifests
    datasets: KnownDatasets

    @classmethod
    def of(cls, store: Store) -> Self:
        """Return the records of a ledger, not yet read."""
        return cls(store, KnownManifests(store), KnownDatasets(store))
