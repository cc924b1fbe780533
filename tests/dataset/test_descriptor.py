from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.config import MAX_PARTS, PART_ROWS
from tts_pipeline.dataset.descriptor import (
    Descriptor,
    check_descriptor,
    make_descriptor,
    part_rows_for,
    read_descriptor,
)
from tts_pipeline.dataset.store import LocalStore, Store
from tts_pipeline.errors import ConfigurationError

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
    spans = [descriptor.span(part) for part in range(descriptor.parts)]
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
    assert make_descriptor(store, DESCRIPTOR) == DESCRIPTOR
    assert read_descriptor(store) == DESCRIPTOR
    assert check_descriptor(store, DESCRIPTOR) == DESCRIPTOR
    assert make_descriptor(store, DESCRIPTOR) == DESCRIPTOR


def test_the_file_says_what_it_is(store: Store) -> None:
    """Format version, sizes and both fingerprints stand in the file, for people and other tools."""
    make_descriptor(store, DESCRIPTOR)
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
    make_descriptor(store, DESCRIPTOR)
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
    make_descriptor(store, DESCRIPTOR)
    with pytest.raises(ConfigurationError) as refused:
        check_descriptor(store, replace(DESCRIPTOR, job={**DESCRIPTOR.job, **change}))
    assert told in refused.value.message
    assert "another destination" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([{**FILE, "bytes": 101}], "'a.parquet' has changed"),
        ([{**FILE, "footer_sha256": "01"}], "'a.parquet' has changed"),
        ([FILE, {**FILE, "path": "b.parquet"}], "'b.parquet' is new"),
        ([{**FILE, "path": "b.parquet"}], "'a.parquet' is gone; 'b.parquet' is new"),
    ],
)
def test_a_changed_source_is_refused_with_the_difference(store: Store, files: list[Any], told: str) -> None:
    """The file that changed, came or went is named."""
    make_descriptor(store, DESCRIPTOR)
    with pytest.raises(ConfigurationError, match=r"source of the dataset .* has changed") as refused:
        check_descriptor(store, replace(DESCRIPTOR, source=files))
    assert told in refused.value.message


def test_many_changed_files_are_counted(store: Store) -> None:
    """Five are named, the rest is a number."""
    make_descriptor(store, DESCRIPTOR)
    many = [FILE, *({**FILE, "path": f"{number}.parquet"} for number in range(8))]
    with pytest.raises(ConfigurationError, match="and 3 more"):
        check_descriptor(store, replace(DESCRIPTOR, source=many))


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
        make_descriptor(LocalStore(self.folder), DESCRIPTOR)
        return super().is_empty()


def test_another_process_that_makes_the_dataset_first_is_no_error(tmp_path: Path) -> None:
    """Two workers of one job that start at once both go on with the one dataset."""
    assert check_descriptor(_RacedStore(tmp_path), DESCRIPTOR) == DESCRIPTOR


def test_another_process_that_makes_another_dataset_first_is_told(store: Store) -> None:
    """Who comes second with another job is refused, though the destination was empty when it looked."""
    assert check_descriptor(store, DESCRIPTOR) is None
    make_descriptor(store, replace(DESCRIPTOR, job={"model": "other"}))
    with pytest.raises(ConfigurationError, match="another job"):
        make_descriptor(store, DESCRIPTOR)


def test_the_fingerprint_covers_job_and_source_and_not_prices() -> None:
    """A journal fits a dataset when job and source are the same; what it costs may change."""
    assert DESCRIPTOR.fingerprint == replace(DESCRIPTOR, prices=[], part_rows=7).fingerprint
    assert DESCRIPTOR.fingerprint != replace(DESCRIPTOR, job={}).fingerprint
    assert DESCRIPTOR.fingerprint != replace(DESCRIPTOR, source=[]).fingerprint
