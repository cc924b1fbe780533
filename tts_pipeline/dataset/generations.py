"""Rebuild a dataset in its place: a new generation is made beside the old one, and replaces it when it is finished.

The new generation is a whole dataset below ``.generations/<number>/``. While it is made, readers see the old one,
finalized. Then the files are moved by name, in the same steps on disks (renamed) and on object stores, which cannot
rename (copied within the store, then removed):

1. ``.generations/swap.json`` is written: from now on the new generation counts. After a crash at any instant, the next
   process that finds this file continues the swap, and every step may be repeated.
2. The manifest of the old generation is removed: from here to step 6 readers see an unfinished dataset.
3. The old usage files are renamed to ``usage/generation-<number>-part-...``: the bill stays in the same folder, apart
   from that of the new parts.
4. The new files replace the old ones; old files without a new one are removed.
5. The descriptor of the new generation is written; it carries the spending of all earlier generations.
6. The new generation is finalized. The rest below ``.generations/`` is removed, ``swap.json`` last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tts_pipeline.config import MAX_DESCRIPTOR_GENERATIONS
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, MANIFEST_FILE, parse_descriptor, read_descriptor
from tts_pipeline.dataset.finalize import finalize
from tts_pipeline.dataset.names import file_names, is_valid_name
from tts_pipeline.dataset.totals import parse_totals
from tts_pipeline.dataset.usage_files import usage_cost
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.daemon_threads import FILE_READERS, DaemonExecutor
from tts_pipeline.storage.json_files import json_bytes, read_fields
from tts_pipeline.storage.store import Store
from tts_pipeline.wal.shipping import FOLDER as SHIPPED

GENERATIONS_FOLDER = ".generations"
SWAP_FILE = f"{GENERATIONS_FOLDER}/swap.json"
_MOVED_FOLDERS = ("usage", "rejects", "speech", "done")
_REPLACED_FOLDERS = ("rejects", "speech", "done", "claims", SHIPPED)
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def generation_at(root: Store, number: int) -> Store:
    """Return the store in which a generation is made."""
    return root.subfolder(f"{GENERATIONS_FOLDER}/{number}")


def unfinished_generations(root: Store) -> list[int]:
    """Return the generations that were begun and are not in place, oldest first.

    Raises:
        StorageError: The destination failed, or the folder of generations holds a foreign name.
    """
    return sorted(
        _parse_number(root, name)
        for name in root.names(GENERATIONS_FOLDER)
        if f"{GENERATIONS_FOLDER}/{name}" != SWAP_FILE
    )


def _parse_number(root: Store, name: str) -> int:
    if not _NUMBER.fullmatch(name):
        hint = "rename it to its number: its spending is on the bill"
        raise StorageError(
            f"{root.describe(f'{GENERATIONS_FOLDER}/{name}')} is not the name of a generation", hint=hint
        )
    return int(name)


def totals_to_carry(root: Store, abandoned: Iterable[Store] = ()) -> dict[str, Any]:
    """Add up the spending of a dataset, including earlier and abandoned generations. Blocking."""
    descriptor = read_descriptor(root)
    totals = parse_totals(root.describe(DESCRIPTOR_FILE), (descriptor and descriptor.carried_totals) or {})
    for store in (root, *abandoned):
        with DaemonExecutor(FILE_READERS, "usage") as readers:
            names = [f"usage/{name}" for name in file_names(store, "usage") if name.startswith("part-")]
            for name, data in zip(names, readers.map(store.read, names), strict=True):
                totals.add(usage_cost(data or b"", store.describe(name)))
    return totals.to_json()


def swap_in(root: Store, number: int) -> None:
    """Replace the generation in place by a finished one. Blocking.

    All other generations are given up, and only their usage is kept.

    Raises:
        StorageError: The destination failed: the next run continues the swap. Or the generation is not finished.
    """
    new_store = generation_at(root, number)
    descriptor, existing = read_descriptor(new_store), read_descriptor(root)
    if descriptor is None or not new_store.exists(MANIFEST_FILE):
        message = f"the generation at {new_store.root} is not finished"
        raise StorageError(message, hint="run the job again with `rebuild=True`")
    abandoned = [other for other in unfinished_generations(root) if other != number]
    carried_totals = totals_to_carry(root, [generation_at(root, other) for other in abandoned])
    swap = {
        "generation": number,
        "instead_of": existing.generation if existing else 0,
        "given_up": abandoned,
        "files": [f"{folder}/{name}" for folder in _MOVED_FOLDERS for name in new_store.names(folder)],
        "descriptor": replace(descriptor, generation=number, carried_totals=carried_totals).to_json().decode(),
    }
    root.write(SWAP_FILE, json_bytes(swap))
    resume_swap(root)


def resume_swap(root: Store) -> bool:
    """Continue a swap that was begun; return False when there is none. Blocking.

    Raises:
        StorageError: The destination failed: the next run continues the swap.
    """
    data = root.read(SWAP_FILE)
    if data is None:
        return False
    swap = _read_swap(root, data)
    files = set(swap["files"])
    root.remove(MANIFEST_FILE)
    _rename_usage(root, "", swap["instead_of"], files)
    for number in swap["given_up"]:
        _rename_usage(root, f"{GENERATIONS_FOLDER}/{number}/", number, set())
    for name in swap["files"]:
        root.move(f"{GENERATIONS_FOLDER}/{swap['generation']}/{name}", name)
    for folder in _REPLACED_FOLDERS:
        for name in root.names(folder):
            if f"{folder}/{name}" not in files:
                root.remove(f"{folder}/{name}")
    descriptor = parse_descriptor(swap["descriptor"].encode(), root.root, SWAP_FILE)
    root.write(DESCRIPTOR_FILE, swap["descriptor"].encode())
    finalize(root, descriptor)
    for number in (*swap["given_up"], swap["generation"]):
        root.remove_folder(f"{GENERATIONS_FOLDER}/{number}")
    root.remove(SWAP_FILE)
    return True


def _read_swap(root: Store, data: bytes) -> dict[str, Any]:
    """Read the plan of a swap, and refuse a plan that reaches outside the dataset."""
    swap = read_fields(data, root.describe(SWAP_FILE), "restore it: it states which generation counts")
    swap.count("generation", minimum=1, maximum=MAX_DESCRIPTOR_GENERATIONS)
    swap.count("instead_of", maximum=MAX_DESCRIPTOR_GENERATIONS)
    for number in swap.items("given_up"):
        if type(number) is not int or not _NUMBER.fullmatch(str(number)):
            raise swap.damage_error(f"{number!r} is not a generation")
    for name in swap.items("files"):
        folder, _, file_name = name.partition("/") if isinstance(name, str) else ("", "", "")
        if folder not in _MOVED_FOLDERS or not is_valid_name(folder, file_name):
            raise swap.damage_error(f"{name!r} is not a file of a dataset")
    parse_descriptor(swap.text("descriptor").encode(), root.root, SWAP_FILE)
    return swap.values


def _rename_usage(root: Store, prefix: str, number: int, exclude: set[str]) -> None:
    for name in file_names(root, f"{prefix}usage", "part-"):
        if f"usage/{name}" not in exclude:
            root.move(f"{prefix}usage/{name}", f"usage/generation-{number}-{name}")
