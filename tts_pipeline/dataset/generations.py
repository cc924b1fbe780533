"""A dataset made anew in its own place: a new generation beside the old one, put in its stead when it is finished.

The new one is a whole dataset below ``.generations/<number>/``. Readers see the old one, sealed, all the time that it
is made. Then everything is moved by names alone, the same on disks (renamed) and on object stores, which know no
renaming (copied within the store, then removed):

1. ``.generations/swap.json`` is written: from now on the new generation counts. Whoever comes next and finds it, after
   a crash at any instant, goes on from here, and every step may be done again.
2. The seal of the old one goes: what readers see from here to step 6 is a dataset that is not finished.
3. The old usage files get names of their own, ``usage/generation-<number>-part-...``: the bill stays, in the same
   folder, and apart from that of the new parts.
4. The new files take the places of the old ones; old files that have no new one are removed.
5. The descriptor of the new one is written; it carries what all earlier ones spent.
6. The new one is sealed. What is left below ``.generations/`` is removed, ``swap.json`` at the very last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tts_pipeline.config import MOST_GENERATIONS
from tts_pipeline.daemon_threads import DaemonExecutor
from tts_pipeline.dataset.descriptor import NAME, SEAL, descriptor_of, read_descriptor
from tts_pipeline.dataset.finish import finish
from tts_pipeline.dataset.json_files import json_bytes, read_fields
from tts_pipeline.dataset.names import file_names, is_valid_name
from tts_pipeline.dataset.shipping import FOLDER as SHIPPED
from tts_pipeline.dataset.store import Store
from tts_pipeline.dataset.totals import totals_at
from tts_pipeline.dataset.usage_files import usage_totals
from tts_pipeline.errors import StorageError

FOLDER = ".generations"
SWAP = f"{FOLDER}/swap.json"
_MOVED = ("usage", "rejects", "speech", "done")
_REPLACED = ("rejects", "speech", "done", "claims", SHIPPED)
_READERS = 16
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


def generation_at(root: Store, number: int) -> Store:
    """Return where a generation is made."""
    return root.subfolder(f"{FOLDER}/{number}")


def unfinished(root: Store) -> list[int]:
    """Return the generations that were begun and are not in place, oldest first.

    Raises:
        StorageError: The destination failed, or something else is there.
    """
    return sorted(_number(root, name) for name in root.names(FOLDER) if f"{FOLDER}/{name}" != SWAP)


def _number(root: Store, name: str) -> int:
    if not _NUMBER.fullmatch(name):
        hint = "give it back its number: what was spent for it is on the bill"
        raise StorageError(f"{root.describe(f'{FOLDER}/{name}')} is not the name of a generation", hint=hint)
    return int(name)


def carried(root: Store, beside: Iterable[Store] = ()) -> dict[str, Any]:
    """Add up what a dataset spent, earlier generations included, and what others spent that were begun beside it.

    Args:
        root: The dataset's place.
        beside: Generations that were given up.

    Returns:
        For ``Descriptor.carried``.

    Raises:
        StorageError: The destination failed. Blocking.
    """
    descriptor = read_descriptor(root)
    totals = totals_at(root.describe(NAME), (descriptor and descriptor.carried) or {})
    for store in (root, *beside):
        with DaemonExecutor(_READERS, "usage") as readers:
            names = [f"usage/{name}" for name in file_names(store, "usage") if name.startswith("part-")]
            for name, data in zip(names, readers.map(store.read, names), strict=True):
                totals.add(usage_totals(data or b"", store.describe(name)))
    return totals.to_json()


def swap_in(root: Store, number: int) -> None:
    """Put a finished generation in the place of the one that is there. Blocking.

    Args:
        root: The dataset's place.
        number: The generation; all others that are not in place are given up, and only their usage is kept.

    Raises:
        StorageError: The destination failed: the next run goes on with it. Or the generation is not finished.
    """
    new = generation_at(root, number)
    descriptor, there = read_descriptor(new), read_descriptor(root)
    if descriptor is None or not new.exists(SEAL):
        raise StorageError(f"{new.root} is not finished", hint="run the job again with --rebuild")
    given_up = [one for one in unfinished(root) if one != number]
    spent = carried(root, [generation_at(root, one) for one in given_up])
    swap = {
        "generation": number,
        "instead_of": there.generation if there else 0,
        "given_up": given_up,
        "files": [f"{folder}/{name}" for folder in _MOVED for name in new.names(folder)],
        "descriptor": replace(descriptor, generation=number, carried=spent).to_json().decode(),
    }
    root.write(SWAP, json_bytes(swap))
    finish_swap(root)


def finish_swap(root: Store) -> bool:
    """Go on with a swap that was begun, if one was; return whether. Blocking.

    Raises:
        StorageError: The destination failed: the next run goes on with it.
    """
    data = root.read(SWAP)
    if data is None:
        return False
    swap = _swap_of(root, data)
    files = set(swap["files"])
    root.remove(SEAL)
    _rename_usage(root, "", swap["instead_of"], files)
    for number in swap["given_up"]:
        _rename_usage(root, f"{FOLDER}/{number}/", number, set())
    for name in swap["files"]:
        root.move(f"{FOLDER}/{swap['generation']}/{name}", name)
    for folder in _REPLACED:
        for name in root.names(folder):
            if f"{folder}/{name}" not in files:
                root.remove(f"{folder}/{name}")
    descriptor = descriptor_of(swap["descriptor"].encode(), root.root, SWAP)
    root.write(NAME, swap["descriptor"].encode())
    finish(root, descriptor)
    for number in (*swap["given_up"], swap["generation"]):
        root.remove_folder(f"{FOLDER}/{number}")
    root.remove(SWAP)
    return True


def _swap_of(root: Store, data: bytes) -> dict[str, Any]:
    """Read what a swap is to do, and make sure that it does nothing outside of the dataset.

    Raises:
        StorageError: It is damaged, or what it names is not what a generation has.
    """
    swap = read_fields(data, root.describe(SWAP), "restore it: it tells which generation counts")
    swap.count("generation", minimum=1, maximum=MOST_GENERATIONS)
    swap.count("instead_of", maximum=MOST_GENERATIONS)
    for number in swap.items("given_up"):
        if type(number) is not int or not _NUMBER.fullmatch(str(number)):
            raise swap.damage_error(f"{number!r} is not a generation")
    for name in swap.items("files"):
        folder, _, short = name.partition("/") if isinstance(name, str) else ("", "", "")
        if folder not in _MOVED or not is_valid_name(folder, short):
            raise swap.damage_error(f"{name!r} is not a file of a dataset")
    descriptor_of(swap.text("descriptor").encode(), root.root, SWAP)
    return swap.values


def _rename_usage(root: Store, place: str, number: int, but: set[str]) -> None:
    for name in file_names(root, f"{place}usage", "part-"):
        if f"usage/{name}" not in but:
            root.move(f"{place}usage/{name}", f"usage/generation-{number}-{name}")
