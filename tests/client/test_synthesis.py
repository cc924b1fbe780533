"""The synthesis of one utterance against a real server: its attempts, its retries and its records."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.client.scripted_server import (
    CARD,
    HELLO,
    IN_TWO,
    KEY,
    LIMITS,
    LONG,
    LONG_TEXT,
    ScriptedServer,
    Step,
    answer,
    disconnect,
    instant_clock,
    outcomes,
    raw_response,
    serving,
    silence,
    speech_body,
    synthesize,
    url_body,
    verbatim,
    wav,
    with_client,
)
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.card import Endpoint
from tts_pipeline.client.attempt_log import Boundaries, MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.errors import (
    FatalError,
    PermanentError,
    ServiceError,
    StoppedError,
    StorageError,
    TransientError,
)
from tts_pipeline.flow.budget import Budget
from tts_pipeline.models import Answer, Speech, Utterance


@pytest.mark.parametrize(
    "failing",
    [
        answer(500, {"code": "InternalError", "message": "oops"}),
        answer(200, {"code": "InternalError", "message": "oops"}),
        answer(200, speech_body(wav()[:-100])),
        answer(200, b""),
        verbatim(raw_response(200, {"content-length": "999"}, b"{")),
        disconnect,
    ],
)
def test_a_transient_failure_is_retried_and_on_the_bill(failing: Step) -> None:
    """An attempt that may have been billed is never hidden by its retry."""
    speech, log, _ = synthesize(failing)
    assert isinstance(speech, Speech)
    assert (speech.attempts, speech.characters_billed, speech.cost) == (2, 6, Decimal("0.000600000"))
    first, second = outcomes(log)
    assert (first[0], first[3:]) == (Outcome.FAILED, (0, 6))
    assert second == (Outcome.SUCCEEDED, None, 200, 6, 6)
    assert [attempt.number for attempt in log.attempts] == [1, 2]


def test_attempts_that_are_used_up_are_the_rows_own_failure() -> None:
    """After ``max_attempts``; the error has their cost."""
    error, log, server = synthesize(otherwise=answer(500, {"code": "InternalError", "message": "oops"}))
    assert isinstance(error, TransientError)
    assert (error.utterance_id, error.attempts, error.cost, error.code) == ("a", 3, Decimal(0), "InternalError")
    assert len(server.requests) == len(log.settlements) == 3


def test_a_429_does_not_use_up_attempts() -> None:
    """A 429 is not billed either."""
    throttled = answer(429, {"code": "Throttling.RateQuota", "message": "slow down"}, {"Retry-After": "0.01"})
    speech, log, _ = synthesize(*[throttled] * 5)
    assert isinstance(speech, Speech)
    assert speech.attempts == 6
    assert outcomes(log)[:5] == [(Outcome.FAILED, "Throttling.RateQuota", 429, 0, 0)] * 5


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (answer(400, {"code": "InvalidParameter", "message": "no"}), PermanentError),
        (answer(401, {"code": "InvalidApiKey", "message": "no"}), FatalError),
        (answer(403, b"<html>no</html>"), PermanentError),
    ],
)
def test_a_refusal_is_not_retried_and_surely_not_billed(step: Step, kind: type[ServiceError]) -> None:
    """One request, nothing on the bill."""
    error, log, server = synthesize(step)
    assert isinstance(error, kind)
    assert (error.utterance_id, error.attempts, error.currency) == ("a", 1, "CNY")
    assert len(server.requests) == 1
    assert outcomes(log)[0][3:] == (0, 0)


def test_a_long_text_that_no_cap_pays_for_is_not_begun() -> None:
    """Neither cut nor bought in part: a part of it would be useless."""

    async def main() -> tuple[StoppedError, ScriptedServer]:
        async with serving(otherwise=answer(200, speech_body())) as server:
            service = Endpoint(name="scripted", base_url=server.url, auth="none")
            budget = Budget(BudgetCap(max_characters=1_000))
            async with SpeechClient(service, replace(CARD, input_limit=600), budget=budget) as client:
                with pytest.raises(StoppedError) as exc_info:
                    await client.synthesize(Utterance("a", "word " * 2_000))
                return exc_info.value, server

    stopped, server = asyncio.run(main())
    assert (stopped.stopped_by, server.requests) == ("budget", [])
    assert "may take 8,000 characters" in stopped.message


def test_a_lost_url_is_a_new_attempt_and_the_bill_shows_both() -> None:
    """The first answer was billed, but its audio never arrived."""
    log = MemoryAttemptLog()

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        url_answer = answer(200, url_body(server.url + "/a.wav", characters=6))
        server.steps = [url_answer, *[answer(404)] * 3]
        speech = await client.synthesize(HELLO, log)
        assert speech.attempts == 2
        assert outcomes(log) == [(Outcome.FAILED, "LostUrl", 200, 0, 6), (Outcome.SUCCEEDED, None, 200, 6, 6)]

    with_client(main)


def test_an_attempt_is_written_down_before_it_is_sent() -> None:
    """A crash in between leaves an unknown attempt, never a request that is on no bill."""

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        class Strict(MemoryAttemptLog):
            async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
                assert not server.requests
                await super().intend(attempt, boundaries)

        log = Strict()
        await client.synthesize(HELLO, log)
        assert (len(log.attempts), len(server.requests)) == (1, 1)

    with_client(main)


def test_what_cannot_be_written_down_is_not_sent() -> None:
    """A full disk stops the row before it costs anything."""

    class Full(MemoryAttemptLog):
        async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
            raise StorageError("disk full")

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        with pytest.raises(StorageError):
            await client.synthesize(HELLO, Full())
        assert not server.requests
        assert client.in_flight == 0

    with_client(main)


def test_what_is_paid_for_is_not_bought_again() -> None:
    """A known answer becomes speech, with its attempts and cost, and nothing is sent."""
    log = MemoryAttemptLog()

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        first = await client.synthesize(HELLO, log)
        second = await client.synthesize(HELLO, log)
        assert len(server.requests) == 1
        assert (second.audio, second.attempts, second.cost) == (first.audio, 1, first.cost)

    with_client(main)


def test_a_cancelled_attempt_stays_unsettled() -> None:
    """Its outcome is unknown, and its slot is free."""
    log = MemoryAttemptLog()

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        saying = asyncio.create_task(client.synthesize(HELLO, log))
        await server.wait_for_requests(1)
        assert client.in_flight == 1
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
        assert client.in_flight == 0

    with_client(main, otherwise=silence)
    assert (len(log.attempts), len(log.settlements)) == (1, 0)


def test_an_answer_is_settled_before_its_place_is_taken() -> None:
    """The log gets it before the next intent, so that it is written when the next request leaves."""
    events: list[str] = []

    class Watched(MemoryAttemptLog):
        async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
            events.append(f"{attempt.utterance_id} intended")
            await super().intend(attempt, boundaries)

        def settle(self, settlement: Settlement, answer: Answer | None) -> None:
            events.append("settled")
            super().settle(settlement, answer)

    async def main(client: SpeechClient, _: ScriptedServer) -> None:
        log = Watched()
        await asyncio.gather(*(client.synthesize(Utterance(name, "Hello."), log) for name in "abc"))

    with_client(main, limits=Limits(max_concurrency=1))
    assert events == ["a intended", "settled", "b intended", "settled", "c intended", "settled"]


def test_what_may_be_spent_is_kept_to() -> None:
    """Five characters each, sixteen in all: three are spoken, the fourth exceeds the cap; a failure frees its share."""

    async def main() -> None:
        refusal = answer(400, {"code": "InvalidParameter", "message": "no"})
        budget = Budget(BudgetCap(max_cost=Decimal("0.0016"), currency="CNY"))
        async with serving(refusal) as server:
            service = Endpoint("s", server.url, api_key=KEY)
            async with SpeechClient(service, CARD, LIMITS, budget=budget, clock=instant_clock()) as client:
                results = [
                    await asyncio.gather(client.synthesize(Utterance(str(number), "Hello")), return_exceptions=True)
                    for number in range(6)
                ]
        kinds = [type(result) for (result,) in results]
        assert kinds == [PermanentError, Speech, Speech, Speech, StoppedError, StoppedError]
        assert len(server.requests) == 4

    asyncio.run(main())


def test_a_failed_segment_makes_no_half_utterance_and_what_was_paid_for_is_not_bought_again() -> None:
    """A refused second segment is a reject; a new request sends only that segment."""
    log = MemoryAttemptLog()
    refusal = answer(400, {"code": "DataInspectionFailed", "message": "no"})
    error, _, _ = synthesize(answer(200, speech_body()), refusal, utterance=LONG, card=IN_TWO, log=log)
    assert isinstance(error, PermanentError)
    assert error.attempts == 2
    speech, _, server = synthesize(utterance=LONG, card=IN_TWO, log=log)
    assert isinstance(speech, Speech)
    assert [request.text for request in server.requests] == [LONG_TEXT[38:]]
    assert (speech.segments, speech.attempts) == (2, 3)
    assert [(attempt.segment, attempt.number) for attempt in log.attempts] == [(0, 1), (1, 1), (1, 2)]


def test_a_cut_is_written_down_once_before_its_first_piece_is_bought() -> None:
    """After a crash, the boundaries show the places of paid segments, also those of a finer cut."""
    cuts: list[Boundaries | None] = []

    class Watched(MemoryAttemptLog):
        async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
            cuts.append(boundaries)
            await super().intend(attempt, boundaries)

    too_long = answer(413, b"too long")
    speech, _, _ = synthesize(answer(200, speech_body()), too_long, utterance=LONG, card=IN_TWO, log=Watched())
    assert isinstance(speech, Speech)
    assert speech.segments == 3
    assert cuts == [((0, 37), (38, 63)), None, ((0, 37), (38, 50), (51, 63)), None]
