"""Repeated requests within a job: one utterance buys, the others wait without a worker, and take its audio."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable

from tts_pipeline.batch import Speaker, Work
from tts_pipeline.client.ledger import Ledger
from tts_pipeline.dataset.kept import JobCache
from tts_pipeline.dataset.repeated import Hashes, RequestHasher
from tts_pipeline.dataset.replay import UtteranceKey
from tts_pipeline.errors import StoppedError
from tts_pipeline.job.turns import Turns
from tts_pipeline.models import Answer, Found, Speech, Utterance


class Repeats:
    """Stands between a batch and its client, and at the entrance of the batch's queue.

    A thousand equal rows in a row hold one worker and one request; the rows behind them go on. What the first one buys
    is kept beside the journals, for equal rows of later parts and of later runs.

    Args:
        client: Says one utterance; its library holds what is kept.
        hashes: Of the requests that stand more than once in the job.
        request_hash: Hashes an utterance.
        kept: Where the audio of these requests is kept.

    Attributes:
        on_reuse: Told of each speech whose audio was not bought, with where it came from.
    """

    def __init__(self, client: Speaker, hashes: Hashes, request_hash: RequestHasher, kept: JobCache) -> None:
        self._client = client
        self._hashes = hashes.data
        self._request_hash = request_hash
        self._kept = kept
        self._turns: Turns[Work] = Turns()
        self._numbers: dict[UtteranceKey, int] = {}
        self._releases: set[asyncio.Task[None]] = set()
        self._left = asyncio.Event()
        self._queue: asyncio.Queue[Work | None] | None = None
        self._is_fed = False
        self.on_reuse: Callable[[str], None] = lambda _: None

    async def admit(self, work: Work, queue: asyncio.Queue[Work | None]) -> None:
        """Queue a work: now, or when the one that buys the same is done. Waits only for room in the queue."""
        self._queue = queue
        number = self._number(work.utterance)
        if number is None:
            await queue.put(work)
        elif self._turns.enter(number, work):
            self._numbers[_key(work.utterance)] = number
            await queue.put(work)

    async def over(self) -> None:
        """Return when every work that was admitted is in the queue, or through it; none is admitted any more."""
        self._is_fed = True
        self._tell_when_only_buyers_are_left()
        while self._turns or self._releases:
            self._left.clear()
            await self._left.wait()

    def close(self) -> None:
        """Release nothing any more: the batch has ended."""
        for task in self._releases:
            task.cancel()

    async def synthesize(self, utterance: Utterance, ledger: Ledger | None = None) -> Speech:
        """Say one utterance; see ``SpeechClient.synthesize``.

        Raises:
            StorageError: The audio of a repeated request could not be kept; it is in the journal.
        """
        self._tell_when_only_buyers_are_left()
        number = self._numbers.pop(_key(utterance), None)
        bought = False
        try:
            speech = await self._client.synthesize(utterance, ledger)
            if speech.deduplicated_from is not None:
                self.on_reuse(speech.deduplicated_from)
            elif number is not None:
                await self._keep(speech)
            bought = True
        finally:
            if number is not None:
                self._leave(number, bought=bought)
        return speech

    def expect_no_more(self) -> None:
        """Take note that no utterance comes any more; see ``SpeechClient.expect_no_more``."""
        self._client.expect_no_more()

    def stop(self, reason: StoppedError) -> None:
        """Send nothing any more; see ``SpeechClient.stop``."""
        self._client.stop(reason)

    def _tell_when_only_buyers_are_left(self) -> None:
        """Those that wait cannot show whether a failure is the service's: they wait for the very rows that fail."""
        if self._is_fed and not self._releases and (self._queue is None or self._queue.empty()):
            self._client.expect_no_more()

    def _number(self, utterance: Utterance) -> int | None:
        if not self._hashes:
            return None
        number = self._request_hash.hash_utterance(utterance)
        place = bisect_left(self._hashes, number)
        return number if place < len(self._hashes) and self._hashes[place] == number else None

    async def _keep(self, speech: Speech) -> None:
        """Keep what was bought before it is recorded: a kill in between costs a file, and not a second purchase."""
        answer = Answer(0, speech.audio, speech.words, speech.usage, speech.request_id, speech.quality)
        found = Found(answer, speech.utterance.utterance_id, speech.segments)
        await asyncio.to_thread(self._kept.put, speech.request_key, speech.utterance.take, found)
        self._kept.note_put(speech.request_key, speech.utterance.take)

    def _leave(self, number: int, *, bought: bool) -> None:
        served, buyers = self._turns.leave(number, bought=bought)
        self._numbers.update({_key(work.utterance): number for work in buyers})
        if served or buyers:
            task = asyncio.create_task(self._release([*buyers, *served]))
            self._releases.add(task)
            task.add_done_callback(self._released)
        self._left.set()

    async def _release(self, works: Iterable[Work]) -> None:
        assert self._queue is not None
        for work in works:
            await self._queue.put(work)

    def _released(self, task: asyncio.Task[None]) -> None:
        self._releases.discard(task)
        self._left.set()


def _key(utterance: Utterance) -> UtteranceKey:
    return utterance.utterance_id, utterance.take
