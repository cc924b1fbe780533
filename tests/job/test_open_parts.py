"""Parts are opened under their leases, committed whole, or suspended with their journals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from tests.datasets import Bench, read_table
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.dataset.active_part import ActivePart, Progress
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.errors import StorageError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.job import RunOptions
from tts_pipeline.job.allowance import Allowance, make_allowance
from tts_pipeline.job.open_parts import OpenParts, max_open_parts
from tts_pipeline.job.prepared_job import PreparedJob
from tts_pipeline.source.parquet_source import Source
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.wal.journal import JournalWriter


@pytest.mark.parametrize(
    ("options", "part_rows", "parts"),
    [
        (RunOptions(limits=Limits(max_concurrency=16)), 500, 8),
        (RunOptions(limits=Limits(max_concurrency=256)), 500, 17),
        (RunOptions(limits=Limits(max_concurrency=256)), 5_000, 8),
        (RunOptions(limits=Limits(max_concurrency=256), max_open_parts=3), 500, 3),
    ],
)
def test_more_parts_are_open_where_more_is_in_flight(options: RunOptions, part_rows: int, parts: int) -> None:
    """One answer in a hundred that takes 30 times longer keeps its part open: other rows need parts meanwhile."""
    assert max_open_parts(options, part_rows) == parts


@asynccontextmanager
async def _opened(prepared: PreparedJob, allowance: Allowance | None = None) -> AsyncIterator[OpenParts]:
    """Set up as a process does, and release everything at the end."""
    fingerprint = prepared.descriptor.fingerprint
    invocation = Invocation(prepared.leases.invocation_id, "voices", "m", None, {}, {}, fingerprint)
    with closing(JournalWriter(asyncio.get_running_loop().call_soon_threadsafe)) as writer:
        parts = OpenParts(prepared, invocation, Progress(), allowance or Allowance(Budget()), writer)
        with closing(parts):
            yield parts
            parts.close_source()


async def _say(prepared: PreparedJob, part: ActivePart, rows: int) -> None:
    bench = Bench(prepared.work_dir, prepared.source, prepared.store, prices={})
    for utterance in list(part.todo)[:rows]:
        await bench.say(part, utterance)


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.anyio
async def test_a_part_that_is_committed_leaves_its_tables_and_no_journal(prepared: PreparedJob, tmp_path: Path) -> None:
    """Opening it again returns nothing to do."""
    async with _opened(prepared) as parts:
        part = parts.open(2)
        assert part is not None
        await _say(prepared, part, 5)
        parts.commit(part)
        assert len(parts) == 0
        assert parts.open(2) is None
        assert parts.contended == []
    out = tmp_path / "out"
    assert (_files(out / "speech"), _files(prepared.journals_dir)) == (["part-00002.parquet"], [])
    assert marker_name(2) in {f"done/{name}" for name in _files(out / "done")}


@pytest.mark.anyio
async def test_a_part_that_is_suspended_keeps_its_journal_and_its_usage_is_published(
    prepared: PreparedJob, tmp_path: Path
) -> None:
    """Its rows count as done but not published; the next process opens its remaining rows."""
    async with _opened(prepared) as parts:
        part = parts.open(1)
        assert part is not None
        await _say(prepared, part, 3)
        assert parts.suspend_all() is None
        assert (len(parts), parts.unpublished.speech) == (0, 3)
    assert _files(tmp_path / "out" / "speech") == []
    assert read_table(tmp_path / "out", "usage").num_rows == 3
    assert sum(name.endswith(".journal") for name in _files(prepared.journals_dir)) == 1
    async with _opened(prepared) as parts:
        again = parts.open(1)
        assert again is not None
        assert [utterance.utterance_id for utterance in again.todo] == ["r8", "r9"]


@pytest.mark.anyio
@pytest.mark.parametrize("cap", [None, 10_000])
async def test_under_a_cap_a_killed_process_leaves_no_claim_to_wait_for(
    prepared: PreparedJob, tmp_path: Path, cap: int | None
) -> None:
    """Whoever takes its part over publishes its usage first; without a cap, when the part is done or suspended."""
    async with _opened(prepared) as parts:
        part = parts.open(1)
        assert part is not None
        await _say(prepared, part, 3)
    options = replace(prepared.job.options, budget=BudgetCap(max_characters=cap))
    again = replace(prepared, job=replace(prepared.job, options=options))
    (claim,) = _files(tmp_path / "out" / "claims")
    async with _opened(again, make_allowance(again, Progress())) as parts:
        assert parts.open(1) is not None
        assert (claim in _files(tmp_path / "out" / "claims")) == (cap is None)
        assert len(_files(tmp_path / "out" / "usage")) == (0 if cap is None else 1)


class _UnmountingSource(Source):
    """Rows during whose reading the dataset's disk is unmounted: an empty folder stands where it was."""

    def __init__(self, source: Source, dataset: Path) -> None:
        super().__init__(source.files, source.schema)
        self._dataset = dataset

    def batches(self, start: int = 0, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the rows from ``start`` on; see ``Source.batches``."""
        self._dataset.rename(self._dataset.with_name("unmounted"))
        self._dataset.mkdir()
        return super().batches(start, columns)


@pytest.mark.anyio
async def test_a_dataset_that_vanishes_while_a_part_is_opened_gets_no_claim(
    prepared: PreparedJob, tmp_path: Path
) -> None:
    """A claim in the empty folder would be found by nobody."""
    source = _UnmountingSource(prepared.source, tmp_path / "out")
    async with _opened(replace(prepared, source=source)) as parts:
        with pytest.raises(StorageError, match="has vanished"):
            parts.open(0)
    assert _files(tmp_path / "out" / "claims") == []
    assert _files(tmp_path / "unmounted" / "claims") == []


@pytest.mark.anyio
async def test_a_part_that_another_process_holds_is_left_to_it(prepared: PreparedJob) -> None:
    """It is remembered, and neither read nor written; other parts are opened."""
    with FileLock(prepared.leases.lock_folder / "part-00000.lock"):
        async with _opened(prepared) as parts:
            assert parts.open(0) is None
            assert parts.contended == [0]
            assert parts.open(1) is not None
            assert len(parts) == 1
    with FileLock(prepared.leases.lock_folder / "part-00001.lock"):
        pass
