"""Compare a job with the dataset at its destination, and extend the dataset when its source has grown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from enum import Enum
from typing import Any

from tts_pipeline.config import MAX_PARTS
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, MANIFEST_FILE, Descriptor, Extent, read_descriptor
from tts_pipeline.errors import ConfigurationError, StorageError
from tts_pipeline.storage.json_files import RESTORE_HINT
from tts_pipeline.storage.store import Store


class Growth(Enum):
    """Which growth of a source a dataset follows: existing parts keep their rows, new rows make new parts."""

    NONE = "what was there when the dataset was planned is all there is"
    AT_THE_END = "new files, all behind the old ones in the order of paths"
    ANYWHERE = "new files wherever they stand; their rows come behind the old ones"


def check_descriptor(store: Store, current: Descriptor, growth: Growth = Growth.AT_THE_END) -> Descriptor | None:
    """Compare with the descriptor that is there; None when the destination is still empty. Writes nothing.

    ``current`` describes the job of today, its whole source as one extent. Returns the dataset's descriptor, or its
    next one when the source has grown; the part size is that of the dataset.

    Raises:
        ConfigurationError: The destination holds another job, another source, or files that are no dataset of ours.
    """
    existing = read_descriptor(store)
    if existing is None:
        if store.is_empty():
            return None
        existing = read_descriptor(store)  # another process may have made it between the two looks
    if existing is None:
        raise ConfigurationError(
            f"the destination {store.root} is not empty and holds no dataset", hint="name a new or empty folder"
        )
    _refuse_another_job(store, existing, current)
    _refuse_another_source(store, existing, current)
    _refuse_other_rows(store, existing, current)
    return _extend(store, existing, current, growth)


def is_stored(store: Store, descriptor: Descriptor) -> bool:
    """Return whether a descriptor is at the destination already, or one that has grown from it."""
    existing = read_descriptor(store)
    return existing is not None and len(existing.source) >= len(descriptor.source)


def create_or_extend_descriptor(
    store: Store, descriptor: Descriptor, *, lock: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Descriptor:
    """Create the descriptor, or replace it by one that has grown; return the descriptor that holds for this job.

    The dataset may have grown beyond it since. ``lock`` keeps other processes from growing it at the same time.

    Raises:
        ConfigurationError: As ``check_descriptor``.
        StorageError: It cannot be written, or another process grows the dataset right now.
    """
    if not store.exists(DESCRIPTOR_FILE) and store.create(DESCRIPTOR_FILE, descriptor.to_json()):
        return descriptor
    existing = _reconcile(store, descriptor)
    if existing is not descriptor:
        return existing
    with lock():
        existing = _reconcile(store, descriptor)
        if existing is descriptor:
            store.remove(MANIFEST_FILE)  # first, so that a dataset is never sealed with parts that are not done
            store.write(DESCRIPTOR_FILE, descriptor.to_json())
    return existing


def _reconcile(store: Store, descriptor: Descriptor) -> Descriptor:
    """Return what holds: ``descriptor`` itself where it has grown from what is there, else that, as far as wanted."""
    existing = read_descriptor(store) or descriptor
    _refuse_another_job(store, existing, descriptor)
    files = min(len(existing.source), len(descriptor.source))
    if existing.source[:files] == descriptor.source[:files]:
        if len(existing.source) < len(descriptor.source):
            return descriptor
        earlier = existing.with_first_files(files)
        if earlier is not None:
            return earlier
    _refuse_another_source(store, existing, descriptor)
    raise ConfigurationError(f"the dataset at {store.root} has grown otherwise meanwhile", hint="run it again")


def _refuse_another_job(store: Store, existing: Descriptor, current: Descriptor) -> None:
    names = sorted(name for name in {*existing.job, *current.job} if existing.job.get(name) != current.job.get(name))
    if names:
        hints = "".join(_SETTING_HINTS.get(name, "") for name in names)
        differences = "; ".join(f"{n} is {existing.job.get(n)!r} there and {current.job.get(n)!r} now" for n in names)
        raise ConfigurationError(
            f"the dataset at {store.root} is of another job: {differences}",
            hint=f"use the same settings to go on with it{hints}, or another destination",
        )


_SETTING_HINTS = {
    "hive": " (`hive=False`, where it was made without the columns of folders), or make it anew with `rebuild=True`",
    "int96_unit": " (INT96 timestamps beyond 2262 wrapped in it), or make it anew with `rebuild=True`: what is "
    "unchanged is not bought again",
}


def _refuse_another_source(store: Store, existing: Descriptor, current: Descriptor) -> None:
    existing_files, current_files = _by_path(existing), _by_path(current)
    changes = [
        *(f"{path!r} is gone" for path in existing_files.keys() - current_files.keys()),
        *(
            f"{path!r} has changed"
            for path in existing_files.keys() & current_files.keys()
            if existing_files[path] != current_files[path]
        ),
    ]
    if not changes:
        return
    changes += [f"{path!r} is new" for path in current_files.keys() - existing_files.keys()]
    raise ConfigurationError(
        f"the source of the dataset at {store.root} has changed: {_summarize(changes)}",
        hint="restore the source to go on with it, use another destination, or make the dataset anew with "
        "`rebuild=True`: what is unchanged is then not bought again",
    )


def _refuse_other_rows(store: Store, existing: Descriptor, current: Descriptor) -> None:
    """Make sure that a descriptor of the same job and files is of as many rows: else it is damaged."""
    existing_files = _by_path(existing)
    new_rows = sum(file["rows"] for file in current.source if file["path"] not in existing_files)
    is_pilot = existing.job.get("limit") is not None or existing.job.get("sample") is not None
    if existing.rows != (existing.rows if is_pilot and new_rows else current.rows - new_rows):
        raise StorageError(
            f"{store.describe(DESCRIPTOR_FILE)} is damaged: it tells of {existing.rows} rows, "
            f"and its source has {current.rows}",
            hint=RESTORE_HINT,
        )


def _extend(store: Store, existing: Descriptor, current: Descriptor, growth: Growth) -> Descriptor:
    existing_files = _by_path(existing)
    new_files = [file for file in current.source if file["path"] not in existing_files]
    if not new_files or growth is Growth.NONE:
        return existing
    listing = _summarize([f"{file['path']!r} is new" for file in new_files])
    if existing.job.get("limit") is not None or existing.job.get("sample") is not None:
        raise ConfigurationError(
            f"the source of the dataset at {store.root} has grown, but a pilot (`limit`, `sample`) cannot: {listing}",
            hint="use another destination, with `reuse` of this one, or make it anew with `rebuild=True`",
        )
    if growth is Growth.AT_THE_END and new_files[0]["path"] < max(existing_files, default=""):
        raise ConfigurationError(
            f"the source of the dataset at {store.root} has grown in between: {listing}",
            hint="use `append=True` to take the rows of new files in behind the old ones, wherever the files stand",
        )
    rows = sum(file["rows"] for file in new_files)
    extent = Extent(rows, max(existing.part_rows, -(-rows // MAX_PARTS)), len(new_files))
    return replace(
        existing,
        rows=existing.rows + rows,
        source=[*existing.source, *new_files],
        later_extents=(*existing.later_extents, extent),
    )


def _by_path(descriptor: Descriptor) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in descriptor.source}


def _summarize(changes: list[str]) -> str:
    return "; ".join(sorted(changes)[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
