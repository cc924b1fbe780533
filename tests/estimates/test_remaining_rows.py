"""Rows that a run still has to do, and what of them is paid for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from tests.builders import prepare_lines, row_ids
from tests.datasets import Bench
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.finalize import finalize
from tts_pipeline.errors import StorageError
from tts_pipeline.estimates.input_rows import STARTED
from tts_pipeline.estimates.remaining_rows import RemainingRows
from tts_pipeline.job.prepared_job import PreparedJob


@pytest.fixture
def prepared(tmp_path: Path) -> PreparedJob:
    """A job of 20 rows in four parts."""
    return prepare_lines(tmp_path)


def _bench(prepared: PreparedJob) -> Bench:
    fingerprint = prepared.descriptor.fingerprint
    return Bench(prepared.work_dir, prepared.source, prepared.store, part_rows=5, prices={}, fingerprint=fingerprint)


def _remaining(prepared: PreparedJob) -> tuple[list[str], dict[str, int]]:
    rows = RemainingRows(prepared)
    ids = [name for batch in rows.batches(["id"]) for name in batch["id"]]
    return ids, dict(+rows.skipped)


def test_of_a_new_dataset_all_rows_remain(prepared: PreparedJob) -> None:
    """In the order of the source."""
    assert _remaining(prepared) == (row_ids(20), {})


def test_finished_parts_are_counted_and_not_read(prepared: PreparedJob) -> None:
    """Their rejects are final, unless they are to be tried anew."""
    _bench(prepared).run(1, refused=["r7"])
    assert _remaining(prepared) == ([*row_ids(5), *row_ids(20)[10:]], {"speech": 4, "rejects": 1})
    job = replace(prepared.job, options=replace(prepared.job.options, retry_rejects=True))
    assert _remaining(replace(prepared, job=job)) == ([*row_ids(5), "r7", *row_ids(20)[10:]], {"speech": 4})


def test_rows_in_open_journals_are_done_though_nothing_is_published(prepared: PreparedJob) -> None:
    """Nothing is changed by the look: a second one finds the same."""
    bench = _bench(prepared)

    async def work() -> None:
        async with bench.part(2) as part:
            await bench.say(part, part.todo[0])
            await bench.refuse(part, part.todo[1])

    asyncio.run(work())
    before = sorted(path.name for path in prepared.journals_dir.iterdir())
    for _ in range(2):
        assert _remaining(prepared) == ([*row_ids(10), *row_ids(20)[12:]], {"speech": 1, "rejects": 1})
    assert sorted(path.name for path in prepared.journals_dir.iterdir()) == before


def test_a_row_that_is_paid_for_and_not_done_is_begun(prepared: PreparedJob) -> None:
    """A run that died in between finds the answer; its segment costs nothing."""
    bench = _bench(prepared)

    async def work() -> None:
        async with bench.part(0) as part:
            await bench.buy(part, part.todo[3])

    asyncio.run(work())
    rows = RemainingRows(prepared)
    begun = [batch.filter(batch[STARTED].is_not_null())["id"].to_list() for batch in rows.batches(["id"])]
    assert list(chain(*begun)) == ["r3"]
    assert [started.paid for started in rows.started_rows] == [{0}]


def test_a_marker_that_is_gone_after_finalize_is_told(prepared: PreparedJob) -> None:
    """What its part cost would be left out of what was spent."""
    bench = _bench(prepared)
    for number in range(4):
        bench.run(number)
    finalize(prepared.store, prepared.descriptor)
    assert _remaining(prepared) == ([], {"speech": 20})
    prepared.store.remove(marker_name(2))
    with pytest.raises(StorageError, match=r"part-00002\.json is missing"):
        RemainingRows(prepared)
