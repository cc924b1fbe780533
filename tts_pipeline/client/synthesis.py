"""Synthesize one utterance: record each attempt before it is sent, and settle it at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from msgspec import Struct

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.client.answer_reader import ResponseFacts, SegmentRequest
from tts_pipeline.client.attempt_log import AttemptLog, Boundaries
from tts_pipeline.client.cache import AudioCache, CacheLookup
from tts_pipeline.client.exchange import Exchange
from tts_pipeline.client.meter import AttemptResult, Meter
from tts_pipeline.client.retakes import Candidate, action_for, is_worth_keeping, refusal
from tts_pipeline.client.segmenter import Segmenter
from tts_pipeline.config import QualityPolicy
from tts_pipeline.errors import PermanentError, ServiceError, TransientError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.limiter import Limiter, Permit
from tts_pipeline.flow.retry_policy import RetryPolicy
from tts_pipeline.flow.retry_state import RetryState
from tts_pipeline.models import Answer, History, Segment, Utterance
from tts_pipeline.money import add_costs
from tts_pipeline.wire.request import Request, RequestBuilder

_LONG_CHARACTERS = 5_000
"""A longer text is cut in a thread: this takes some milliseconds, while every other row would wait."""


class SegmentAnswer(Struct, frozen=True):
    """A segment, its answer, and our count of its characters by the card's billing rule."""

    segment: Segment
    answer: Answer
    characters_counted: int


@dataclass(frozen=True, slots=True)
class Resources:
    """The parts of a client that all its syntheses share."""

    requests: RequestBuilder
    limiter: Limiter
    retry_policy: RetryPolicy
    exchange: Exchange
    meter: Meter
    segmenter: Segmenter
    quality: QualityPolicy
    clock: Clock
    cache: AudioCache | None = None


class Synthesis:
    """An utterance in progress, and its confirmed cost over all known invocations.

    ``joined_segments`` is the number of segments of audio that the cache held whole; else None. ``deduplicated_from``
    is the origin of reused audio; None if any of the audio was bought for this utterance. ``settled_at_us`` is the time
    of its last settlement; None before the first.
    """

    __slots__ = (
        "_cache_lookup",
        "_has_bought",
        "_log",
        "_new_boundaries",
        "_segment_attempts",
        "attempts",
        "characters_billed",
        "cost",
        "deduplicated_from",
        "history",
        "joined_segments",
        "language",
        "resources",
        "settled_at_us",
        "utterance",
        "whole_request",
    )

    def __init__(self, resources: Resources, utterance: Utterance, log: AttemptLog) -> None:
        self.history: History = log.history(utterance)
        self.utterance = utterance
        self._segment_attempts = {**self.history.segment_attempts}
        self.attempts = sum(self._segment_attempts.values()) if self._segment_attempts else 0
        self.characters_billed = self.history.characters_billed
        self.cost = self.history.cost
        self.resources = resources
        self.joined_segments: int | None = None
        self.settled_at_us: int | None = None
        self._log = log
        cache = resources.cache
        self._cache_lookup = None if cache is None else CacheLookup(cache, utterance, resources.quality)
        self._has_bought = bool(self.history.answers)
        self.deduplicated_from: str | None = None
        self._new_boundaries: Boundaries | None = None

    async def run(self, whole_request: Request, language: str | None) -> list[SegmentAnswer]:
        """Return the utterance's segments with their answers; buy the missing answers one by one.

        Cached audio of an equal request replaces a purchase, for the whole text (as one segment) or for a segment. The
        language is BCP-47; None leaves it to the service.

        Raises:
            ServiceError: Its class decides the fate of the utterance; ``TransientError`` if its attempts are used up.
            StoppedError: Nothing is sent any more.
            StorageError: The log could not write; nothing was sent.
        """
        self.whole_request, self.language = whole_request, language
        if self._cache_lookup is not None and not self.history.answers:
            cached = await self._find_whole(self._cache_lookup)
            if cached is not None:
                return [cached]
        text, known_answers = self.utterance.text, self.history.answers
        segments = (
            await self._cut_long()
            if len(text) > _LONG_CHARACTERS
            else self.resources.segmenter.cut(text, self.history, language)
        )
        if segments[0].text != text and self.history.boundaries is None:
            self._new_boundaries = _boundaries(segments)
        answers: list[SegmentAnswer] = []
        with self.resources.limiter.admit() as row:
            while len(answers) < len(segments):
                request = self._request_for(segments[len(answers)])
                row.characters = request.characters_counted
                segment = request.segment
                known_answer = known_answers.get(segment.index) if known_answers else None
                try:
                    answer = known_answer or await self._buy(row, request)
                except PermanentError as error:
                    segments = self._cut_finer(segments, segment, error)
                else:
                    answers.append(SegmentAnswer(segment, answer, request.characters_counted))
        return answers

    async def _cut_long(self) -> tuple[Segment, ...]:
        """Cut a long text for the service in a thread, and not at all if a cap cannot cover it."""
        text, cut = self.utterance.text, self.resources.segmenter.cut
        if self.history.boundaries is None and self.resources.cache is None:
            self.resources.limiter.refuse_beyond_cap(self.resources.meter.count("".join(text.split())))
        return await asyncio.to_thread(cut, text, self.history, self.language)

    def _cut_finer(self, segments: tuple[Segment, ...], refused: Segment, error: PermanentError) -> tuple[Segment, ...]:
        """Cut a segment finer that the service refused as too long; raise any other refusal again."""
        finer = self.resources.segmenter.cut_finer(self.utterance.text, segments, refused.index, error)
        if finer is None:
            raise error
        self._new_boundaries = _boundaries(finer)
        return finer

    def _request_for(self, segment: Segment) -> SegmentRequest:
        utterance, resources, request = self.utterance, self.resources, self.whole_request
        if segment.text != utterance.text:
            request = resources.requests.build(segment.text, utterance.parameters)
        characters = resources.meter.count(segment.text)
        return SegmentRequest(request, segment, characters, utterance.parameters, self.language)

    async def _find_whole(self, cache_lookup: CacheLookup) -> SegmentAnswer | None:
        text = self.utterance.text
        whole = Segment(0, text, 0, len(text))
        cached = await self._find_cached(cache_lookup, self.whole_request.request_key, whole)
        if cached is None:
            return None
        self.joined_segments = cache_lookup.segments
        return SegmentAnswer(whole, cached, self.resources.meter.count(text))

    async def _find_cached(self, cache_lookup: CacheLookup, request_key: str, segment: Segment) -> Answer | None:
        answer = await cache_lookup.get(request_key, segment)
        if answer is not None:
            self.cost = add_costs(self.cost, self.resources.meter.zero_cost)
            if not self._has_bought:
                self.deduplicated_from = cache_lookup.origin
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
            if row.disposition is not None:  # an earlier attempt failed
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
            if not candidate.is_to_retake:
                break
        if best is None:
            raise refusal(policy, candidate.answer)
        self._has_bought, self.deduplicated_from = True, None
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
        resources, segment = self.resources, request.segment
        limiter, number = resources.limiter, self._segment_attempts.get(segment.index, 0) + 1
        new_attempt = partial(
            resources.meter.new_attempt, self.utterance, segment, request.characters_counted, number=number
        )
        permit = limiter.try_permit(row, new_attempt) or await limiter.wait_for_permit(row, new_attempt)
        try:
            with permit as attempt:
                await self._log.intend(attempt, self._new_boundaries)
                self._new_boundaries = None
                self.attempts += 1
                self._segment_attempts[segment.index] = number
                if limiter.rates.is_limited:
                    await limiter.rates.wait_to_send(attempt.characters_counted)
                facts = ResponseFacts()
                start_s = resources.clock.monotonic_s()
                # An attempt that is cancelled from here on stays unsettled: its outcome is unknown.
                try:
                    answer = await resources.exchange.answer(request, facts)
                except ServiceError as error:
                    result = self._attempt_result(attempt, request, facts, start_s)
                    self._settle(permit, resources.meter.settle_failure(result, error), None)
                    raise
                # A kill costs no more answers than there are slots: the slot's next attempt is sent once its intent is
                # on the disk, and the journal writes the intent behind this answer.
                result = self._attempt_result(attempt, request, facts, start_s, answer.audio.duration_ms)
                return self._settle_success(permit, result, answer, best)
        except ServiceError as error:
            await limiter.wait_for_disposition(row, error)
            raise

    def _settle_success(
        self, permit: Permit, result: AttemptResult, answer: Answer, best: Candidate | None
    ) -> Candidate:
        resources = self.resources
        is_kept = is_worth_keeping(resources.quality, answer, best)
        outcome = Outcome.SUCCEEDED if is_kept else Outcome.DISCARDED
        settlement = resources.meter.settle_success(result, outcome=outcome)
        self._settle(permit, settlement, answer if is_kept else None)
        if is_kept and best is not None:
            self._log.discard(best.attempt_id)
        is_to_retake = action_for(resources.quality, answer.quality) == "retry"
        return Candidate(settlement.attempt_id, answer, is_kept, is_to_retake)

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

    def _settle(self, permit: Permit, settlement: Settlement, answer: Answer | None) -> None:
        self._log.settle(settlement, answer)
        permit.settlement = settlement
        self.settled_at_us = settlement.finished_at_us
        self.characters_billed += settlement.characters_billed
        self.cost = settlement.cost if self.cost is None else add_costs(self.cost, settlement.cost)


def _boundaries(segments: Sequence[Segment]) -> Boundaries:
    return tuple((segment.start, segment.end) for segment in segments)
