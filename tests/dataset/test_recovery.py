from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import NOW_US, cost_of, descriptor_of
from tests.datasets import Bench
from tts_pipeline.dataset.claims import Claim, claim_names, write_claim
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.finalize import dataset_totals, finalize, is_finalized
from tts_pipeline.dataset.growth import create_or_extend_descriptor
from tts_pipeline.dataset.recovery import collect_orphans
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.store import Store

CLAIM = Claim("lost", "i0", NOW_US, 500, cost_of(500), "CNY", "local", "qwen3-tts-flash", "team")


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> Bench:
    """A dataset of four rows, none of them spoken."""
    return Bench.of(tmp_path, store)


def _descriptor(bench: Bench) -> Descriptor:
    return descriptor_of(4, 500, {"model": "m", "service": "s"}, bench.source.fingerprint())


def _collect(bench: Bench, done: set[int]) -> None:
    collect_orphans(bench.store, bench.journals, bench.leases, done, lambda _: "fingerprint")


def test_a_journal_left_behind_after_the_marker_is_swept(bench: Bench) -> None:
    """A kill between marker and removal leaves texts and audio on the disk: the next run removes them."""
    path = bench.leave_open()
    bench.committer.commit_part(bench.rows(), bench.replays())
    before = bench.usage()
    _collect(bench, {0})
    assert not path.exists()
    assert bench.store.read(marker_name(0)) is not None
    assert bench.usage() == before


def test_a_journal_that_is_still_needed_is_not_swept(bench: Bench) -> None:
    """It stays until the marker exists, and while a process holds the part."""
    path = bench.leave_open()
    _collect(bench, set())
    with FileLock(bench.folder / "locks" / "part-00000.lock"):
        _collect(bench, {0})
    assert path.exists()
    assert bench.usage() == []


def test_what_was_spent_on_a_part_that_another_published_is_on_the_bill(bench: Bench) -> None:
    """Two machines held the part: the usage of the dead one's journal is published, the dataset finalized again."""
    descriptor = create_or_extend_descriptor(bench.store, _descriptor(bench))
    path = bench.leave_open()
    aside = bench.folder / "aside"
    path.rename(aside)
    bench.run()
    finalize(bench.store, descriptor)
    assert dataset_totals(bench.store, descriptor).attempts == 4
    aside.rename(path)
    _collect(bench, {0})
    assert not path.exists()
    assert not is_finalized(bench.store, descriptor)
    assert dataset_totals(bench.store, descriptor).attempts == 8
    finalize(bench.store, descriptor)
    assert dataset_totals(bench.store, descriptor).characters_billed == 56


def test_a_claim_on_a_part_that_is_done_is_spent_at_its_worst(bench: Bench) -> None:
    """Its owner lost the race and its disk, so nobody else will account for it. It counts once."""
    descriptor = create_or_extend_descriptor(bench.store, _descriptor(bench))
    bench.run()
    finalize(bench.store, descriptor)
    write_claim(bench.store, 0, CLAIM)
    write_claim(bench.store, 1, replace(CLAIM, journal_id="open"))
    for _ in range(2):
        _collect(bench, {0})
    totals = dataset_totals(bench.store, descriptor)
    assert (totals.attempts, totals.characters_billed, totals.characters_upper_bound) == (5, 28, 528)
    assert claim_names(bench.store, 0) == []
    assert claim_names(bench.store, 1) != [], "whose part is open is accounted for by whoever opens it"


def test_an_old_claim_whose_usage_is_published_changes_nothing(bench: Bench) -> None:
    """A kill between usage and removal of the claim leaves a claim without further spending: the manifest stays."""
    descriptor = create_or_extend_descriptor(bench.store, _descriptor(bench))
    bench.run()
    finalize(bench.store, descriptor)
    (usage,) = bench.store.names("usage")
    write_claim(bench.store, 0, replace(CLAIM, journal_id=usage.removesuffix(".parquet").split("-")[-1]))
    _collect(bench, {0})
    assert is_finalized(bench.store, descriptor)
    assert claim_names(bench.store, 0) == []
    assert dataset_totals(bench.store, descriptor).characters_upper_bound == 28
