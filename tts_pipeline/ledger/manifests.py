"""Remember the manifests that were read: they never change."""

from __future__ import annotations

import time

from tts_pipeline.ledger.manifest import Manifest, manifest_months, read_manifest
from tts_pipeline.storage.store import Store

_WITHDRAWAL_US = 3_600_000_000
"""So long after another process has frozen a month, it may still withdraw it."""


class KnownManifests:
    """The manifests of a ledger; each is read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_month: dict[str, Manifest] = {}
        self._confirmed: set[str] = set()

    def read(self) -> list[Manifest]:
        """Return all manifests, by the name of their month. Blocking.

        Raises:
            ConfigurationError: A later program has written one.
            StorageError: One of them is damaged.
        """
        months = manifest_months(self._store)
        for month in set(months) - self._by_month.keys():
            manifest = read_manifest(self._store, month)
            if manifest is not None:  # withdrawn meanwhile
                self._by_month[month] = manifest
        return [self._by_month[month] for month in months if month in self._by_month]

    def forget(self, month: str) -> None:
        """Read a month's manifest anew, as it was withdrawn."""
        self._by_month.pop(month, None)

    def confirm(self, manifest: Manifest) -> None:
        """Note that this process, which has frozen a month, has found no other month that overlaps it."""
        self._confirmed.add(manifest.compaction)

    def is_confirmed(self, manifest: Manifest) -> bool:
        """Return whether a month will never be withdrawn."""
        age_us = time.time_ns() // 1_000 - manifest.frozen_at_us
        return manifest.compaction in self._confirmed or age_us > _WITHDRAWAL_US

    def sizes(self) -> set[tuple[str, int]]:
        """Return the name and size in bytes of every file that a manifest lists. Blocking."""
        return {(file.name, file.size_bytes) for manifest in self.read() for file in manifest.files}
