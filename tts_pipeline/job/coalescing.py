"""Coalesce repeated requests of a job: one utterance buys the audio, the others wait and share it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable

from tts_pipeline.cache.job_cache import JobCache
from tts_pipeline.client.attempt_log import AttemptLog
from tts_pipeline.errors import StoppedError
from tts_pipeline.flow.single_flight import SingleFlight
from tts_pipeline.job.work_queue import WorkQueue
from tts_pipeline.job.workers import Synthesizer, WorkItem
from tts_pipeline.models import Answer, CachedAudio, Speech, Utterance, UtteranceKey
from tts_pipeline.source.duplicates import RequestHasher
from tts_pipeline.storage.hash_index import HashIndex
from tts_pipeline.storage.hash_partitions import SortedHashes


class RequestCoalescer:
    """Stands between a worker pool and its client, and at the entrance of the pool's queue.

    A thousand equal rows in succession hold one worker and one request; the rows behind them go on. The audio of the
    first is kept beside the journals, for equal rows of later parts and later runs.

    ``hashes`` are those of the requests that occur more than once in the job; the client's cache holds their audio.
    """

    def __init__(self, client: Synthesizer, hashes: SortedHashes, request_hash: RequestHasher, cache: JobCache) -> None:
        self._client = client
        self._hashes = HashIndex(hashes)
        self._request_hash = request_hash
        self._cache = cache
        self._flights: SingleFlight[WorkItem] = SingleFlight()
        self._flight_keys: dict[UtteranceKey, int] = {}
        self._requeue_tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._queue: WorkQueue[WorkItem] | None = None
        self._is_exhausted = False

    async def admit(self, item: WorkItem, queue: WorkQueue[WorkItem]) -> None:
        """Queue an item: now, or once the buyer of the same request is done. Waits only for room in the queue."""
        self._queue = queue
        key = self._flight_key(item.utterance) if self._hashes else None
        if key is None:
            await queue.put(item)
        elif self._flights.enter(key, item):
            self._flight_keys[_row_key(item.utterance)] = key
            await queue.put(item)

    async def drain(self) -> None:
        """Return once every admitted item has entered the queue. No item may be admitted after this call."""
        self._is_exhausted = True
        self._signal_if_only_buyers_remain()
        while self._flights or self._requeue_tasks:
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Queue no more waiting items: the run of the pool has ended."""
        for task in self._requeue_tasks:
            task.cancel()

    def synthesize(self, utterance: Utterance, log: AttemptLog | None = None) -> Coroutine[None, None, Speech]:
        """Speak one utterance; see ``SpeechClient.synthesize``. A unique request goes straight to the client.

        Raises:
            StorageError: The audio of a repeated request could not be kept; the journal has it.
        """
        self._signal_if_only_buyers_remain()
        key = self._flight_keys.pop(_row_key(utterance), None)
        speech = self._client.synthesize(utterance, log)
        return speech if key is None else self._synthesize_for_all(key, speech)

    async def _synthesize_for_all(self, key: int, coming_speech: Coroutine[None, None, Speech]) -> Speech:
        is_bought = False
        try:
            speech = await coming_speech
            if speech.deduplicated_from is None:
                await self._put_in_cache(speech)
            is_bought = True
        finally:
            self._leave_flight(key, is_bought=is_bought)
        return speech

    def input_exhausted(self) -> None:
        """Record that no more utterances will come; see ``SpeechClient.input_exhausted``."""
        self._client.input_exhausted()

    def stop(self, reason: StoppedError) -> None:
        """Send no new attempts; see ``SpeechClient.stop``."""
        self._client.stop(reason)

    def _signal_if_only_buyers_remain(self) -> None:
        """Signal exhausted input if only buyers are left: items that wait for failing rows cannot excuse them."""
        if self._is_exhausted and not self._requeue_tasks and (self._queue is None or self._queue.is_empty):
            self._client.input_exhausted()

    def _flight_key(self, utterance: Utterance) -> int | None:
        request_hash = self._request_hash.hash_utterance(utterance)
        return request_hash if request_hash in self._hashes else None

    async def _put_in_cache(self, speech: Speech) -> None:
        """Store bought audio before its speech is recorded: a kill in between costs a file, not a second purchase."""
        answer = Answer(0, speech.audio, speech.words, speech.usage, speech.request_id, speech.quality)
        cached = CachedAudio(answer, speech.utterance.utterance_id, speech.segments)
        await asyncio.to_thread(self._cache.put, speech.request_key, speech.utterance.take, cached)
        self._cache.note_put(speech.request_key, speech.utterance.take)

    def _leave_flight(self, key: int, *, is_bought: bool) -> None:
        served, buyers = self._flights.leave(key, is_bought=is_bought)
        self._flight_keys.update({_row_key(item.utterance): key for item in buyers})
        if served or buyers:
            task = asyncio.create_task(self._requeue([*buyers, *served]))
            self._requeue_tasks.add(task)
            task.add_done_callback(self._on_requeued)
        self._changed.set()

    async def _requeue(self, items: Iterable[WorkItem]) -> None:
        assert self._queue is not None
        for item in items:
            await self._queue.put(item)

    def _on_requeued(self, task: asyncio.Task[None]) -> None:
        self._requeue_tasks.discard(task)
        self._changed.set()


def _row_key(utterance: Utterance) -> UtteranceKey:
    return utterance.utterance_id, utterance.take
