"""Synthesize one utterance: record each attempt before it is sent, and settle it at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.client.cache import AudioCache, CacheLookup
from tts_pipeline.client.exchange import Exchange, ResponseFacts, SegmentRequest, UtteranceRequest
from tts_pipeline.client.ledger import Boundaries, Ledger
from tts_pipeline.client.meter import AttemptResult, Meter
from tts_pipeline.client.retakes import Candidate, action_for, is_worth_keeping, refusal
from tts_pipeline.client.segmenter import Segmenter
from tts_pipeline.config import QualityPolicy
from tts_pipeline.errors import PermanentError, ServiceError, TransientError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.limiter import Limiter
from tts_pipeline.flow.pacer import Pacer
from tts_pipeline.flow.retry_policy import RetryPolicy
from tts_pipeline.flow.retry_state import RetryState
from tts_pipeline.models import Answer, History, Segment, Utterance
from tts_pipeline.money import add_costs

_LONG_CHARACTERS = 5_000
"""A longer text is cut in a thread: this takes some milliseconds, while every other row would wait."""


class SegmentAnswer(NamedTuple):
    """A segment, its answer, and our count of its characters by the card's billing rule."""

    segment: Segment
    answer: Answer
    characters_counted: int


@dataclass(frozen=True, slots=True)
class Resources:
    """The parts of a client that all its syntheses share."""

    limiter: Limiter
    pacer: Pacer
    retry_policy: RetryPolicy
    exchange: Exchange
    meter: Meter
    segmenter: Segmenter
    quality: QualityPolicy
    clock: Clock
    cache: AudioCache | None = None


class Synthesis:
    """An utterance in progress, and its confirmed cost over all known invocations.

    ``joined_segments`` is the number of segments of audio that the cache held whole; else None.
    """

    def __init__(self, resources: Resources, utterance: Utterance, ledger: Ledger) -> None:
        self.history: History = ledger.history(utterance)
        self.utterance = utterance
        self._segment_attempts = dict(self.history.segment_attempts)
        self.attempts = sum(self._segment_attempts.values())
        self.characters_billed = self.history.characters_billed
        self.cost = self.history.cost
        self.resources = resources
        self.joined_segments: int | None = None
        self._ledger = ledger
        cache = resources.cache
        self._cache_lookup = None if cache is None else CacheLookup(cache, utterance, resources.quality)
        self._has_bought = bool(self.history.answers)
        self._new_boundaries: Boundaries | None = None

    @property
    def deduplicated_from(self) -> str | None:
        """The origin of the reused audio; None if any of the audio was bought for this utterance."""
        return self._cache_lookup.origin if self._cache_lookup is not None and not self._has_bought else None

    async def run(self, request: UtteranceRequest) -> list[SegmentAnswer]:
        """Return the utterance's segments with their answers; buy the missing answers one by one.

        Cached audio of an equal request replaces a purchase, for the whole text (as one segment) or for a segment.

        Raises:
            ServiceError: Its class decides the fate of the utterance; ``TransientError`` if its attempts are used up.
            StoppedError: Nothing is sent any more.
            StorageError: The ledger could not write; nothing was sent.
        """
        text, key = self.utterance.text, request.whole_request.request_key
        if self._cache_lookup is not None and not self.history.answers:
            whole = Segment(0, text, 0, len(text))
            cached = await self._find_cached(self._cache_lookup, key, whole)
            if cached is not None:
                self.joined_segments = self._cache_lookup.segments
                return [SegmentAnswer(whole, cached, self.resources.meter.count(text))]
        segments = await self._cut(request)
        if segments[0].text != text and self.history.boundaries is None:
            self._new_boundaries = _boundaries(segments)
        answers: list[SegmentAnswer] = []
        with self.resources.limiter.admit() as row:
            while len(answers) < len(segments):
                segment = segments[len(answers)]
                characters = self.resources.meter.count(segment.text)
                try:
                    answer = self.history.answers.get(segment.index) or await self._buy(
                        row, request.for_segment(segment, characters)
                    )
                except PermanentError as error:
                    finer = self.resources.segmenter.cut_finer(text, segments, segment.index, error)
                    if finer is None:
                        raise
                    segments = finer
                    self._new_boundaries = _boundaries(segments)
                else:
                    answers.append(SegmentAnswer(segment, answer, characters))
        return answers

    async def _cut(self, request: UtteranceRequest) -> tuple[Segment, ...]:
        """Cut the text for the service: a long text in a thread, and not at all if a cap cannot cover it."""
        text, cut = self.utterance.text, self.resources.segmenter.cut
        if len(text) <= _LONG_CHARACTERS:
            return cut(text, self.history, request.language)
        if self.history.boundaries is None and self.resources.cache is None:
            self.resources.limiter.refuse_beyond_cap(self.resources.meter.count("".join(text.split())))
        return await asyncio.to_thread(cut, text, self.history, request.language)

    async def _find_cached(self, cache_lookup: CacheLookup, request_key: str, segment: Segment) -> Answer | None:
        answer = await cache_lookup.get(request_key, segment)
        if answer is not None:
            self.cost = add_costs(self.cost, self.resources.meter.zero_cost)
        return answer

    async def _buy(self, row: RetryState, request: SegmentRequest) -> Answer:
        """Buy a segment, buy retakes as its flags and the policy demand, and return the best answer.

        The cache may hold a segment that is a part of the text, which then costs nothing; ``run`` looks up whole texts.
        """
        policy, key, cache_lookup = self.resources.quality, request.http_request.request_key, self._cache_lookup
        if cache_lookup is not None and request.segment.text != self.utterance.text:
            cached = await self._find_cached(cache_lookup, key, request.segment)
            if cached is not None:
                return cached
        best: Candidate | None = None
        for _ in range(1 + policy.max_retakes):
            row.begin_segment(request.characters_counted)
            failure: ServiceError | None = None
            try:
                candidate = await self._attempt(row, request, best)
            except (PermanentError, TransientError) as error:
                failure = error
            if failure is not None:  # not within the except clause: later failures would keep this one alive
                retried = await self._retry(row, request, best, failure)
                if retried is None:
                    break
                candidate = retried
            best = candidate if candidate.is_kept else best
            if action_for(policy, candidate.answer.quality) != "retry":
                break
        if best is None:
            raise refusal(policy, candidate.answer)
        self._has_bought = True
        if cache_lookup is not None:
            await cache_lookup.put(key, best.answer)
        return best.answer

    async def _retry(
        self, row: RetryState, request: SegmentRequest, best: Candidate | None, failure: ServiceError
    ) -> Candidate | None:
        """Retry after a failure; return None if it fails for good and an earlier answer is already paid for."""
        attempt = partial(self._attempt, row, request, best)
        try:
            return await self.resources.retry_policy.retry_attempts(row, failure, attempt)
        except (PermanentError, TransientError):
            if best is None:
                raise
            return None

    async def _attempt(self, row: RetryState, request: SegmentRequest, best: Candidate | None) -> Candidate:
        async with self.resources.limiter.permit(row, partial(self._new_attempt, request)) as attempt:
            await self._ledger.intend(attempt, self._new_boundaries)
            self._new_boundaries = None
            self.attempts += 1
            self._segment_attempts[attempt.segment] = attempt.number
            await self.resources.pacer.wait(attempt.characters_counted)
            facts = ResponseFacts()
            start_s = self.resources.clock.monotonic_s()
            # An attempt that is cancelled from here on stays unsettled: its outcome is unknown.
            try:
                answer = await self.resources.exchange.answer(request, facts)
            except ServiceError as error:
                result = self._attempt_result(attempt, request, facts, start_s)
                self._settle(self.resources.meter.settle_failure(result, error), None)
                raise
            # The slot is freed before this answer is on disk. Still, a kill costs no more answers than there are slots:
            # the slot's next attempt is sent once its intent is on disk, and the intent follows this answer there.
            result = self._attempt_result(attempt, request, facts, start_s, answer.audio.duration_ms)
            return self._settle_success(result, answer, best)

    def _settle_success(self, result: AttemptResult, answer: Answer, best: Candidate | None) -> Candidate:
        is_kept = is_worth_keeping(self.resources.quality, answer, best)
        outcome = Outcome.SUCCEEDED if is_kept else Outcome.DISCARDED
        self._settle(self.resources.meter.settle_success(result, outcome=outcome), answer if is_kept else None)
        if is_kept and best is not None:
            self._ledger.discard(best.attempt_id)
        return Candidate(result.attempt.attempt_id, answer, is_kept)

    def _new_attempt(self, request: SegmentRequest) -> Attempt:
        number = self._segment_attempts.get(request.segment.index, 0) + 1
        return self.resources.meter.new_attempt(
            self.utterance, request.segment, request.characters_counted, number=number
        )

    def _attempt_result(
        self,
        attempt: Attempt,
        request: SegmentRequest,
        facts: ResponseFacts,
        start_s: float,
        audio_ms: int | None = None,
    ) -> AttemptResult:
        latency_ms = round((self.resources.clock.monotonic_s() - start_s) * 1_000)
        text = request.segment.text
        return AttemptResult(attempt, latency_ms, facts.http_status, facts.request_id, facts.usage, text, audio_ms)

    def _settle(self, settlement: Settlement, answer: Answer | None) -> None:
        self._ledger.settle(settlement, answer)
        self.resources.limiter.settle(settlement)
        self.characters_billed += settlement.characters_billed
        self.cost = add_costs(self.cost, settlement.cost)


def _boundaries(segments: Sequence[Segment]) -> Boundaries:
    return tuple((segment.start, segment.end) for segment in segments)
