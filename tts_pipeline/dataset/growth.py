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
    """The growth of a source that a dataset accepts: existing parts keep their rows, and new rows make new parts."""

    NONE = "no new files: the plan of the dataset is final"
    AT_THE_END = "new files that all follow the old ones in the order of paths"
    ANYWHERE = "new files anywhere in the order of paths; their rows follow the old ones"


def check_descriptor(store: Store, current: Descriptor, growth: Growth = Growth.AT_THE_END) -> Descriptor | None:
    """Compare a job with the descriptor at the destination. Writes nothing.

    ``current`` describes the present job, with its whole source as one extent. Returns the dataset's descriptor, or its
    extended one when the source has grown; the part size is that of the dataset. Returns None for an empty destination.

    Raises:
        ConfigurationError: The destination holds another job, another source, or files that are not a dataset.
    """
    existing = read_descriptor(store)
    if existing is None:
        if store.is_empty():
            return None
        existing = read_descriptor(store)  # another process may have made the dataset in between
    if existing is None:
        raise ConfigurationError(
            f"the destination {store.root} is not empty and holds no dataset", hint="use a new or empty folder"
        )
    _refuse_another_job(store, existing, current)
    _refuse_another_source(store, existing, current)
    _refuse_other_rows(store, existing, current)
    return _extend(store, existing, current, growth)


def is_stored(store: Store, descriptor: Descriptor) -> bool:
    """Return whether the destination already holds a descriptor of at least as many source files."""
    existing = read_descriptor(store)
    return existing is not None and len(existing.source) >= len(descriptor.source)


def create_or_extend_descriptor(
    store: Store, descriptor: Descriptor, *, lock: Callable[[], AbstractContextManager[Any]] = nullcontext
) -> Descriptor:
    """Create the descriptor, or replace it by its extension; return the descriptor that is valid for this job.

    The dataset itself may have grown beyond it meanwhile. ``lock`` keeps other processes from growing it now.

    Raises:
        ConfigurationError: As for ``check_descriptor``.
        StorageError: The descriptor cannot be written, or another process is growing the dataset.
    """
    if not store.exists(DESCRIPTOR_FILE) and store.create(DESCRIPTOR_FILE, descriptor.to_json()):
        return descriptor
    existing = _reconcile(store, descriptor)
    if existing is not descriptor:
        return existing
    with lock():
        existing = _reconcile(store, descriptor)
        if existing is descriptor:
            store.remove(MANIFEST_FILE)  # first, so that a dataset is never finalized with unfinished parts
            store.write(DESCRIPTOR_FILE, descriptor.to_json())
    return existing


def _reconcile(store: Store, descriptor: Descriptor) -> Descriptor:
    """Return ``descriptor`` itself if it extends the stored one, else the stored one up to the wanted files."""
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
    message = f"another process has extended the dataset at {store.root} with other files"
    raise ConfigurationError(message, hint="run the job again")


def _refuse_another_job(store: Store, existing: Descriptor, current: Descriptor) -> None:
    names = sorted(name for name in {*existing.job, *current.job} if existing.job.get(name) != current.job.get(name))
    if names:
        hints = "".join(_SETTING_HINTS.get(name, "") for name in names)
        differences = "; ".join(f"{n} is {existing.job.get(n)!r} there and {current.job.get(n)!r} now" for n in names)
        raise ConfigurationError(
            f"the dataset at {store.root} is of another job: {differences}",
            hint=f"use the same settings to continue it{hints}, or use another destination",
        )


_SETTING_HINTS = {
    "hive": " (`hive=False` if it was made without the columns of folders), or remake it with `rebuild=True`",
    "int96_unit": " (INT96 timestamps beyond 2262 wrapped in it), or remake it with `rebuild=True`: unchanged rows "
    "are not bought again",
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
        hint="restore the source to continue the dataset, use another destination, or remake the dataset with "
        "`rebuild=True`: unchanged rows are not bought again",
    )


def _refuse_other_rows(store: Store, existing: Descriptor, current: Descriptor) -> None:
    """Refuse a stored descriptor of the same job and files with another number of rows: it is damaged."""
    existing_files = _by_path(existing)
    new_rows = sum(file["rows"] for file in current.source if file["path"] not in existing_files)
    is_pilot = existing.job.get("limit") is not None or existing.job.get("sample") is not None
    if existing.rows != (existing.rows if is_pilot and new_rows else current.rows - new_rows):
        raise StorageError(
            f"{store.describe(DESCRIPTOR_FILE)} is damaged: it states {existing.rows} rows, "
            f"but its source has {current.rows}",
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
            hint="use another destination, and this one for `reuse`, or remake it with `rebuild=True`",
        )
    if growth is Growth.AT_THE_END and new_files[0]["path"] < max(existing_files, default=""):
        raise ConfigurationError(
            f"the source of the dataset at {store.root} has new files among the old ones: {listing}",
            hint="use `append=True` to append their rows to the old rows, wherever the files are",
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
