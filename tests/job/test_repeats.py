from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dataset.samples import audio_of, speech_of, voicing_of, write_rows
from tests.patience import patience
from tts_pipeline.batch import Work
from tts_pipeline.client.ledger import Ledger
from tts_pipeline.dataset.kept import JobCache
from tts_pipeline.dataset.repeated import RequestHasher
from tts_pipeline.dataset.source import open_source
from tts_pipeline.errors import PermanentError, StoppedError
from tts_pipeline.job.repeats import Repeats
from tts_pipeline.models import Speech, Utterance


class Speaker:
    """Says an utterance when the test lets it, or fails; knows what is kept, as a client's library does."""

    def __init__(self, kept: JobCache) -> None:
        self.kept = kept
        self.gate = asyncio.Event()
        self.said: list[str] = []
        self.begun: asyncio.Queue[str] = asyncio.Queue()
        self.failing: set[str] = set()
        self.stopped: list[StoppedError] = []
        self.told_of_the_end = 0

    async def synthesize(self, utterance: Utterance, ledger: Ledger | None = None) -> Speech:
        speech = speech_of(utterance, audio_of(utterance.text), len(utterance.text))
        if self.kept.may_have(speech.request_key, utterance.take):
            found = self.kept.get(speech.request_key, utterance.take)
            assert found is not None
            return speech_of(utterance, found.answer.audio, 0, deduplicated_from=found.origin)
        self.said.append(utterance.utterance_id)
        self.begun.put_nowait(utterance.utterance_id)
        await self.gate.wait()
        if utterance.utterance_id in self.failing:
            raise PermanentError("no", code="InvalidParameter", http_status=400)
        return speech

    def expect_no_more(self) -> None:
        self.told_of_the_end += 1

    def stop(self, reason: StoppedError) -> None:
        self.stopped.append(reason)


class Bench:
    """Workers between a queue and a repeats' client, without a batch."""

    def __init__(self, folder: Path, *repeated: str) -> None:
        self.kept = JobCache(folder / "kept")
        self.speaker = Speaker(self.kept)
        request_hash = RequestHasher(voicing_of(open_source(write_rows(folder / "a.parquet"))))
        hashes = [request_hash.hash_utterance(Utterance("", text)) for text in repeated]
        self.repeats = Repeats(self.speaker, np.unique(np.array(hashes, np.int64)), request_hash, self.kept)
        self.queue: asyncio.Queue[Work | None] = asyncio.Queue(maxsize=2)
        self.speeches: dict[str, str | None] = {}
        self.rejects: list[str] = []

    async def work(self) -> None:
        while (work := await self.queue.get()) is not None:
            try:
                speech = await self.repeats.synthesize(work.utterance)
                self.speeches[work.utterance.utterance_id] = speech.deduplicated_from
            except PermanentError:
                self.rejects.append(work.utterance.utterance_id)
        await self.queue.put(None)

    async def feed(self, *texts: str) -> None:
        book: Any = None
        for number, text in enumerate(texts):
            await self.repeats.admit(Work(Utterance(f"r{number}", text), book), self.queue)


def _ran(main: Callable[[Bench], Awaitable[None]], folder: Path, *repeated: str) -> Bench:
    async def whole() -> Bench:
        bench = Bench(folder, *repeated)
        workers = [asyncio.create_task(bench.work()) for _ in range(2)]
        await asyncio.wait_for(main(bench), patience(10))
        await bench.repeats.over()
        await bench.queue.put(None)
        await asyncio.wait_for(asyncio.gather(*workers), patience(10))
        return bench

    return asyncio.run(whole())


def test_equal_utterances_wait_without_a_worker(tmp_path: Path) -> None:
    """One is being bought; the others stand aside, those behind them are said, and then all take its audio."""

    async def main(bench: Bench) -> None:
        await bench.feed("same", "same", "same", "same", "other", "last")
        assert [await bench.speaker.begun.get() for _ in range(2)] == ["r0", "r4"]
        bench.speaker.gate.set()

    bench = _ran(main, tmp_path, "same")
    assert bench.speaker.said == ["r0", "r4", "r5"]
    assert bench.speeches == {"r0": None, "r1": "r0", "r2": "r0", "r3": "r0", "r4": None, "r5": None}


def test_who_comes_later_finds_what_is_kept(tmp_path: Path) -> None:
    """Also in a later run: the first of them looks, and the others with it."""

    async def main(bench: Bench) -> None:
        bench.speaker.gate.set()
        await bench.feed("same", "other", "same")

    assert _ran(main, tmp_path, "same").speaker.said == ["r0", "r1"]
    again = _ran(main, tmp_path, "same")
    assert again.speaker.said == ["r1"]
    assert again.speeches["r0"] == again.speeches["r2"] == "r0"


def test_after_a_reject_the_next_one_buys(tmp_path: Path) -> None:
    """A row is rejected for itself alone."""

    async def main(bench: Bench) -> None:
        bench.speaker.gate.set()
        bench.speaker.failing = {"r0", "r1"}
        await bench.feed(*["same"] * 6)

    bench = _ran(main, tmp_path, "same")
    assert bench.rejects == ["r0", "r1"]
    assert set(bench.speeches) == {"r2", "r3", "r4", "r5"}
    assert bench.speaker.said == ["r0", "r1", "r2", "r3"]


def test_the_client_learns_when_only_those_that_buy_for_others_are_left(tmp_path: Path) -> None:
    """Else a text that always fails, and stands twice, would look like an outage for ever: nobody else can come."""

    async def main(bench: Bench) -> None:
        await bench.feed("other", "same", "same", "last")
        assert [await bench.speaker.begun.get() for _ in range(2)] == ["r0", "r1"]
        assert bench.speaker.told_of_the_end == 0
        over = asyncio.create_task(bench.repeats.over())
        await asyncio.sleep(0)
        assert (over.done(), bench.speaker.told_of_the_end) == (False, 0)  # "last" is in the queue
        bench.speaker.gate.set()
        await over
        assert bench.speaker.told_of_the_end == 1

    assert _ran(main, tmp_path, "same").speaker.said == ["r0", "r1", "r3"]


def test_without_repeats_nothing_is_kept(tmp_path: Path) -> None:
    """Equal rows of which the job's plan knows nothing are bought as they come; no file is written."""

    async def main(bench: Bench) -> None:
        bench.speaker.gate.set()
        await bench.feed("same", "same")

    assert _ran(main, tmp_path).speaker.said == ["r0", "r1"]
    assert not (tmp_path / "kept").exists()


def test_reuse_is_told(tmp_path: Path) -> None:
    """With where the audio came from."""
    told: list[str] = []

    async def main(bench: Bench) -> None:
        bench.repeats.on_reuse = told.append
        bench.speaker.gate.set()
        await bench.feed("same", "same", "same")

    _ran(main, tmp_path, "same")
    assert told == ["r0", "r0"]


def test_a_stop_leaves_no_task_behind(tmp_path: Path) -> None:
    """Those that wait are not released into a queue that nobody reads; the client is told why."""

    async def main() -> None:
        bench = Bench(tmp_path, "same")
        await bench.feed("same", "same", "same", "same")
        bench.speaker.failing = {"r0"}
        bench.speaker.gate.set()
        work = bench.queue.get_nowait()
        assert work is not None
        bench.queue.put_nowait(work)
        bench.queue.put_nowait(work)
        with pytest.raises(PermanentError):
            await bench.repeats.synthesize(work.utterance)
        reason = StoppedError("enough", stopped_by="interrupted")
        bench.repeats.stop(reason)
        bench.repeats.expect_no_more()
        bench.repeats.close()
        await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
        assert (bench.speaker.stopped, bench.speaker.told_of_the_end) == ([reason], 1)

    asyncio.run(main())
