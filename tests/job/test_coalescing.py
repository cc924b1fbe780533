from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.builders import audio_of, make_speech, write_rows
from tests.datasets import utterance_mapper_of
from tests.machine import patience
from tts_pipeline.cache.job_cache import JobCache
from tts_pipeline.client.attempt_log import AttemptLog
from tts_pipeline.errors import PermanentError, StoppedError
from tts_pipeline.job.coalescing import RequestCoalescer
from tts_pipeline.job.work_queue import WorkQueue
from tts_pipeline.job.workers import WorkItem
from tts_pipeline.models import Speech, Utterance
from tts_pipeline.source.duplicates import RequestHasher
from tts_pipeline.source.parquet_source import open_source


class FakeSynthesizer:
    """Speaks an utterance when the test permits it, or fails; knows the cached audio, as a client's cache does."""

    def __init__(self, cache: JobCache) -> None:
        self.cache = cache
        self.gate = asyncio.Event()
        self.bought_ids: list[str] = []
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.failing: set[str] = set()
        self.stop_reasons: list[StoppedError] = []
        self.exhausted_calls = 0

    async def synthesize(self, utterance: Utterance, log: AttemptLog | None = None) -> Speech:
        speech = make_speech(utterance, audio_of(utterance.text), len(utterance.text))
        if self.cache.may_have(speech.request_key, utterance.take):
            cached = self.cache.get(speech.request_key, utterance.take)
            assert cached is not None
            return make_speech(utterance, cached.answer.audio, 0, deduplicated_from=cached.origin)
        self.bought_ids.append(utterance.utterance_id)
        self.begun.put_nowait(utterance.utterance_id)
        await self.gate.wait()
        if utterance.utterance_id in self.failing:
            raise PermanentError("no", code="InvalidParameter", http_status=400)
        return speech

    def input_exhausted(self) -> None:
        self.exhausted_calls += 1

    def stop(self, reason: StoppedError) -> None:
        self.stop_reasons.append(reason)


class Bench:
    """Workers between a queue and a coalescer, without a job."""

    def __init__(self, folder: Path, *repeated: str) -> None:
        self.cache = JobCache(folder / "kept")
        self.synthesizer = FakeSynthesizer(self.cache)
        request_hash = RequestHasher(utterance_mapper_of(open_source(write_rows(folder / "a.parquet"))))
        hashes = [request_hash.hash_utterance(Utterance("", text)) for text in repeated]
        self.coalescer = RequestCoalescer(
            self.synthesizer, np.unique(np.array(hashes, np.int64)), request_hash, self.cache
        )
        self.queue: WorkQueue[WorkItem] = WorkQueue(2)
        self.speeches: dict[str, str | None] = {}
        self.rejects: list[str] = []

    async def item(self) -> None:
        while (run_worker := await self.queue.get()) is not None:
            try:
                speech = await self.coalescer.synthesize(run_worker.utterance)
                self.speeches[run_worker.utterance.utterance_id] = speech.deduplicated_from
            except PermanentError:
                self.rejects.append(run_worker.utterance.utterance_id)
        await self.queue.put(None)

    async def feed(self, *texts: str) -> None:
        book: Any = None
        for number, text in enumerate(texts):
            await self.coalescer.admit(WorkItem(Utterance(f"r{number}", text), book), self.queue)


def _run(main: Callable[[Bench], Awaitable[None]], folder: Path, *repeated: str) -> Bench:
    async def whole() -> Bench:
        bench = Bench(folder, *repeated)
        workers = [asyncio.create_task(bench.item()) for _ in range(2)]
        await asyncio.wait_for(main(bench), patience(10))
        await bench.coalescer.drain()
        await bench.queue.put(None)
        await asyncio.wait_for(asyncio.gather(*workers), patience(10))
        return bench

    return asyncio.run(whole())


def test_equal_utterances_wait_without_a_worker(tmp_path: Path) -> None:
    """One is bought; the others wait aside, later rows are spoken, and then all equal ones take its audio."""

    async def main(bench: Bench) -> None:
        await bench.feed("same", "same", "same", "same", "other", "last")
        assert [await bench.synthesizer.begun.get() for _ in range(2)] == ["r0", "r4"]
        bench.synthesizer.gate.set()

    bench = _run(main, tmp_path, "same")
    assert bench.synthesizer.bought_ids == ["r0", "r4", "r5"]
    assert bench.speeches == {"r0": None, "r1": "r0", "r2": "r0", "r3": "r0", "r4": None, "r5": None}


def test_who_comes_later_finds_what_is_kept(tmp_path: Path) -> None:
    """Even in a later run: the first looks it up, and the others with it."""

    async def main(bench: Bench) -> None:
        bench.synthesizer.gate.set()
        await bench.feed("same", "other", "same")

    assert _run(main, tmp_path, "same").synthesizer.bought_ids == ["r0", "r1"]
    again = _run(main, tmp_path, "same")
    assert again.synthesizer.bought_ids == ["r1"]
    assert again.speeches["r0"] == again.speeches["r2"] == "r0"


def test_after_a_reject_the_next_one_buys(tmp_path: Path) -> None:
    """A reject concerns its own row only."""

    async def main(bench: Bench) -> None:
        bench.synthesizer.gate.set()
        bench.synthesizer.failing = {"r0", "r1"}
        await bench.feed(*["same"] * 6)

    bench = _run(main, tmp_path, "same")
    assert bench.rejects == ["r0", "r1"]
    assert set(bench.speeches) == {"r2", "r3", "r4", "r5"}
    assert bench.synthesizer.bought_ids == ["r0", "r1", "r2", "r3"]


def test_the_client_learns_when_only_those_that_buy_for_others_are_left(tmp_path: Path) -> None:
    """Otherwise a repeated text that always fails would look like an outage for ever: no other row can come."""

    async def main(bench: Bench) -> None:
        await bench.feed("other", "same", "same", "last")
        assert [await bench.synthesizer.begun.get() for _ in range(2)] == ["r0", "r1"]
        assert bench.synthesizer.exhausted_calls == 0
        over = asyncio.create_task(bench.coalescer.drain())
        await asyncio.sleep(0)
        assert (over.done(), bench.synthesizer.exhausted_calls) == (False, 0)  # "last" is in the queue
        bench.synthesizer.gate.set()
        await over
        assert bench.synthesizer.exhausted_calls == 1

    assert _run(main, tmp_path, "same").synthesizer.bought_ids == ["r0", "r1", "r3"]


def test_without_repeats_nothing_is_kept(tmp_path: Path) -> None:
    """Equal rows that the plan does not list are bought as they come; no file is written."""

    async def main(bench: Bench) -> None:
        bench.synthesizer.gate.set()
        await bench.feed("same", "same")

    assert _run(main, tmp_path).synthesizer.bought_ids == ["r0", "r1"]
    assert not (tmp_path / "kept").exists()


def test_a_stop_leaves_no_task_behind(tmp_path: Path) -> None:
    """Waiting items are not released into a queue without workers; the client gets the reason."""

    async def main() -> None:
        bench = Bench(tmp_path, "same")
        await bench.feed("same", "same", "same", "same")
        bench.synthesizer.failing = {"r0"}
        bench.synthesizer.gate.set()
        work = await bench.queue.get()
        assert work is not None
        bench.queue.put_nowait(work)
        bench.queue.put_nowait(work)
        with pytest.raises(PermanentError):
            await bench.coalescer.synthesize(work.utterance)
        reason = StoppedError("enough", stopped_by="interrupted")
        bench.coalescer.stop(reason)
        bench.coalescer.input_exhausted()
        bench.coalescer.close()
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        assert (bench.synthesizer.stop_reasons, bench.synthesizer.exhausted_calls) == ([reason], 1)

    asyncio.run(main())
