"""Check the usage files of a dataset against its markers: none missing, none changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.dataset.generations import SWAP_FILE, generation_at, unfinished_generations
from tts_pipeline.dataset.names import file_names
from tts_pipeline.dataset.totals import BILL_HINT
from tts_pipeline.dataset.usage_files import usage_cost
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.store import Store


def verify_usage(store: Store) -> None:
    """Make sure that a dataset's usage is all there, and as it was written. Blocking.

    What markers tell of is compared with their hashes. Usage of open parts has none: its amounts must be such as can be
    true, its pages have checksums, and it must not be the copy of another file.

    Args:
        store: The dataset; generations that are being made are looked at, too.

    Raises:
        StorageError: A file is missing, damaged, or the copy of another one; names it.
    """
    for generation in (store, *(generation_at(store, number) for number in unfinished_generations(store))):
        _check(generation)


def _check(store: Store) -> None:
    expected_files = (
        {} if store.exists(SWAP_FILE) else _read_expected_files(store)
    )  # while generations are swapped, markers and usage are apart
    names = store.names("usage")
    missing = sorted(expected_files.keys() - {f"usage/{name}" for name in names})
    if missing:
        raise StorageError(f"{store.describe(missing[0])} is gone, which a part that is done tells of", hint=BILL_HINT)
    file_names(store, "claims")
    with DaemonExecutor(FILE_READERS, "bill") as readers:
        hashes = list(readers.map(partial(_check_file, store, expected_files), names))
    first_by_hash = dict(zip(reversed(hashes), reversed(names), strict=True))
    for name, sha256 in zip(names, hashes, strict=True):
        if first_by_hash[sha256] != name:
            same = f"{store.describe(f'usage/{name}')} holds the same as {first_by_hash[sha256]}"
            raise StorageError(f"{same}, which no two files do", hint=BILL_HINT)


def _check_file(store: Store, expected_files: Mapping[str, Mapping[str, Any]], file_name: str) -> str:
    """Check a file; return its hash."""
    name = f"usage/{file_name}"
    data, location = store.read(name), store.describe(name)
    if data is None:
        raise StorageError(f"{location} is gone", hint=BILL_HINT)
    sha256 = hashlib.sha256(data).hexdigest()
    if name not in expected_files:
        usage_cost(data, f"usage tables: {location}")
    elif sha256 != expected_files[name]["sha256"]:
        raise StorageError(f"{location} is damaged: it is not what its part was marked as done with", hint=BILL_HINT)
    return sha256


def _read_expected_files(store: Store) -> dict[str, Mapping[str, Any]]:
    """Return what markers, or the seal made of them, tell of usage files."""
    data = store.read(MANIFEST_FILE)
    if data is not None:
        return _usage_files_of(_manifest_parts(data, store.describe(MANIFEST_FILE)), store.describe(MANIFEST_FILE))
    names = [f"done/{name}" for name in store.names("done", "part-")]
    files: dict[str, Mapping[str, Any]] = {}
    with DaemonExecutor(FILE_READERS, "markers") as readers:
        for name, marker in zip(names, readers.map(store.read, names), strict=True):
            if marker is not None:  # else another process has just opened it again
                files |= _usage_files_of([_load_json(marker, store.describe(name))], store.describe(name))
    return files


def _manifest_parts(data: bytes, location: str) -> Any:
    """Return the parts that a seal tells of."""
    manifest = _load_json(data, location)
    return manifest.get("parts") if isinstance(manifest, dict) else None


def _load_json(data: bytes, location: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _damaged(location) from error


def _usage_files_of(markers: Any, location: str) -> dict[str, Mapping[str, Any]]:
    try:
        files = {name: facts for marker in markers for name, facts in marker.get("files", {}).items()}
        return {name: facts for name, facts in files.items() if name.startswith("usage/") and facts["sha256"]}
    except (AttributeError, KeyError, TypeError) as error:
        raise _damaged(location) from error


def _damaged(location: str) -> StorageError:
    return StorageError(f"{location} is damaged", hint="restore it: it tells which files the bill is made of")
