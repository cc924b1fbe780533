"""Copy the usage of a dataset to a ledger: what the ledger lacks, by name and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import pyarrow as pa

from tts_pipeline.account.identity import dataset_id as id_of_dataset
from tts_pipeline.dataset.generations import GENERATIONS_FOLDER, unfinished_generations
from tts_pipeline.dataset.names import is_valid_name
from tts_pipeline.dataset.reader import DatasetReader
from tts_pipeline.errors import StorageError
from tts_pipeline.ledger.layout import USAGE, foreign_name, usage_file_name, usage_path
from tts_pipeline.ledger.records import Records
from tts_pipeline.ledger.usage_facts import CHECKED, check_amounts, rank_of
from tts_pipeline.schema import USAGE as USAGE_COLUMNS
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.parquet import conform_columns, parquet_file
from tts_pipeline.storage.store import Store, storage_errors


def copy_usage(records: Records, dataset: DatasetReader, destination: str, names: Sequence[str] | None) -> int:
    """See ``Ledger.sync_dataset``."""
    missing = (
        missing_usage(records, dataset, id_of_dataset(destination)) if names is None else dict.fromkeys(names, True)
    )
    return copy_files(records, dataset.store, destination, missing)


def copy_files(records: Records, store: Store, destination: str, missing: Mapping[str, bool]) -> int:
    """Copy usage files, by their paths in a store; return how many. Blocking.

    ``missing`` says whether the ledger may have another file in its place. A guess about a lost journal does not
    replace real usage: datasets of two machines may have one name, and one of them may be a copy of the other.
    """
    dataset_id = id_of_dataset(destination)
    if not missing:
        return 0
    records.datasets.add(dataset_id, destination)
    errors: list[StorageError] = []
    with DaemonExecutor(FILE_READERS, "ledger sync") as writers:
        copied = sum(writers.map(partial(_copy, records.store, store, dataset_id, errors), missing.items()))
    if errors:
        raise errors[0]
    return copied


def missing_usage(records: Records, dataset: DatasetReader, dataset_id: str) -> dict[str, bool]:
    """Return the usage files of a dataset that a ledger lacks, or has with another size; see ``missing_files``."""
    return missing_files(records, dataset.store, _usage_sizes(dataset), dataset_id)


def missing_files(records: Records, store: Store, sizes: Mapping[str, int], dataset_id: str) -> dict[str, bool]:
    """Return those of some usage files, with their sizes in bytes, that a ledger lacks, or has with another size.

    The values say whether it has another one. Blocking.
    """
    existing = records.store.sizes(f"{USAGE}/{dataset_id}")
    frozen = records.manifests.sizes()
    names = {name: _checked_name(store, name) for name in sizes}
    return {
        name: names[name] in existing
        for name, size_bytes in sizes.items()
        if existing.get(names[name]) != size_bytes and (names[name], size_bytes) not in frozen
    }


def _checked_name(store: Store, path: str) -> str:
    """Return the name in a ledger of a usage file; a foreign name would be damage there, for every reader."""
    if not is_valid_name("usage", path.rpartition("/")[2]):
        raise foreign_name(store, path, "a dataset")
    return usage_file_name(path)


def _usage_sizes(dataset: DatasetReader) -> dict[str, int]:
    """Return the sizes in bytes of the usage files of all generations, by path in the dataset."""
    store = dataset.store
    folders = ["usage", *(f"{GENERATIONS_FOLDER}/{number}/usage" for number in unfinished_generations(store))]
    return {f"{folder}/{name}": size for folder in folders for name, size in store.sizes(folder).items()}


def _copy(ledger: Store, dataset: Store, dataset_id: str, errors: list[StorageError], item: tuple[str, bool]) -> int:
    """Copy one file; return 1, or 0 if it was renamed meanwhile, is a guess about what the ledger knows, or failed.

    An error is appended to the others.
    """
    name, may_be_there = item
    try:
        path = usage_path(dataset_id, _checked_name(dataset, name))
        data = dataset.read(name)
        if data is None:
            return 0
        _check(data, dataset.describe(name))
        if may_be_there and _tells_more(ledger, path, dataset, name):
            return 0
        ledger.write(path, data)
    except StorageError as error:
        errors.append(error)
        return 0
    return 1


def _tells_more(ledger: Store, path: str, dataset: Store, name: str) -> bool:
    """Return whether a ledger's file is there, is sound, and tells more of its journal than a dataset's."""
    try:
        rank = rank_of(ledger, path)
    except StorageError:
        return False
    return rank > rank_of(dataset, name)


def _check(data: bytes, location: str) -> None:
    with storage_errors(f"reading {location}", Exception), pa.BufferReader(data) as stream:
        parquet = parquet_file(stream, page_checksum_verification=True)
        present = [name for name in CHECKED if name in parquet.schema_arrow.names]
        table = parquet.read(columns=present, use_threads=False)
    check_amounts(conform_columns(table, CHECKED, USAGE_COLUMNS, location), location)
