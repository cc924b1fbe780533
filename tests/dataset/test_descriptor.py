from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.config import MAX_PARTS, PART_ROWS
from tts_pipeline.dataset.descriptor import Descriptor, Extent, part_rows_for, read_descriptor
from tts_pipeline.dataset.growth import Growth, check_descriptor, create_or_extend_descriptor
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

FILE = {"path": "a.parquet", "bytes": 100, "rows": 1_200, "footer_sha256": "00"}
DESCRIPTOR = Descriptor(
    rows=1_200,
    part_rows=500,
    job={"model": "qwen3-tts-flash", "parameters": {"speed": 1.2, "voice": "Cherry"}, "limit": None},
    source=[FILE],
    prices=[{"price_id": "p", "per_10k_characters": "0.8"}],
)


@given(rows=st.integers(0, 5_000_000))
def test_parts_hold_every_row_once_and_are_never_too_many(rows: int) -> None:
    """Parts follow each other without gaps; 500 rows each, or more so that there are at most 2,000."""
    part_rows = part_rows_for(rows)
    descriptor = replace(DESCRIPTOR, rows=rows, part_rows=part_rows)
    assert part_rows >= PART_ROWS
    assert descriptor.parts <= MAX_PARTS
    spans = [descriptor.row_range(part) for part in range(descriptor.parts)]
    assert [span.start for span in spans] == [part_rows * number for number in range(len(spans))]
    assert sum(map(len, spans)) == rows
    assert all(len(span) == part_rows for span in spans[:-1])


@pytest.mark.parametrize(
    ("rows", "part_rows"), [(0, 500), (1_000_000, 500), (1_000_001, 501), (2_000_000, 1_000), (10_000_000, 5_000)]
)
def test_the_part_size_grows_only_with_large_sources(rows: int, part_rows: int) -> None:
    """500 rows up to a million; beyond, as few as keep the parts at 2,000."""
    assert part_rows_for(rows) == part_rows


def test_what_was_made_is_read_back(store: Store) -> None:
    """A descriptor is the same after the way to the file and back; making it again changes nothing."""
    assert read_descriptor(store) is None
    assert create_or_extend_descriptor(store, DESCRIPTOR) == DESCRIPTOR
    assert read_descriptor(store) == DESCRIPTOR
    assert check_descriptor(store, DESCRIPTOR) == DESCRIPTOR
    assert create_or_extend_descriptor(store, DESCRIPTOR) == DESCRIPTOR


def test_the_file_says_what_it_is(store: Store) -> None:
    """Format version, sizes and both fingerprints stand in the file, for people and other tools."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    values = orjson.loads(store.read("dataset.json") or b"")
    assert (values["format_version"], values["rows"], values["part_rows"], values["parts"]) == (1, 1_200, 500, 3)
    assert values["job_fingerprint"] == DESCRIPTOR.job_fingerprint
    assert values["source_fingerprint"] == DESCRIPTOR.source_fingerprint
    assert values["prices"] == DESCRIPTOR.prices


def test_nothing_is_written_by_a_check(store: Store) -> None:
    """Checking an empty destination leaves it empty."""
    assert check_descriptor(store, DESCRIPTOR) is None
    assert store.is_empty()


def test_the_part_size_of_a_dataset_stays_its_own(store: Store) -> None:
    """Whoever goes on with a dataset takes its part size, whatever was asked for now."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    there = check_descriptor(store, replace(DESCRIPTOR, part_rows=100, prices=[]))
    assert there == DESCRIPTOR


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": "other"}, "model is 'qwen3-tts-flash' there and 'other' now"),
        ({"parameters": {"voice": "Stella"}}, "parameters is {'speed': 1.2, 'voice': 'Cherry'} there and"),
        ({"limit": 5}, "limit is None there and 5 now"),
        ({"rename": {"a": "b"}}, "rename is None there and {'a': 'b'} now"),
    ],
)
def test_another_job_is_refused_with_the_difference(store: Store, change: dict[str, Any], told: str) -> None:
    """The setting that differs is named, with both values."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    with pytest.raises(ConfigurationError) as refused:
        check_descriptor(store, replace(DESCRIPTOR, job={**DESCRIPTOR.job, **change}))
    assert told in refused.value.message
    assert "another destination" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([{**FILE, "bytes": 101}], "'a.parquet' has changed"),
        ([{**FILE, "footer_sha256": "01"}], "'a.parquet' has changed"),
        ([{**FILE, "bytes": 101}, {**FILE, "path": "b.parquet"}], "'a.parquet' has changed; 'b.parquet' is new"),
        ([{**FILE, "path": "b.parquet"}], "'a.parquet' is gone; 'b.parquet' is new"),
    ],
)
def test_a_changed_source_is_refused_with_the_difference(store: Store, files: list[Any], told: str) -> None:
    """The file that changed, came or went is named."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    with pytest.raises(ConfigurationError, match=r"source of the dataset .* has changed") as refused:
        check_descriptor(store, replace(DESCRIPTOR, source=files))
    assert told in refused.value.message
    assert "`rebuild=True`" in (refused.value.hint or "")


def test_many_changed_files_are_counted(store: Store) -> None:
    """Five are named, the rest is a number."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    many = [{**FILE, "path": f"{number}.parquet"} for number in range(7)]
    with pytest.raises(ConfigurationError, match="and 3 more"):
        check_descriptor(store, replace(DESCRIPTOR, source=many))


def _files(*names: str, rows: int = 1_200) -> list[dict[str, Any]]:
    return [{**FILE, "path": f"{name}.parquet", "rows": rows} for name in names]


def _described(*names: str, rows: int = 1_200) -> Descriptor:
    return replace(DESCRIPTOR, source=_files(*names, rows=rows), rows=rows * len(names))


def _grow(store: Store, descriptor: Descriptor, growth: Growth = Growth.AT_THE_END) -> Descriptor:
    there = check_descriptor(store, descriptor, growth)
    assert there is not None
    return create_or_extend_descriptor(store, there)


def test_new_files_behind_the_old_ones_make_new_parts(store: Store) -> None:
    """Old parts keep their rows, also the last one, which is short; new rows begin new parts of the same size."""
    create_or_extend_descriptor(store, _described("a"))
    grown = _grow(store, _described("a", "b", "c"))
    assert read_descriptor(store) == grown
    assert grown.extents == (Extent(1_200, 500, 1), Extent(2_400, 500, 2))
    spans = [grown.row_range(part) for part in range(grown.parts)]
    assert [(span.start, span.stop) for span in spans] == [
        *[(0, 500), (500, 1_000), (1_000, 1_200)],
        *[(1_200, 1_700), (1_700, 2_200), (2_200, 2_700), (2_700, 3_200), (3_200, 3_600)],
    ]
    assert _grow(store, _described("a", "b", "c")) == grown
    assert _grow(store, _described("a", "b", "c", "d")).parts == 11


@given(steps=st.lists(st.integers(0, 100), min_size=1, max_size=6), part_rows=st.integers(1, 40))
def test_every_row_is_in_one_part_however_a_dataset_grew(steps: list[int], part_rows: int) -> None:
    """Spans follow each other without gaps, and none spans two extents."""
    first, *more = steps
    extents = tuple(Extent(rows, part_rows, 1) for rows in more)
    names = [str(number) for number in range(len(steps))]
    grown = Descriptor(sum(steps), part_rows, {}, _files(*names), [], extents)
    spans = [grown.row_range(part) for part in range(grown.parts)]
    assert [row for span in spans for row in span] == list(range(sum(steps)))
    ends = set(itertools.accumulate(steps))
    assert not [span for span in spans if ends & set(range(span.start + 1, span.stop))]
    assert all(0 < len(span) <= part_rows for span in spans)
    assert first == grown.extents[0].rows


def test_a_large_growth_has_larger_parts(store: Store) -> None:
    """Also what comes later is at most 2,000 parts."""
    create_or_extend_descriptor(store, _described("a"))
    files = [*_files("a"), *_files("b", rows=2_000_000)]
    grown = _grow(store, replace(DESCRIPTOR, source=files, rows=2_001_200))
    assert grown.extents[1] == Extent(2_000_000, 1_000, 1)


def test_files_in_between_are_taken_in_only_when_asked(store: Store) -> None:
    """Their rows would stand among old ones: with ``--append`` they come behind them; later runs know the order."""
    create_or_extend_descriptor(store, _described("a", "c"))
    with pytest.raises(ConfigurationError, match=r"grown in between: 'b\.parquet' is new") as refused:
        _grow(store, _described("a", "b", "c"))
    assert "`append=True`" in (refused.value.hint or "")
    grown = _grow(store, _described("a", "b", "c"), Growth.ANYWHERE)
    assert [file["path"] for file in grown.source] == ["a.parquet", "c.parquet", "b.parquet"]
    assert _grow(store, _described("a", "b", "c")) == grown
    later = _grow(store, _described("a", "b", "c", "d"))
    assert [file["path"] for file in later.source][2:] == ["b.parquet", "d.parquet"]


@pytest.mark.parametrize("pilot", [{"limit": 5}, {"sample": 5}])
def test_a_pilot_does_not_grow(store: Store, pilot: dict[str, Any]) -> None:
    """Which rows it took depends on the whole source; the way out is told."""
    one = replace(_described("a"), job={**DESCRIPTOR.job, **pilot}, rows=5)
    create_or_extend_descriptor(store, one)
    with pytest.raises(ConfigurationError, match="a pilot") as refused:
        check_descriptor(store, replace(one, source=_files("a", "b")))
    assert "`reuse`" in (refused.value.hint or "")


def test_who_works_on_a_plan_keeps_to_it(store: Store) -> None:
    """A file that came after the plan is for the next plan; one that grew meanwhile leaves the plan as it is."""
    create_or_extend_descriptor(store, _described("a"))
    planned = _grow(store, _described("a", "b"), Growth.NONE)
    assert planned == _described("a")
    grown = _grow(store, _described("a", "b"))
    assert create_or_extend_descriptor(store, planned) == planned
    assert read_descriptor(store) == grown


def test_growing_breaks_the_seal_first(tmp_path: Path) -> None:
    """A run that dies in between leaves a dataset that is not sealed, never one sealed with parts that are not done."""
    seen: list[str] = []

    class _Watched(LocalStore):
        def remove(self, name: str) -> None:
            seen.append(f"remove {name}")
            super().remove(name)

        def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
            seen.append(f"write {name}")
            super().write(name, data, durable=durable)

    store = _Watched(tmp_path)
    create_or_extend_descriptor(store, _described("a"))
    store.write("parts.json", b"{}")
    seen.clear()
    _grow(store, _described("a", "b"))
    assert seen == ["remove parts.json", "write dataset.json"]


def test_two_that_grow_at_once_do_not_lose_what_the_other_took_in(store: Store) -> None:
    """The second looks again under the lock: what it wanted is there already, or is refused."""
    create_or_extend_descriptor(store, _described("a"))
    one, two = (check_descriptor(store, _described("a", *more)) for more in (("b", "c"), ("b",)))
    assert one is not None
    assert two is not None

    @contextmanager
    def raced() -> Iterator[None]:
        create_or_extend_descriptor(store, one)
        yield

    with pytest.raises(ConfigurationError, match=r"'c\.parquet' is gone"):
        create_or_extend_descriptor(store, two, lock=raced)
    assert read_descriptor(store) == one


def test_the_fingerprint_of_a_part_outlives_growth() -> None:
    """Journals of old parts still fit; those of new parts fit only a dataset that grew in the same way."""
    one = _described("a")
    two, other = (
        replace(one, source=_files("a", name), rows=2_400, later_extents=(Extent(1_200, 500, 1),))
        for name in ("b", "c")
    )
    assert one.fingerprint_of(2) == two.fingerprint_of(2) == one.fingerprint
    assert two.fingerprint_of(3) != two.fingerprint_of(2)
    assert two.fingerprint_of(3) != other.fingerprint_of(3)


class _Counted(list[dict[str, Any]]):
    """Files that count how often they are gone through."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        self.looks += 1
        return super().__getitem__(key)


def test_a_source_is_hashed_once_for_all_parts_of_an_extent() -> None:
    """Thousands of files times thousands of parts would be minutes."""
    files = _Counted(_files("a", "b"))
    grown = replace(_described("a"), source=files, rows=2_400, later_extents=(Extent(1_200, 500, 1),))
    assert len({grown.fingerprint_of(part) for part in range(grown.parts)}) == 2
    assert files.looks == 2


def test_the_parts_of_many_extents_follow_one_another() -> None:
    """A source that grows every day: all rows, in order, in parts of their own extent only."""
    grown = tuple(Extent(rows, 500, 1) for rows in range(1, 2_000, 7))
    many = replace(DESCRIPTOR, rows=DESCRIPTOR.rows + sum(one.rows for one in grown), later_extents=grown)
    spans = [many.row_range(part) for part in range(many.parts)]
    assert [place for span in spans for place in span] == list(range(many.rows))
    assert many.parts == 3 + sum(one.parts for one in grown)


def test_a_destination_that_holds_other_things_is_refused(store: Store) -> None:
    """Somebody's files are not touched; what begins with a dot is nobody's."""
    store.write(".work/locks/x", b"")
    assert check_descriptor(store, DESCRIPTOR) is None
    store.write("holiday.jpg", b"")
    with pytest.raises(ConfigurationError, match="is not empty and holds no dataset"):
        check_descriptor(store, DESCRIPTOR)


@pytest.mark.parametrize("content", [b'{"format_version": 2}', b"{}", b"[]", b"not JSON", b""])
def test_another_format_is_refused(store: Store, content: bytes) -> None:
    """A descriptor of another version, or a file of that name that is none of ours, is not guessed at."""
    store.write("dataset.json", content)
    with pytest.raises(ConfigurationError, match="is of format"):
        read_descriptor(store)


class _RacedStore(LocalStore):
    """A destination where another process makes the dataset between our looking for it and our looking around."""

    def is_empty(self) -> bool:
        create_or_extend_descriptor(LocalStore(self.folder), DESCRIPTOR)
        return super().is_empty()


def test_another_process_that_makes_the_dataset_first_is_no_error(tmp_path: Path) -> None:
    """Two workers of one job that start at once both go on with the one dataset."""
    assert check_descriptor(_RacedStore(tmp_path), DESCRIPTOR) == DESCRIPTOR


def test_another_process_that_makes_another_dataset_first_is_told(store: Store) -> None:
    """Who comes second with another job is refused, though the destination was empty when it looked."""
    assert check_descriptor(store, DESCRIPTOR) is None
    create_or_extend_descriptor(store, replace(DESCRIPTOR, job={"model": "other"}))
    with pytest.raises(ConfigurationError, match="another job"):
        create_or_extend_descriptor(store, DESCRIPTOR)


def test_the_fingerprint_covers_job_and_source_and_not_prices() -> None:
    """A journal fits a dataset when job and source are the same; what it costs may change."""
    assert DESCRIPTOR.fingerprint == replace(DESCRIPTOR, prices=[], part_rows=7).fingerprint
    assert DESCRIPTOR.fingerprint != replace(DESCRIPTOR, job={}).fingerprint
    assert DESCRIPTOR.fingerprint != replace(DESCRIPTOR, source=[]).fingerprint
