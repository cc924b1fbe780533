from __future__ import annotations

import asyncio
from pathlib import Path

from tests.datasets import Bench
from tts_pipeline.dataset.usage_files import commit_journal_usage, usage_name
from tts_pipeline.storage.store import Store


def test_what_is_published_is_left_alone(tmp_path: Path, store: Store) -> None:
    """Published usage is never rewritten, whatever its journal holds by now; a journal without requests has no file."""
    bench = Bench.of(tmp_path, store)

    async def work() -> None:
        async with bench.part() as part:
            await bench.say(part, part.todo[0])
        async with bench.part() as part:
            assert part.remaining == 3

    asyncio.run(work())
    replay, empty = bench.replays()
    for _ in range(2):
        commit_journal_usage(store, 0, replay)
        commit_journal_usage(store, 0, empty)
        assert [f"usage/{name}" for name in store.names("usage")] == [usage_name(0, replay.journal_id)]
    before = store.read(usage_name(0, replay.journal_id))
    replay.attempts.clear()
    commit_journal_usage(store, 0, replay)
    assert store.read(usage_name(0, replay.journal_id)) == before
