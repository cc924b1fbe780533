"""The usage files of a dataset as one bill: none is missing, and each is what its part's marker tells of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.descriptor import SEAL
from tts_pipeline.dataset.generations import SWAP, generation_at, unfinished
from tts_pipeline.dataset.names import file_names
from tts_pipeline.dataset.store import Store
from tts_pipeline.dataset.usage_files import usage_totals
from tts_pipeline.errors import StorageError

_READERS = 16
_HINT = "restore it: the bill is added up from it"


def check_bill(store: Store) -> None:
    """Make sure that a dataset's usage is all there, and as it was written. Blocking.

    What markers tell of is compared with their hashes. Usage of open parts has none: its amounts must be such as can be
    true, its pages have checksums, and it must not be the copy of another file.

    Args:
        store: The dataset; generations that are being made are looked at, too.

    Raises:
        StorageError: A file is missing, damaged, or the copy of another one; names it.
    """
    for each in (store, *(generation_at(store, number) for number in unfinished(store))):
        _check(each)


def _check(store: Store) -> None:
    told = {} if store.exists(SWAP) else _told(store)  # while generations are swapped, markers and usage are apart
    names = store.names("usage")
    gone = sorted(told.keys() - {f"usage/{name}" for name in names})
    if gone:
        raise StorageError(f"{store.describe(gone[0])} is gone, which a part that is done tells of", hint=_HINT)
    file_names(store, "claims")
    with DaemonExecutor(_READERS, "bill") as readers:
        hashes = list(readers.map(partial(_check_file, store, told), names))
    first = dict(zip(reversed(hashes), reversed(names), strict=True))
    for name, sha256 in zip(names, hashes, strict=True):
        if first[sha256] != name:
            same = f"{store.describe(f'usage/{name}')} holds the same as {first[sha256]}"
            raise StorageError(f"{same}, which no two files do", hint=_HINT)


def _check_file(store: Store, told: Mapping[str, Mapping[str, Any]], short: str) -> str:
    """Check a file; return its hash."""
    name = f"usage/{short}"
    data, place = store.read(name), store.describe(name)
    if data is None:
        raise StorageError(f"{place} is gone", hint=_HINT)
    sha256 = hashlib.sha256(data).hexdigest()
    if name not in told:
        usage_totals(data, f"usage tables: {place}")
    elif sha256 != told[name]["sha256"]:
        raise StorageError(f"{place} is damaged: it is not what its part was marked as done with", hint=_HINT)
    return sha256


def _told(store: Store) -> dict[str, Mapping[str, Any]]:
    """Return what markers, or the seal made of them, tell of usage files."""
    data = store.read(SEAL)
    if data is not None:
        return _files_of(_parts_of(data, store.describe(SEAL)), store.describe(SEAL))
    names = [f"done/{name}" for name in store.names("done", "part-")]
    found: dict[str, Mapping[str, Any]] = {}
    with DaemonExecutor(_READERS, "markers") as readers:
        for name, marker in zip(names, readers.map(store.read, names), strict=True):
            if marker is not None:  # else another process has just opened it again
                found |= _files_of([_loaded(marker, store.describe(name))], store.describe(name))
    return found


def _parts_of(data: bytes, place: str) -> Any:
    """Return the parts that a seal tells of."""
    sealed = _loaded(data, place)
    return sealed.get("parts") if isinstance(sealed, dict) else None


def _loaded(data: bytes, place: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _damaged(place) from error


def _files_of(markers: Any, place: str) -> dict[str, Mapping[str, Any]]:
    try:
        files = {name: facts for marker in markers for name, facts in marker.get("files", {}).items()}
        return {name: facts for name, facts in files.items() if name.startswith("usage/") and facts["sha256"]}
    except (AttributeError, KeyError, TypeError) as error:
        raise _damaged(place) from error


def _damaged(place: str) -> StorageError:
    return StorageError(f"{place} is damaged", hint="restore it: it tells which files the bill is made of")
