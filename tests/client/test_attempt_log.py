"""The log in memory."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from tests.builders import PRICE
from tts_pipeline.card import Card
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.meter import AttemptResult, Meter
from tts_pipeline.errors import TransientError
from tts_pipeline.flow.clock import Clock
from tts_pipeline.models import Answer, Audio, History, Segment, Utterance

METER = Meter(Card("s", "m", prices=(PRICE,)), Clock())
ANSWER = Answer(1, Audio(b"", "wav", 24_000, 1, 10))


def test_history_tells_what_was_bought_for_an_utterance() -> None:
    """Its answers, boundaries, requests and confirmed cost; the attempt in flight is a request without a cost."""
    utterance = Utterance("a", "Hello. World.")
    log = MemoryAttemptLog()

    async def main() -> None:
        failed, answered, in_flight = (
            METER.new_attempt(utterance, Segment(1, "World.", 7, 13), 6, number=number) for number in (1, 2, 3)
        )
        await log.intend(failed, ((0, 7), (7, 13)))
        log.settle(METER.settle_failure(AttemptResult(failed, 5), TransientError("", code="Timeout")), None)
        await log.intend(answered, None)
        log.settle(METER.settle_success(AttemptResult(answered, 5)), ANSWER)
        await log.intend(in_flight, None)

    asyncio.run(main())
    assert log.history(utterance) == History({1: ANSWER}, ((0, 7), (7, 13)), {1: 3}, 6, Decimal("0.000600000"))


def test_takes_are_told_apart() -> None:
    """Another take of the same text is another purchase, without a history."""
    log = MemoryAttemptLog()
    attempt = METER.new_attempt(Utterance("a", "Hello."), Segment(0, "Hello.", 0, 6), 6, number=1)
    asyncio.run(log.intend(attempt, None))
    assert log.history(Utterance("a", "Hello.", take=1)) == History()
