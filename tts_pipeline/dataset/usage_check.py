"""Check the usage files of a dataset against its markers: none missing, none changed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial

from tts_pipeline.dataset.descriptor import MANIFEST_FILE
from tts_pipeline.dataset.finalize import read_markers
from tts_pipeline.dataset.generations import SWAP_FILE, generation_at, unfinished_generations
from tts_pipeline.dataset.names import file_names, parse_part_number
from tts_pipeline.dataset.totals import BILL_HINT
from tts_pipeline.dataset.usage_files import usage_cost
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.json_files import read_fields
from tts_pipeline.storage.store import Store


def verify_usage(store: Store) -> None:
    """Check that the usage files of a dataset and its unfinished generations are complete and unchanged. Blocking.

    A marker holds the hash of each usage file of its part. The files of open parts have no such hash: their amounts
    must be possible, their pages have checksums, and none may be a copy of another file.

    Raises:
        StorageError: A file is missing or damaged, or is a copy of another file; the message names it.
    """
    for generation in (store, *(generation_at(store, number) for number in unfinished_generations(store))):
        _check(generation)


def _check(store: Store) -> None:
    # During a swap, markers and usage belong to different generations.
    expected_hashes = {} if store.exists(SWAP_FILE) else _read_expected_hashes(store)
    names = store.names("usage")
    missing = sorted(expected_hashes.keys() - {f"usage/{name}" for name in names})
    if missing:
        raise StorageError(f"{store.describe(missing[0])} is gone, but a marker lists it", hint=BILL_HINT)
    file_names(store, "claims")
    with DaemonExecutor(FILE_READERS, "bill") as readers:
        hashes = list(readers.map(partial(_check_file, store, expected_hashes), names))
    first_by_hash = dict(zip(reversed(hashes), reversed(names), strict=True))
    for name, sha256 in zip(names, hashes, strict=True):
        if first_by_hash[sha256] != name:
            location, earlier = store.describe(f"usage/{name}"), first_by_hash[sha256]
            raise StorageError(f"{location} equals {earlier}: one of them is a copy", hint=BILL_HINT)


def _check_file(store: Store, expected_hashes: Mapping[str, str], file_name: str) -> str:
    name = f"usage/{file_name}"
    data, location = store.read(name), store.describe(name)
    if data is None:
        raise StorageError(f"{location} is gone", hint=BILL_HINT)
    sha256 = hashlib.sha256(data).hexdigest()
    if name not in expected_hashes:
        usage_cost(data, f"usage tables: {location}")
    elif sha256 != expected_hashes[name]:
        raise StorageError(f"{location} is damaged: it does not have the hash in its part's marker", hint=BILL_HINT)
    return sha256


def _read_expected_hashes(store: Store) -> dict[str, str]:
    """Return the SHA-256 of each usage file in the manifest or, without a manifest, in the markers."""
    data = store.read(MANIFEST_FILE)
    if data is None:
        markers = read_markers(store, map(parse_part_number, file_names(store, "done", "part-")))
        files = [(name, facts["sha256"]) for marker in markers for name, facts in marker["files"].items()]
    else:
        parts = read_fields(data, store.describe(MANIFEST_FILE), _RESTORE_HINT).objects("parts")
        tables = [part.object("files") for part in parts if "files" in part]
        files = [(name, table.object(name).text("sha256")) for table in tables for name in table.values]
    return {name: sha256 for name, sha256 in files if name.startswith("usage/")}


_RESTORE_HINT = "restore it: it lists the files of the bill"
