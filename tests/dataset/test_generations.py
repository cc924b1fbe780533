from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import cost_of, descriptor_of
from tests.datasets import Bench
from tests.machine import DiedError, DyingStore
from tts_pipeline.dataset.descriptor import read_descriptor
from tts_pipeline.dataset.finalize import dataset_totals, finalize, is_finalized
from tts_pipeline.dataset.generations import (
    SWAP_FILE,
    generation_at,
    resume_swap,
    swap_in,
    totals_to_carry,
    unfinished_generations,
)
from tts_pipeline.dataset.growth import create_or_extend_descriptor
from tts_pipeline.dataset.spending import total_spend
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.store import Store

JOB = {"model": "m", "service": "s"}


def _generation(folder: Path, root: Store, number: int, rows: int, *, part_rows: int = 4) -> Bench:
    """Begin a generation of ``rows`` rows; generation 1 is in the dataset's place."""
    store = root if number == 1 else generation_at(root, number)
    (folder / f"{number}").mkdir()
    bench = Bench.of(folder / f"{number}", store, rows=rows, part_rows=part_rows)
    spent_before = None if number == 1 else totals_to_carry(root)
    descriptor = descriptor_of(
        rows, part_rows, JOB, bench.source.fingerprint(), generation=number, carried_totals=spent_before
    )
    create_or_extend_descriptor(store, descriptor)
    return bench


def _finish(bench: Bench, *, refused: tuple[str, ...] = ()) -> None:
    descriptor = read_descriptor(bench.store)
    assert descriptor is not None
    for number in range(descriptor.parts):
        bench.run(number, refused=refused)
    finalize(bench.store, descriptor)


def _files(store: Store) -> dict[str, bytes | None]:
    folders = ("speech", "rejects", "usage", "done", "claims")
    return {f"{folder}/{name}": store.read(f"{folder}/{name}") for folder in folders for name in store.names(folder)}


@pytest.fixture
def root(tmp_path: Path, store: Store) -> Store:
    """A finalized dataset of three parts, rejects in the last, and beside it a finished generation of two parts."""
    _finish(_generation(tmp_path, store, 1, 10), refused=("r9",))
    _finish(_generation(tmp_path, store, 2, 7))
    return store


def test_a_new_generation_takes_the_place_of_the_old_one(root: Store) -> None:
    """Its files get the old names; of the old files only usage stays; the dataset is finalized, and nothing is left."""
    new, old = _files(generation_at(root, 2)), _files(root)
    old_usage = {name.replace("usage/", "usage/generation-1-"): data for name, data in old.items() if "usage" in name}
    swap_in(root, 2)
    assert _files(root) == new | old_usage
    assert unfinished_generations(root) == []
    assert root.read(SWAP_FILE) is None
    descriptor = read_descriptor(root)
    assert descriptor is not None
    assert (descriptor.generation, descriptor.parts, is_finalized(root, descriptor)) == (2, 2, True)


def test_the_bill_is_that_of_all_generations(root: Store, tmp_path: Path) -> None:
    """The old spending is carried into totals, caps and later rebuilds."""
    for number in (2, 3):
        if number == 3:
            _finish(_generation(tmp_path, root, 3, 4))
        swap_in(root, number)
        descriptor = read_descriptor(root)
        assert descriptor is not None
        totals = dataset_totals(root, descriptor)
        attempts = 10 + 7 + (4 if number == 3 else 0)
        assert (totals.attempts, totals.rows) == (attempts, descriptor.rows)
        assert totals.cost == cost_of((attempts - 1) * 7)
        assert total_spend(root, descriptor, tmp_path / "none", tmp_path / "none").attempts == attempts
        assert len([name for name in root.names("usage") if name.startswith("generation-1-")]) == 3


def test_readers_see_the_old_one_until_the_new_one_is_finished(tmp_path: Path, store: Store) -> None:
    """An unfinished generation changes nothing for readers, and cannot be swapped in."""
    _finish(_generation(tmp_path, store, 1, 10))
    before, manifest = _files(store), store.read("parts.json")
    next_bench = _generation(tmp_path, store, 2, 7)
    next_bench.run(0)
    assert (_files(store), store.read("parts.json")) == (before, manifest)
    with pytest.raises(StorageError, match="is not finished"):
        swap_in(store, 2)
    assert (_files(store), store.read("parts.json")) == (before, manifest)


def test_the_usage_of_a_generation_that_was_given_up_stays(tmp_path: Path, root: Store) -> None:
    """The source changed again: a third generation is made, and the spending of the second is on the bill."""
    descriptor = read_descriptor(generation_at(root, 2))
    assert descriptor is not None
    _finish(_generation(tmp_path, root, 3, 5))
    swap_in(root, 3)
    current = read_descriptor(root)
    assert current is not None
    assert dataset_totals(root, current).attempts == 10 + 7 + 5
    assert unfinished_generations(root) == []
    names = root.names("usage")
    assert [sum(name.startswith(start) for name in names) for start in ("generation-1-", "generation-2-", "part-")] == [
        *(3, 2, 2)
    ]


def test_nothing_is_swapped_that_was_not_begun(root: Store) -> None:
    """Every run checks; usually nothing is to do."""
    before = _files(root)
    assert not resume_swap(root)
    assert _files(root) == before


def test_a_swap_that_dies_at_any_change_is_finished_by_the_next_run(tmp_path: Path) -> None:
    """Whatever the instant, afterwards the new generation is complete, and so is the bill."""
    steps, died = 0, True
    while died:
        folder = tmp_path / str(steps)
        folder.mkdir()
        DyingStore.changes_left = 10_000
        store = DyingStore(folder / "out")
        _finish(_generation(folder, store, 1, 10), refused=("r9",))
        given_up = _generation(folder, store, 2, 4)
        given_up.run(0)
        _finish(_generation(folder, store, 3, 7))
        new, bill = _files(generation_at(store, 3)), _usage(store)
        DyingStore.changes_left, died = steps, False
        try:
            swap_in(store, 3)
        except DiedError:
            died = True
        DyingStore.changes_left = 10_000
        if resume_swap(store):
            assert steps > 0
        elif died:
            assert steps == 0, "before the swap is on record nothing has changed"
            swap_in(store, 3)
        after = _files(store)
        assert {name: after[name] for name in after if "generation-" not in name} == new
        descriptor = read_descriptor(store)
        assert descriptor is not None
        assert is_finalized(store, descriptor)
        assert dataset_totals(store, descriptor).attempts == 10 + 4 + 7
        assert _usage(store) == bill
        assert not (store.folder / ".generations" / "swap.json").exists()
        steps += 1
    assert steps > 20


def _usage(root: Store) -> list[Any]:
    """Return the contents of all usage files of all generations."""
    stores = [root, *(generation_at(root, number) for number in unfinished_generations(root))]
    return sorted(store.read(f"usage/{name}") or b"" for store in stores for name in store.names("usage"))


def test_a_new_descriptor_keeps_its_generation(tmp_path: Path, store: Store) -> None:
    """The number of a generation is not part of its fingerprint."""
    bench = _generation(tmp_path, store, 1, 10)
    descriptor = read_descriptor(store)
    assert descriptor is not None
    assert replace(descriptor, generation=2).fingerprint_of(0) == descriptor.fingerprint_of(0)
    assert bench.store is store
