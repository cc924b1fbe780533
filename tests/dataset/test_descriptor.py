from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import DESCRIPTOR, described, descriptor_of, source_files
from tts_pipeline.config import MAX_PARTS, PART_ROWS
from tts_pipeline.dataset.descriptor import Extent, part_rows_for, read_descriptor
from tts_pipeline.dataset.growth import check_descriptor, create_or_extend_descriptor
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.storage.store import Store


@given(rows=st.integers(0, 5_000_000))
def test_parts_hold_every_row_once_and_are_never_too_many(rows: int) -> None:
    """Parts are contiguous, with 500 rows each, or more so that there are at most 2,000."""
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
    """A part has 500 rows up to a million; beyond, as few as keep the number of parts at 2,000."""
    assert part_rows_for(rows) == part_rows


def test_what_was_made_is_read_back(store: Store) -> None:
    """A descriptor is the same when it is read back; creating it again changes nothing."""
    assert read_descriptor(store) is None
    assert create_or_extend_descriptor(store, DESCRIPTOR) == DESCRIPTOR
    assert read_descriptor(store) == DESCRIPTOR
    assert check_descriptor(store, DESCRIPTOR) == DESCRIPTOR
    assert create_or_extend_descriptor(store, DESCRIPTOR) == DESCRIPTOR


def test_the_file_says_what_it_is(store: Store) -> None:
    """The file holds the format version, sizes and both fingerprints, for people and other tools."""
    create_or_extend_descriptor(store, DESCRIPTOR)
    values = orjson.loads(store.read("dataset.json") or b"")
    assert (values["format_version"], values["rows"], values["part_rows"], values["parts"]) == (1, 1_200, 500, 3)
    assert values["job_fingerprint"] == DESCRIPTOR.job_fingerprint
    assert values["source_fingerprint"] == DESCRIPTOR.source_fingerprint
    assert values["prices"] == DESCRIPTOR.prices


@given(steps=st.lists(st.integers(0, 100), min_size=1, max_size=6), part_rows=st.integers(1, 40))
def test_every_row_is_in_one_part_however_a_dataset_grew(steps: list[int], part_rows: int) -> None:
    """Ranges are contiguous, and no range spans two extents."""
    first, *more = steps
    extents = tuple(Extent(rows, part_rows, 1) for rows in more)
    names = [str(number) for number in range(len(steps))]
    grown = descriptor_of(sum(steps), part_rows, {}, source_files(*names), later_extents=extents)
    spans = [grown.row_range(part) for part in range(grown.parts)]
    assert [row for span in spans for row in span] == list(range(sum(steps)))
    ends = set(itertools.accumulate(steps))
    assert not [span for span in spans if ends & set(range(span.start + 1, span.stop))]
    assert all(0 < len(span) <= part_rows for span in spans)
    assert first == grown.extents[0].rows


def test_the_fingerprint_of_a_part_outlives_growth() -> None:
    """Journals of old parts still fit; those of new parts fit only a dataset that grew in the same way."""
    descriptor = described("a")
    two, other = (
        replace(descriptor, source=source_files("a", name), rows=2_400, later_extents=(Extent(1_200, 500, 1),))
        for name in ("b", "c")
    )
    assert descriptor.fingerprint_of(2) == two.fingerprint_of(2) == descriptor.fingerprint
    assert two.fingerprint_of(3) != two.fingerprint_of(2)
    assert two.fingerprint_of(3) != other.fingerprint_of(3)


class _Counted(list[dict[str, Any]]):
    """A list of files that counts its reads."""

    looks = 0

    def __getitem__(self, key: Any) -> Any:
        self.looks += 1
        return super().__getitem__(key)


def test_a_source_is_hashed_once_for_all_parts_of_an_extent() -> None:
    """Hashing thousands of files for each of thousands of parts would take minutes."""
    files = _Counted(source_files("a", "b"))
    grown = replace(described("a"), source=files, rows=2_400, later_extents=(Extent(1_200, 500, 1),))
    assert len({grown.fingerprint_of(part) for part in range(grown.parts)}) == 2
    assert files.looks == 2


def test_the_parts_of_many_extents_follow_one_another() -> None:
    """A source that grows every day keeps all rows in order, and no part spans two extents."""
    grown = tuple(Extent(rows, 500, 1) for rows in range(1, 2_000, 7))
    many = replace(DESCRIPTOR, rows=DESCRIPTOR.rows + sum(extent.rows for extent in grown), later_extents=grown)
    spans = [many.row_range(part) for part in range(many.parts)]
    assert [place for span in spans for place in span] == list(range(many.rows))
    assert many.parts == 3 + sum(extent.parts for extent in grown)


@pytest.mark.parametrize("content", [b'{"format_version": 2}', b"{}", b"[]", b"not JSON", b""])
def test_another_format_is_refused(store: Store, content: bytes) -> None:
    """A descriptor of another version, or a foreign file of that name, is not guessed at."""
    store.write("dataset.json", content)
    with pytest.raises(ConfigurationError, match="is of format"):
        read_descriptor(store)


def test_the_fingerprint_covers_job_and_source_and_not_prices() -> None:
    """A journal fits a dataset with the same job and source; prices may change."""
    assert DESCRIPTOR.fingerprint == replace(DESCRIPTOR, prices=[], part_rows=7).fingerprint
    assert DESCRIPTOR.fingerprint != replace(DESCRIPTOR, job={}).fingerprint
    assert DESCRIPTOR.fingerprint != replace(DESCRIPTOR, source=[]).fingerprint
