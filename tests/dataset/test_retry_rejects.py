from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.builders import cost_of, descriptor_of
from tests.datasets import Bench
from tests.machine import DiedError, DyingStore
from tts_pipeline.dataset.active_part import PriorState
from tts_pipeline.dataset.commit import PartCommitter, marker_name
from tts_pipeline.dataset.descriptor import Descriptor
from tts_pipeline.dataset.existing_speech import published_histories, read_existing_speech
from tts_pipeline.dataset.finalize import (
    committed_parts,
    dataset_totals,
    finalize,
    is_finalized,
    reopen_rejected_parts,
)
from tts_pipeline.dataset.growth import create_or_extend_descriptor
from tts_pipeline.errors import StorageError
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

SPEECH = "speech/part-00000.parquet"


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> Bench:
    """A finalized dataset of two parts; the first has two rejects."""
    bench = Bench.of(tmp_path, store, rows=8, part_rows=5)
    _finalize(bench)
    return bench


def _finalize(bench: Bench) -> None:
    bench.run(0, refused=["r1", "r3"])
    bench.run(1)
    finalize(bench.store, _descriptor(bench))


def _descriptor(bench: Bench) -> Descriptor:
    job = {"model": "m", "service": "s"}
    return create_or_extend_descriptor(bench.store, descriptor_of(8, 5, job, bench.source.fingerprint()))


def _reopen(bench: Bench) -> set[int]:
    return reopen_rejected_parts(bench.store, bench.leases, {0, 1})


def _prior_state(bench: Bench, number: int = 0, *, retry_rejects: bool = False) -> PriorState:
    rows = bench.rows(number)
    existing = read_existing_speech(bench.store, rows)
    journal_ids = {replay.journal_id for replay in bench.replays(number)}
    histories = published_histories(bench.store, rows, journal_ids)
    return PriorState(existing.row_indices.keys(), existing.totals, histories, retry_rejects)


async def _retry(bench: Bench, *, refused: Sequence[str] = (), until: int = 9) -> list[str]:
    """Do at most ``until`` of the remaining rows of the first part; return all that remained."""
    async with bench.part(prior=_prior_state(bench)) as part:
        names = [utterance.utterance_id for utterance in part.todo]
        for utterance in part.todo[:until]:
            await (bench.refuse if utterance.utterance_id in refused else bench.say)(part, utterance)
    return names


def _ids(bench: Bench, name: str = SPEECH) -> list[str]:
    ids: list[str] = bench.read(name)["utterance_id"].to_pylist()
    return ids


def test_rejected_rows_are_tried_anew_and_the_speech_stays(bench: Bench) -> None:
    """Only rejects are to do; then the table holds all rows in source order, and the old ones unchanged."""
    before = bench.read(SPEECH).to_pylist()
    assert _reopen(bench) == {0}
    assert asyncio.run(_retry(bench)) == ["r1", "r3"]
    bench.publish()
    after = bench.read(SPEECH).to_pylist()
    assert [row["utterance_id"] for row in after] == ["r0", "r1", "r2", "r3", "r4"]
    assert [row for row in after if row["utterance_id"] in {"r0", "r2", "r4"}] == before
    assert {row["invocation_id"] for row in after} == {"invocation-1", "invocation-3"}
    assert bench.store.names("rejects") == [], "a table without rows has no file"
    finalize(bench.store, _descriptor(bench))
    totals = dataset_totals(bench.store, _descriptor(bench))
    assert (totals.speech, totals.rejects, totals.attempts) == (8, 0, 10)
    assert (totals.characters_billed, totals.cost, totals.audio_ms) == (56, cost_of(56), 64)


def test_old_usage_stays(bench: Bench) -> None:
    """The bill only grows: every usage file stays byte for byte, and a new one is added."""
    before = {name: bench.store.read(f"usage/{name}") for name in bench.store.names("usage")}
    _reopen(bench)
    asyncio.run(_retry(bench, refused=["r3"]))
    bench.publish()
    after = {name: bench.store.read(f"usage/{name}") for name in bench.store.names("usage")}
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    assert _ids(bench, "rejects/part-00000.parquet") == ["r3"]


def test_requests_of_before_count_for_the_row(bench: Bench) -> None:
    """The numbers of attempts continue, and the history has their cost, although their journal is gone."""
    _reopen(bench)

    async def look() -> None:
        async with bench.part(prior=_prior_state(bench)) as part:
            history = part.history(part.todo[0])
            assert (history.segment_attempts, history.characters_billed) == ({0: 1}, 0)
            await part.intend(bench.attempt(part.todo[0], number=2), None)
        async with bench.part(prior=_prior_state(bench)) as part:
            assert sum(part.history(part.todo[0]).segment_attempts.values()) == 2

    asyncio.run(look())


def test_what_has_no_rejects_is_left_alone(bench: Bench) -> None:
    """Without rejects not even ``parts.json`` is touched."""
    _reopen(bench)
    asyncio.run(_retry(bench))
    bench.publish()
    finalize(bench.store, _descriptor(bench))
    assert _reopen(bench) == set()
    assert is_finalized(bench.store, _descriptor(bench))


def test_the_manifest_is_removed_before_the_marker(tmp_path: Path) -> None:
    """A process that dies in between leaves a dataset that is not finalized, whose part is still done."""
    removals: list[str] = []

    class _Watched(LocalStore):
        def remove(self, name: str) -> None:
            removals.append(name)
            super().remove(name)

    bench = Bench.of(tmp_path, _Watched(tmp_path / "out"), rows=8, part_rows=5)
    _finalize(bench)
    removals.clear()
    _reopen(bench)
    assert removals == ["parts.json", marker_name(0)]


def test_a_part_that_another_process_has_is_not_reopened(bench: Bench) -> None:
    """The marker of such a part stays."""
    with FileLock(bench.folder / "locks" / "part-00000.lock"), pytest.raises(StorageError, match="part-00000"):
        _reopen(bench)
    assert committed_parts(bench.store, _descriptor(bench)) == {0, 1}


@pytest.mark.parametrize("changes", range(12))
def test_a_retry_that_dies_at_any_write_is_finished_by_a_plain_run(tmp_path: Path, changes: int) -> None:
    """Whatever the step of reopening and publishing, no row is lost, spoken twice or billed twice."""
    DyingStore.changes_left = 10_000
    bench = Bench.of(tmp_path, DyingStore(tmp_path / "out"), rows=8, part_rows=5)
    _finalize(bench)
    DyingStore.changes_left = changes
    try:
        _reopen(bench)
        asyncio.run(_retry(bench, refused=["r3"]))
        bench.publish()
        finalize(bench.store, _descriptor(bench))
    except DiedError:
        pass
    DyingStore.changes_left = 10_000
    if 0 not in committed_parts(bench.store, _descriptor(bench)):
        asyncio.run(_retry(bench, refused=["r3"]))
        bench.publish()
    finalize(bench.store, _descriptor(bench))
    rejects = _ids(bench, "rejects/part-00000.parquet")
    assert sorted([*_ids(bench), *rejects]) == ["r0", "r1", "r2", "r3", "r4"]
    assert _ids(bench) == sorted(_ids(bench))
    usage = [row for number in (0, 1) for row in bench.usage(number)]
    assert len({row["attempt_id"] for row in usage}) == len(usage)
    totals = dataset_totals(bench.store, _descriptor(bench))
    assert totals.attempts == len(usage)
    assert (totals.speech, totals.rejects) == (8 - len(rejects), len(rejects))
    speech_ids = [row["utterance_id"] for row in usage if row["outcome"] == "succeeded"]
    assert len(speech_ids) == len(set(speech_ids)), "nothing was bought twice"


def test_speech_without_a_marker_counts_when_its_journal_is_lost(tmp_path: Path, store: Store) -> None:
    """The run died between speech and marker, and its machine never came back: the rows are not bought again."""
    bench = Bench.of(tmp_path, store)
    bench.run(refused=["r2"])
    store.remove(marker_name(0))
    before = store.read(SPEECH)
    assert asyncio.run(_retry(bench, refused=["r2"])) == ["r2"]
    bench.publish()
    assert store.read(SPEECH) == before, "nothing new: the file stays as it is"
    assert store.exists(marker_name(0))


def test_rejects_of_an_open_part_are_tried_anew_when_asked(tmp_path: Path, store: Store) -> None:
    """An earlier journal's reject is final for a plain run, but not for a retry, whose speech then wins."""
    bench = Bench.of(tmp_path, store)

    async def work() -> None:
        async with bench.part() as part:
            for utterance in part.todo[:2]:
                await bench.refuse(part, utterance)
        async with bench.part() as part:
            assert [utterance.utterance_id for utterance in part.todo] == ["r2", "r3"]
        async with bench.part(prior=_prior_state(bench, retry_rejects=True)) as part:
            assert [utterance.utterance_id for utterance in part.todo] == ["r0", "r1", "r2", "r3"]
            for utterance in part.todo:
                await bench.say(part, utterance)

    asyncio.run(work())
    bench.publish()
    assert _ids(bench) == ["r0", "r1", "r2", "r3"]


def test_publishing_takes_what_stands_from_its_file(bench: Bench) -> None:
    """A committer in another process, which only knows the files, gives the same result."""
    _reopen(bench)
    asyncio.run(_retry(bench))
    PartCommitter(bench.store, bench.mapper.roles).commit_part(bench.rows(), bench.replays())
    assert _ids(bench) == ["r0", "r1", "r2", "r3", "r4"]


def test_speech_goes_before_a_reject_whatever_their_order(tmp_path: Path, store: Store) -> None:
    """Two processes raced for the row: paid speech is not dropped for the other one's reject."""
    bench = Bench.of(tmp_path, store)
    prior = PriorState(retry_rejects=True)

    async def work() -> None:
        async with bench.part() as part:
            for utterance in part.todo:
                await bench.say(part, utterance)
        (path,) = bench.journals.glob("*.journal")
        path.rename(tmp_path / path.name)
        async with bench.part(prior=prior) as part:
            await bench.refuse(part, part.todo[0])
        (tmp_path / path.name).rename(path)

    asyncio.run(work())
    bench.publish()
    assert _ids(bench) == ["r0", "r1", "r2", "r3"]
    assert store.names("rejects") == []
