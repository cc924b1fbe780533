"""One utterance being bought: its attempts, each written down before it is sent and settled when it has ended."""

from __future__ import annotations

from dataclasses import dataclass

from tts_pipeline.client.clock import Clock
from tts_pipeline.client.exchange import Exchange, Received
from tts_pipeline.client.governor import Governor
from tts_pipeline.client.ledger import Boundaries, Ledger
from tts_pipeline.client.meter import Meter, Sent, total_cost
from tts_pipeline.client.retry import Patience
from tts_pipeline.client.row import Row
from tts_pipeline.errors import ServiceError
from tts_pipeline.models import Answer, Attempt, History, Segment, Settlement, Utterance
from tts_pipeline.wire.request import Request


@dataclass(frozen=True, slots=True)
class Counter:
    """Where purchases are made: what all of a client's share."""

    governor: Governor
    patience: Patience
    exchange: Exchange
    meter: Meter
    clock: Clock


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
    """

    def __init__(self, counter: Counter, utterance: Utterance, ledger: Ledger) -> None:
        self.history: History = ledger.history(utterance)
        self.utterance = utterance
        self.attempts = self.history.attempts
        self.characters_billed = self.history.characters_billed
        self.cost = self.history.cost
        self.counter = counter
        self._ledger = ledger
        self._new_boundaries: Boundaries | None = None

    async def answers(self, segments: tuple[Segment, ...], requests: tuple[Request, ...]) -> list[Answer]:
        """Return the answer of every segment, and buy those that are not paid for yet, one after the other.

        Raises:
            ServiceError: The leaf says what becomes of the utterance; a ``TransientError`` when attempts are used up.
            StoppedError: Nothing is sent any more.
            StorageError: The ledger could not write; nothing was sent.
        """
        if len(segments) > 1 and self.history.boundaries is None:
            self._new_boundaries = tuple((segment.start, segment.end) for segment in segments)
        with self.counter.governor.row() as row:
            return [
                self.history.answers.get(segment.index) or await self._buy(row, segment, request)
                for segment, request in zip(segments, requests, strict=True)
            ]

    async def _buy(self, row: Row, segment: Segment, request: Request) -> Answer:
        row.begin(self.counter.meter.count(segment.text))
        return await self.counter.patience.buy(row, lambda: self._attempt(row, segment, request))

    async def _attempt(self, row: Row, segment: Segment, request: Request) -> Answer:
        async with self.counter.governor.permit(row, lambda: self._make(segment)) as attempt:
            await self._ledger.intend(attempt, self._new_boundaries)
            self._new_boundaries = None
            self.attempts += 1
            received = Received()
            begun_s = self.counter.clock.monotonic_s()
            # Cancelled from here on, an attempt stays unsettled: what became of it is unknown, and the ledger says so.
            try:
                answer = await self.counter.exchange.answer(request, segment, self.utterance.parameters, received)
            except ServiceError as error:
                self._settle(self.counter.meter.failed(self._sent(attempt, received, begun_s), error), None)
                raise
            self._settle(self.counter.meter.answered(self._sent(attempt, received, begun_s)), answer)
            return answer

    def _make(self, segment: Segment) -> Attempt:
        return self.counter.meter.attempt(self.utterance, segment, number=self.attempts + 1)

    def _sent(self, attempt: Attempt, received: Received, begun_s: float) -> Sent:
        latency_ms = round((self.counter.clock.monotonic_s() - begun_s) * 1_000)
        return Sent(attempt, latency_ms, received.http_status, received.request_id, received.usage)

    def _settle(self, settlement: Settlement, answer: Answer | None) -> None:
        self._ledger.settle(settlement, answer)
        self.characters_billed += settlement.characters_billed
        self.cost = total_cost((self.cost, settlement.cost))
