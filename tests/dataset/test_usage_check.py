"""The usage files of a dataset are complete and unchanged, or the error names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import descriptor_of
from tests.datasets import Bench
from tts_pipeline.dataset.finalize import finalize
from tts_pipeline.dataset.growth import create_or_extend_descriptor
from tts_pipeline.dataset.usage_check import verify_usage
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.store import Store


@pytest.fixture(params=["with a manifest", "without a manifest"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, store: Store) -> Bench:
    """A dataset of two parts whose hashes are in the manifest or in the markers."""
    bench = Bench.of(tmp_path, store, rows=8, part_rows=4)
    descriptor = create_or_extend_descriptor(
        store, descriptor_of(8, 4, {"model": "m", "service": "s"}, bench.source.fingerprint())
    )
    for number in range(2):
        bench.run(number)
    if request.param == "with a manifest":
        finalize(store, descriptor)
    return bench


def _usage(store: Store, number: int) -> str:
    (name,) = store.names("usage", f"part-{number:05}-")
    return f"usage/{name}"


def test_what_was_committed_is_complete(bench: Bench) -> None:
    """The check changes nothing."""
    before = {name: bench.store.read(f"usage/{name}") for name in bench.store.names("usage")}
    verify_usage(bench.store)
    assert {name: bench.store.read(f"usage/{name}") for name in bench.store.names("usage")} == before


def test_a_file_that_is_gone_is_named(bench: Bench) -> None:
    """The marker of its part lists it."""
    name = _usage(bench.store, 1)
    bench.store.remove(name)
    with pytest.raises(StorageError, match=rf"{name} is gone"):
        verify_usage(bench.store)


def test_a_file_that_is_another_one_than_was_committed_is_named(bench: Bench) -> None:
    """Valid rows do not help: the bill of another part is not the bill of this one."""
    name, other = _usage(bench.store, 0), bench.store.read(_usage(bench.store, 1))
    assert other is not None
    bench.store.write(name, other)
    with pytest.raises(StorageError, match=rf"{name} is damaged"):
        verify_usage(bench.store)


def test_a_copy_of_a_file_is_not_billed_twice(bench: Bench) -> None:
    """Under the name of an open part, the copy has no hash to be checked against."""
    data = bench.store.read(_usage(bench.store, 0))
    assert data is not None
    bench.store.write("usage/part-00001-copy.parquet", data)
    with pytest.raises(StorageError, match=r"equals .*one of them is a copy"):
        verify_usage(bench.store)


def test_usage_of_an_open_part_has_to_be_possible(tmp_path: Path, store: Store) -> None:
    """The part has no marker yet: whole files are accepted, and the error names a damaged one."""
    bench = Bench.of(tmp_path, store)
    bench.leave_open(1)
    bench.committer.suspend_part(bench.rows(), bench.replays())
    verify_usage(store)
    name = _usage(store, 0)
    data = store.read(name)
    assert data is not None
    store.write(name, data[:-9])
    with pytest.raises(StorageError, match=name):
        verify_usage(store)
