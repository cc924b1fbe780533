from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from tests.builders import cost_of
from tests.datasets import Bench
from tts_pipeline.dataset.active_part import PriorState
from tts_pipeline.dataset.commit import marker_name
from tts_pipeline.dataset.existing_speech import (
    NO_SPEECH,
    open_existing_speech,
    published_histories,
    read_existing_speech,
)
from tts_pipeline.dataset.finalize import reopen_rejected_parts
from tts_pipeline.errors import StorageError
from tts_pipeline.models import History
from tts_pipeline.schema import speech_schema
from tts_pipeline.storage.store import Store

SPEECH = "speech/part-00000.parquet"


def test_where_there_is_no_speech_nothing_stands(tmp_path: Path, store: Store) -> None:
    """A new part has no speech, nor has a part whose rows were all rejected."""
    bench = Bench.of(tmp_path, store)
    assert read_existing_speech(store, bench.rows()) == NO_SPEECH
    bench.run(refused=["r0", "r1", "r2", "r3"])
    assert read_existing_speech(store, bench.rows()) == NO_SPEECH


def test_what_stands_is_counted_as_a_marker_counts_it(tmp_path: Path, store: Store) -> None:
    """Rows have their indices in the file; voices, languages and durations are counted."""
    bench = Bench.of(tmp_path, store)
    bench.run(refused=["r1"])
    existing = read_existing_speech(store, bench.rows())
    assert existing.row_indices == {("r0", 0): 0, ("r2", 0): 1, ("r3", 0): 2}
    assert (existing.totals.speech, existing.totals.audio_ms, existing.totals.reused) == (3, 24, 0)
    assert (existing.voices, existing.languages) == (Counter(Cherry=3), Counter(en=3))


def test_speech_of_other_rows_is_refused(tmp_path: Path, store: Store) -> None:
    """A speech file of another source neither counts as done nor is overwritten."""
    other = Bench.of(tmp_path, store, rows=5)
    other.run()
    store.remove(marker_name(0))
    bench = Bench.of(tmp_path, store, rows=3)
    with pytest.raises(StorageError, match="holds rows that are not in the source"):
        read_existing_speech(store, bench.rows())


def test_a_large_part_is_copied_in_row_groups(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups are filled across old and new rows, so that a retry does not fragment them."""
    monkeypatch.setattr("tts_pipeline.dataset.speech_file.ROW_GROUP_BYTES", 4_000)
    bench = Bench.of(tmp_path, store, rows=40)
    bench.run(refused=[f"r{number}" for number in range(0, 40, 10)])
    reopen_rejected_parts(store, bench.leases, {0})
    asyncio.run(_say_the_rest(bench))
    bench.publish()
    assert bench.read(SPEECH)["utterance_id"].to_pylist() == [f"r{number}" for number in range(40)]
    for row in bench.read(SPEECH).to_pylist():
        assert row["audio"]["path"] == f"{row['utterance_id']}.wav"


@pytest.mark.parametrize("group_bytes", [1, 1_500, 1_000_000])
def test_runs_of_rows_are_read_across_row_groups(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, group_bytes: int
) -> None:
    """Whatever the row groups, each range is yielded in pieces, in order, and no row twice."""
    monkeypatch.setattr("tts_pipeline.dataset.speech_file.ROW_GROUP_BYTES", group_bytes)
    bench = Bench.of(tmp_path, store, rows=12)
    bench.run()
    with open_existing_speech(store, bench.rows(), speech_schema([])) as reader:
        runs = [list(reader.rows(start, end)) for start, end in ((0, 1), (3, 9), (9, 10), (11, 12))]
    ids = [pa.concat_tables(pieces)["utterance_id"].to_pylist() for pieces in runs]
    assert ids == [["r0"], [f"r{number}" for number in range(3, 9)], ["r9"], ["r11"]]


async def _say_the_rest(bench: Bench) -> None:
    async with bench.part(prior=PriorState(read_existing_speech(bench.store, bench.rows()).row_indices.keys())) as part:
        for utterance in part.todo:
            await bench.say(part, utterance)


async def _say_and_refuse(bench: Bench) -> None:
    async with bench.part() as part:
        await bench.say(part, part.todo[0])
        await bench.refuse(part, part.todo[1])
        await part.intend(bench.attempt(part.todo[1], number=2), None)


def test_requests_are_known_from_published_usage(tmp_path: Path, store: Store) -> None:
    """Requests are grouped by utterance, with their cost; local journals report their own requests."""
    bench = Bench.of(tmp_path, store)
    asyncio.run(_say_and_refuse(bench))
    bench.committer.suspend_part(bench.rows(), bench.replays())
    journal_ids = {replay.journal_id for replay in bench.replays()}
    assert published_histories(store, bench.rows(), journal_ids) == {}
    assert published_histories(store, bench.rows(), set()) == {
        ("r0", 0): History(segment_attempts=Counter({0: 1}), characters_billed=7, cost=cost_of(7)),
        ("r1", 0): History(segment_attempts=Counter({0: 2}), cost=Decimal(0)),
    }
