"""Record where the datasets of a ledger are, and since when the ledger knows them."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping

import msgspec

from tts_pipeline.errors import without_passwords
from tts_pipeline.ledger.layout import DATASETS, foreign_name, is_dataset_id
from tts_pipeline.ledger.runs import InstantUs
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.json_files import json_bytes, read_fields
from tts_pipeline.storage.location import is_local, local_path, utf8_name
from tts_pipeline.storage.store import Store


class KnownDataset(msgspec.Struct, frozen=True, kw_only=True):
    """A dataset: its path or URL, the machine that first put its usage into the ledger, and when (us since 1970)."""

    destination: str
    host: str
    first_seen_us: InstantUs


class KnownDatasets:
    """The datasets of a ledger; each record is read once, as it never changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_id: dict[str, KnownDataset] = {}

    def add(self, dataset_id: str, destination: str) -> None:
        """Record a dataset, unless it is known. Blocking."""
        if dataset_id not in self._by_id:
            dataset = KnownDataset(
                destination=recorded_name(destination),
                host=socket.gethostname(),
                first_seen_us=time.time_ns() // 1_000,
            )
            self._store.create(_path(dataset_id), json_bytes(msgspec.to_builtins(dataset)))
            self._by_id[dataset_id] = self._read(dataset_id) or dataset

    def read(self) -> Mapping[str, str]:
        """Return the destination of each dataset, by its id. Blocking.

        Raises:
            StorageError: A record is damaged, or has a foreign name.
        """
        return {dataset_id: dataset.destination for dataset_id, dataset in self.read_all().items()}

    def read_all(self) -> dict[str, KnownDataset]:
        """Return the datasets by their ids; see ``read``. Blocking."""
        names = self._store.names(DATASETS)
        for name in names:
            if not (name.endswith(".json") and is_dataset_id(name.removesuffix(".json"))):
                raise foreign_name(self._store, f"{DATASETS}/{name}")
        dataset_ids = [name.removesuffix(".json") for name in names]
        unread = [dataset_id for dataset_id in dataset_ids if dataset_id not in self._by_id]
        if unread:
            with DaemonExecutor(FILE_READERS, "ledger datasets") as readers:
                read = readers.map(self._read, unread)
                self._by_id |= {id_: dataset for id_, dataset in zip(unread, read, strict=True) if dataset is not None}
        return {dataset_id: self._by_id[dataset_id] for dataset_id in dataset_ids if dataset_id in self._by_id}

    def first_seen_us(self, dataset_id: str) -> int:
        """Return since when a dataset is known, as far as its record was read; else the end of time."""
        dataset = self._by_id.get(dataset_id)
        return 2**63 if dataset is None else dataset.first_seen_us

    def _read(self, dataset_id: str) -> KnownDataset | None:
        data = self._store.read(_path(dataset_id))
        if data is None:
            return None
        fields = read_fields(data, self._store.describe(_path(dataset_id)), _HINT)
        try:
            return msgspec.convert(fields.values, KnownDataset)
        except msgspec.ValidationError as error:
            raise fields.damage_error(str(error)) from error


_HINT = "remove it: the next run, or tts-pipeline ledger add, writes it again"


def recorded_name(destination: str) -> str:
    """Return the name by which a ledger knows a destination: an absolute path, or a URL without passwords."""
    absolute = str(local_path(destination)) if is_local(destination) else destination
    return utf8_name(without_passwords(absolute))


def _path(dataset_id: str) -> str:
    return f"{DATASETS}/{dataset_id}.json"
