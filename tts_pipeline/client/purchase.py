"""One utterance being bought: its attempts, each written down before it is sent and settled when it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tts_pipeline.client.clock import Clock
from tts_pipeline.client.exchange import Asking, Exchange, Question, Received
from tts_pipeline.client.governor import Governor
from tts_pipeline.client.ledger import Boundaries, Ledger
from tts_pipeline.client.meter import Meter, Sent
from tts_pipeline.client.retry import Patience
from tts_pipeline.client.reuse import Library, Loan
from tts_pipeline.client.row import Row
from tts_pipeline.client.segments import Segmenter
from tts_pipeline.client.spacing import Spacing
from tts_pipeline.client.takes import Take, action_for, is_worth_keeping, refusal
from tts_pipeline.config import QualityPolicy
from tts_pipeline.cost import total_cost
from tts_pipeline.errors import PermanentError, ServiceError, TransientError
from tts_pipeline.models import Answer, Attempt, History, Outcome, Segment, Settlement, Utterance

_LONG_CHARACTERS = 5_000
"""Cutting a longer text takes some milliseconds, in which every other row would wait."""

Said = Sequence[tuple[Segment, Answer]]
"""An utterance's segments in order, each with its answer."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Where purchases are made: what all of a client's share."""

    governor: Governor
    spacing: Spacing
    patience: Patience
    exchange: Exchange
    meter: Meter
    segmenter: Segmenter
    quality: QualityPolicy
    clock: Clock
    library: Library | None = None


class Purchase:
    """An utterance on its way, and what it has consumed.

    Args:
        counter: Where it is bought.
        utterance: What is to be said.
        ledger: Where its attempts are written down.

    Attributes:
        history: What was known of it before.
        attempts: Requests sent for it, over all invocations known.
        characters_billed: Confirmed, over those.
        cost: Confirmed, over those; None without a price.
        joined_segments: How many segments the audio was joined from when it was found whole; else None.
    """

    def __init__(self, counter: Counter, utterance: Utterance, ledger: Ledger) -> None:
        self.history: History = ledger.history(utterance)
        self.utterance = utterance
        self.attempts = self.history.attempts
        self.characters_billed = self.history.characters_billed
        self.cost = self.history.cost
        self.counter = counter
        self.joined_segments: int | None = None
        self._ledger = ledger
        self._loan = Loan(counter.library, utterance, counter.quality)
        self._bought = bool(self.history.answers)
        self._segment_attempts = dict(self.history.segment_attempts)
        self._new_boundaries: Boundaries | None = None

    @property
    def deduplicated_from(self) -> str | None:
        """Where the audio came from; None when any of it was bought for this utterance."""
        return None if self._bought else self._loan.origin

    async def said(self, asking: Asking) -> Said:
        """Return the utterance's segments with their answers; buys those that are not paid for, one after the other.

        What was bought before for another utterance is taken in place of that: the whole of it, as one segment, or
        some of its segments.

        Args:
            asking: How a segment is asked for.

        Raises:
            ServiceError: The leaf says what becomes of the utterance; a ``TransientError`` when attempts are used up.
            StoppedError: Nothing is sent any more.
            StorageError: The ledger could not write; nothing was sent.
        """
        segmenter, text = self.counter.segmenter, self.utterance.text
        if not self.history.answers and (whole := await self._find_whole(asking)):
            return whole
        segments = await self._cut(asking)
        if segments[0].text != text and self.history.boundaries is None:
            self._new_boundaries = _boundaries(segments)
        answers: list[Answer] = []
        with self.counter.governor.row() as row:
            while len(answers) < len(segments):
                segment = segments[len(answers)]
                try:
                    answers.append(self.history.answers.get(segment.index) or await self._get(row, asking.of(segment)))
                except PermanentError as error:
                    finer = segmenter.finer(text, segments, segment.index, error)
                    if finer is None:
                        raise
                    segments = finer
                    self._new_boundaries = _boundaries(segments)
        return tuple(zip(segments, answers, strict=True))

    async def _cut(self, asking: Asking) -> tuple[Segment, ...]:
        """Cut the text for the service; a long one in a thread, and not at all where a cap does not allow for it."""
        text, cut = self.utterance.text, self.counter.segmenter.cut
        if len(text) <= _LONG_CHARACTERS:
            return cut(text, self.history, asking.language)
        if self.history.boundaries is None and self.counter.library is None:
            self.counter.governor.refuse_beyond_cap(self.counter.meter.count("".join(text.split())))
        return await asyncio.to_thread(cut, text, self.history, asking.language)

    async def _find_whole(self, asking: Asking) -> Said | None:
        text = self.utterance.text
        segment = Segment(0, text, 0, len(text))
        answer = await self._loan.take(asking.whole.request_key, segment)
        if answer is None:
            return None
        self._take_for_nothing()
        self.joined_segments = self._loan.segments
        return ((segment, answer),)

    async def _get(self, row: Row, question: Question) -> Answer:
        """Take a segment's answer from where it was bought before, or buy it."""
        key, segment = question.request.request_key, question.segment
        is_whole = segment.text == self.utterance.text  # that was looked for already
        found = None if is_whole else await self._loan.take(key, segment)
        if found is not None:
            self._take_for_nothing()
            return found
        bought = await self._buy(row, question)
        self._bought = True
        await self._loan.give(key, bought)
        return bought

    def _take_for_nothing(self) -> None:
        self.cost = total_cost((self.cost, self.counter.meter.nothing))

    async def _buy(self, row: Row, question: Question) -> Answer:
        """Buy a segment, and again as often as its audio asks for and the policy allows; the best take is returned."""
        policy = self.counter.quality
        best: Take | None = None
        for _ in range(1 + policy.max_retakes):
            row.begin(self.counter.meter.count(question.segment.text))
            try:
                take = await self.counter.patience.buy(row, partial(self._attempt, row, question, best))
            except (PermanentError, TransientError):
                if best is None:
                    raise
                return best.answer  # what is there is better than nothing, and paid for
            best = take if take.kept else best
            if action_for(policy, take.answer.quality) != "retry":
                break
        if best is None:
            raise refusal(policy, take.answer)
        return best.answer

    async def _attempt(self, row: Row, question: Question, best: Take | None) -> Take:
        async with self.counter.governor.permit(row, lambda: self._make(question.segment)) as attempt:
            await self._ledger.intend(attempt, self._new_boundaries)
            self._new_boundaries = None
            self._count(attempt)
            await self.counter.spacing.wait(attempt.characters_counted)
            received = Received()
            begun_s = self.counter.clock.monotonic_s()
            # Cancelled from here on, an attempt stays unsettled: what became of it is unknown, and the ledger says so.
            try:
                answer = await self.counter.exchange.answer(question, received)
            except ServiceError as error:
                sent = self._sent(attempt, question, received, begun_s)
                self._settle(self.counter.meter.failed(sent, error), None)
                raise
            # Its place is free at once. A kill costs no more answers than there are places all the same: whoever takes
            # it sends when its intent is on the disk, which comes behind this answer there.
            return self._taken(self._sent(attempt, question, received, begun_s), answer, best)

    def _taken(self, sent: Sent, answer: Answer, best: Take | None) -> Take:
        kept = is_worth_keeping(self.counter.quality, answer, best)
        outcome = Outcome.SUCCEEDED if kept else Outcome.DISCARDED
        sent = sent._replace(audio_ms=answer.audio.duration_ms)
        self._settle(self.counter.meter.answered(sent, outcome=outcome), answer if kept else None)
        if kept and best is not None:
            self._ledger.discard(best.attempt_id)
        return Take(sent.attempt.attempt_id, answer, kept)

    def _make(self, segment: Segment) -> Attempt:
        number = self._segment_attempts.get(segment.index, 0) + 1
        return self.counter.meter.attempt(self.utterance, segment, number=number)

    def _count(self, attempt: Attempt) -> None:
        self.attempts += 1
        self._segment_attempts[attempt.segment] = attempt.number

    def _sent(self, attempt: Attempt, question: Question, received: Received, begun_s: float) -> Sent:
        latency_ms = round((self.counter.clock.monotonic_s() - begun_s) * 1_000)
        text = question.segment.text
        return Sent(attempt, latency_ms, received.http_status, received.request_id, received.usage, text)

    def _settle(self, settlement: Settlement, answer: Answer | None) -> None:
        self._ledger.settle(settlement, answer)
        self.counter.governor.settle(settlement)
        self.characters_billed += settlement.characters_billed
        self.cost = total_cost((self.cost, settlement.cost))


def _boundaries(segments: Sequence[Segment]) -> Boundaries:
    return tuple((segment.start, segment.end) for segment in segments)
