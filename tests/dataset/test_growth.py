"""A dataset's descriptor is created once, checked by every later run, and grows with its source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.builders import DESCRIPTOR, FILE, described, source_files
from tts_pipeline.dataset.descriptor import Descriptor, Extent, read_descriptor
from tts_pipeline.dataset.growth import Growth, check_descriptor, create_or_extend_descriptor
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store


def test_nothing_is_written_by_a_check(store: Store) -> None:
    """Checking an empty destination leaves it empty."""
    assert check_descriptor(store, DESCRIPTOR) is None
    assert store.is_empty()


def test_the_part_size_of_a_dataset_stays_its_own(store: Store) -> None:
    """A run that continues a dataset uses its part size, whatever the run requests."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    existing = check_descriptor(store, replace(DESCRIPTOR, part_rows=100, prices=[]))
    assert existing == DESCRIPTOR


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"model": "other"}, "model is 'qwen3-tts-flash' there and 'other' now"),
        ({"parameters": {"voice": "Stella"}}, "parameters is {'speed': 1.2, 'voice': 'Cherry'} there and"),
        ({"limit": 5}, "limit is None there and 5 now"),
        ({"rename": {"a": "b"}}, "rename is None there and {'a': 'b'} now"),
    ],
)
def test_another_job_is_refused_with_the_difference(store: Store, change: dict[str, Any], difference: str) -> None:
    """The error names the setting that differs, with both values."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    with pytest.raises(ConfigurationError) as exc_info:
        check_descriptor(store, replace(DESCRIPTOR, job={**DESCRIPTOR.job, **change}))
    assert difference in exc_info.value.message
    assert "another destination" in (exc_info.value.hint or "")


@pytest.mark.parametrize(
    ("files", "difference"),
    [
        ([{**FILE, "bytes": 101}], "'a.parquet' has changed"),
        ([{**FILE, "footer_sha256": "01"}], "'a.parquet' has changed"),
        ([{**FILE, "bytes": 101}, {**FILE, "path": "b.parquet"}], "'a.parquet' has changed; 'b.parquet' is new"),
        ([{**FILE, "path": "b.parquet"}], "'a.parquet' is gone; 'b.parquet' is new"),
    ],
)
def test_a_changed_source_is_refused_with_the_difference(store: Store, files: list[Any], difference: str) -> None:
    """The error names the file that changed, appeared or vanished."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    with pytest.raises(ConfigurationError, match=r"source of the dataset .* has changed") as exc_info:
        check_descriptor(store, replace(DESCRIPTOR, source=files))
    assert difference in exc_info.value.message
    assert "`rebuild=True`" in (exc_info.value.hint or "")


def test_many_changed_files_are_counted(store: Store) -> None:
    """The error names five files and counts the rest."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    many = [{**FILE, "path": f"{number}.parquet"} for number in range(7)]
    with pytest.raises(ConfigurationError, match="and 3 more"):
        check_descriptor(store, replace(DESCRIPTOR, source=many))


def _grow(store: Store, descriptor: Descriptor, growth: Growth = Growth.AT_THE_END) -> Descriptor:
    planned = check_descriptor(store, descriptor, growth)
    assert planned is not None
    return create_or_extend_descriptor(store, planned)


def test_new_files_behind_the_old_ones_make_new_parts(store: Store) -> None:
    """Old parts keep their rows, even a short last one; new rows begin new parts of the same size."""
    create_or_extend_descriptor(store, described("a"))
    grown = _grow(store, described("a", "b", "c"))
    assert read_descriptor(store) == grown
    assert grown.extents == (Extent(1_200, 500, 1), Extent(2_400, 500, 2))
    spans = [grown.row_range(part) for part in range(grown.parts)]
    assert [(span.start, span.stop) for span in spans] == [
        *[(0, 500), (500, 1_000), (1_000, 1_200)],
        *[(1_200, 1_700), (1_700, 2_200), (2_200, 2_700), (2_700, 3_200), (3_200, 3_600)],
    ]
    assert _grow(store, described("a", "b", "c")) == grown
    assert _grow(store, described("a", "b", "c", "d")).parts == 11


def test_a_large_growth_has_larger_parts(store: Store) -> None:
    """Each growth, too, has at most 2,000 parts."""
    create_or_extend_descriptor(store, described("a"))
    files = [*source_files("a"), *source_files("b", rows=2_000_000)]
    grown = _grow(store, replace(DESCRIPTOR, source=files, rows=2_001_200))
    assert grown.extents[1] == Extent(2_000_000, 1_000, 1)


def test_files_in_between_are_taken_in_only_when_asked(store: Store) -> None:
    """Only ``append`` adds files that sort among the old ones; their rows come last, and later runs keep this order."""
    create_or_extend_descriptor(store, described("a", "c"))
    with pytest.raises(ConfigurationError, match=r"has new files among the old ones: 'b\.parquet' is new") as exc_info:
        _grow(store, described("a", "b", "c"))
    assert "`append=True`" in (exc_info.value.hint or "")
    grown = _grow(store, described("a", "b", "c"), Growth.ANYWHERE)
    assert [file["path"] for file in grown.source] == ["a.parquet", "c.parquet", "b.parquet"]
    assert _grow(store, described("a", "b", "c")) == grown
    later = _grow(store, described("a", "b", "c", "d"))
    assert [file["path"] for file in later.source][2:] == ["b.parquet", "d.parquet"]


@pytest.mark.parametrize("pilot", [{"limit": 5}, {"sample": 5}])
def test_a_pilot_does_not_grow(store: Store, pilot: dict[str, Any]) -> None:
    """Its choice of rows depends on the whole source; the error states the remedy."""
    descriptor = replace(described("a"), job={**DESCRIPTOR.job, **pilot}, rows=5)
    create_or_extend_descriptor(store, descriptor)
    with pytest.raises(ConfigurationError, match="a pilot") as exc_info:
        check_descriptor(store, replace(descriptor, source=source_files("a", "b")))
    assert "`reuse`" in (exc_info.value.hint or "")


def test_who_works_on_a_plan_keeps_to_it(store: Store) -> None:
    """A file that came after the plan waits for the next plan; growth by another run does not change the plan."""
    create_or_extend_descriptor(store, described("a"))
    planned = _grow(store, described("a", "b"), Growth.NONE)
    assert planned == described("a")
    grown = _grow(store, described("a", "b"))
    assert create_or_extend_descriptor(store, planned) == planned
    assert read_descriptor(store) == grown


def test_growing_removes_the_manifest_first(tmp_path: Path) -> None:
    """A run that dies in between leaves a dataset that is not finalized, never one with unfinished parts that is."""
    writes: list[str] = []

    class _Watched(LocalStore):
        def remove(self, name: str) -> None:
            writes.append(f"remove {name}")
            super().remove(name)

        def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
            writes.append(f"write {name}")
            super().write(name, data, durable=durable)

    store = _Watched(tmp_path)
    create_or_extend_descriptor(store, described("a"))
    store.write("parts.json", b"{}")
    writes.clear()
    _grow(store, described("a", "b"))
    assert writes == ["remove parts.json", "write dataset.json"]


def test_two_that_grow_at_once_do_not_lose_what_the_other_took_in(store: Store) -> None:
    """The second checks again under the lock: its files are there already, or are refused."""
    create_or_extend_descriptor(store, described("a"))
    larger, smaller = (check_descriptor(store, described("a", *more)) for more in (("b", "c"), ("b",)))
    assert larger is not None
    assert smaller is not None

    @contextmanager
    def raced() -> Iterator[None]:
        create_or_extend_descriptor(store, larger)
        yield

    with pytest.raises(ConfigurationError, match=r"'c\.parquet' is gone"):
        create_or_extend_descriptor(store, smaller, lock=raced)
    assert read_descriptor(store) == larger


def test_a_destination_that_holds_other_things_is_refused(store: Store) -> None:
    """Foreign files are not touched; names that begin with a dot do not count."""
    store.write(".work/locks/x", b"")
    assert check_descriptor(store, DESCRIPTOR) is None
    store.write("holiday.jpg", b"")
    with pytest.raises(ConfigurationError, match="is not empty and holds no dataset"):
        check_descriptor(store, DESCRIPTOR)


class _RacedStore(LocalStore):
    """A destination where another process creates the dataset between two reads of this process."""

    def is_empty(self) -> bool:
        create_or_extend_descriptor(LocalStore(self.folder), DESCRIPTOR)
        return super().is_empty()


def test_another_process_that_makes_the_dataset_first_is_no_error(tmp_path: Path) -> None:
    """Two workers of one job that start at the same time both continue the same dataset."""
    assert check_descriptor(_RacedStore(tmp_path), DESCRIPTOR) == DESCRIPTOR


def test_another_process_that_makes_another_dataset_first_is_told(store: Store) -> None:
    """The second process with another job is refused, although the destination was empty when it looked."""
    assert check_descriptor(store, DESCRIPTOR) is None
    create_or_extend_descriptor(store, replace(DESCRIPTOR, job={"model": "other"}))
    with pytest.raises(ConfigurationError, match="another job"):
        create_or_extend_descriptor(store, DESCRIPTOR)
