"""The client against a real server: its purchases, its records, and its errors."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import PRICE
from tests.client.scripted_server import (
    CARD,
    HELLO,
    KEY,
    ScriptedServer,
    after,
    answer,
    client_of,
    serving,
    speech_body,
    synthesize,
    synthesize_speech,
    wav,
    with_client,
)
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import MAX_TEXT_CHARACTERS, Limits
from tts_pipeline.errors import (
    ConfigurationError,
    FatalError,
    PermanentError,
    StoppedError,
    TransientError,
)
from tts_pipeline.flow.clock import Clock
from tts_pipeline.models import Price, Speech, Utterance


def test_a_client_alone_needs_no_log() -> None:
    """It keeps a log in memory for the call."""

    async def main(client: SpeechClient, _: ScriptedServer) -> None:
        assert (await client.synthesize(HELLO)).attempts == 1

    with_client(main)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *(("", "EmptyText"), ("  \n", "EmptyText"), ("\ud800", "UnencodableText")),
        *(("...", "UnspeakableText"), ("😀", "UnspeakableText"), ("a" * (MAX_TEXT_CHARACTERS + 1), "TextTooLong")),
    ],
)
def test_a_text_that_cannot_be_sent_is_refused_before_it_is(text: str, code: str) -> None:
    """It is rejected, with no attempt."""
    error, log, server = synthesize(utterance=Utterance("a", text))
    assert isinstance(error, PermanentError)
    assert (error.code, error.attempts, error.cost) == (code, 0, None)
    assert not server.requests
    assert not log.attempts


def test_a_text_without_anything_to_say_is_sent_where_that_is_asked_for() -> None:
    """Such pieces of a text, too."""

    async def main() -> list[str]:
        card = replace(CARD, input_limit=12)
        async with serving(otherwise=answer(200, speech_body())) as server:
            service = Endpoint(name="scripted", base_url=server.url, auth="none")
            async with SpeechClient(service, card, unspeakable="keep") as client:
                for text in ("...", "One of all. ............ Two."):
                    await client.synthesize(Utterance("a", text))
            return [request.text for request in server.requests]

    assert asyncio.run(main()) == ["...", "One of all.", "............", "Two."]


def test_after_a_fatal_error_nothing_is_sent() -> None:
    """A wrong key stays wrong."""

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        with pytest.raises(FatalError):
            await client.synthesize(HELLO)
        with pytest.raises(StoppedError) as exc_info:
            await client.synthesize(HELLO)
        assert exc_info.value.stopped_by == "service"
        assert len(server.requests) == 1

    with_client(main, otherwise=answer(401, {"code": "InvalidApiKey", "message": "no"}))


def test_a_stop_lets_attempts_in_flight_end() -> None:
    """They are paid for; waiting callers get the reason."""
    go = asyncio.Event()

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        saying = [asyncio.create_task(client.synthesize(HELLO)) for _ in range(3)]
        await server.wait_for_requests(2)
        client.stop(StoppedError("enough", stopped_by="budget"))
        go.set()
        results = await asyncio.gather(*saying, return_exceptions=True)
        assert [type(result) for result in results] == [Speech, Speech, StoppedError]

    with_client(main, otherwise=after(go, answer(200, speech_body())), limits=Limits(max_concurrency=2))


def test_every_row_gets_its_own_audio() -> None:
    """The bytes that the service sent for that text, with 256 in flight."""

    async def own(request: Any) -> None:
        await answer(200, speech_body(wav(int(request.text.split()[1]) / 1_000)))(request)

    async def main(client: SpeechClient, _: ScriptedServer) -> None:
        utterances = [Utterance(str(number), f"Row {number}") for number in range(101, 501)]
        speeches = await asyncio.gather(*map(client.synthesize, utterances))
        assert [speech.audio.duration_ms for speech in speeches] == list(range(101, 501))

    with_client(main, otherwise=own, limits=Limits(max_concurrency=256))


def test_a_poisonous_text_is_one_reject_and_the_rest_is_done() -> None:
    """One text always gets a 500, and a proxy forbids another."""

    async def moody(request: Any) -> None:
        bad = {"Row 50": answer(500, b"oops"), "Row 99": answer(403, b"<html>no</html>")}
        await bad.get(request.text, answer(200, speech_body()))(request)

    async def main(client: SpeechClient, _: ScriptedServer) -> None:
        utterances = [Utterance(str(number), f"Row {number}") for number in range(200)]
        results = await asyncio.gather(*map(client.synthesize, utterances), return_exceptions=True)
        rejected = {number: type(result) for number, result in enumerate(results) if not isinstance(result, Speech)}
        assert rejected.keys() == {50, 99}
        assert rejected[50] is TransientError
        assert issubclass(rejected[99], PermanentError)

    with_client(main, otherwise=moody)


def test_the_request_key_does_not_depend_on_the_key_or_the_row() -> None:
    """Equal requests are equal."""
    keys = {synthesize_speech(utterance=Utterance(name, "Hello.", {"voice": "Cherry"})).request_key for name in "ab"}
    assert len(keys) == 1
    assert synthesize_speech(utterance=Utterance("a", "Hello.")).request_key not in keys


@pytest.mark.parametrize("key", ["sk-\n", "sk-ключ"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    """The message does not repeat it."""
    with pytest.raises(ConfigurationError) as exc_info:
        SpeechClient(Endpoint("s", "https://api.example", api_key=key), CARD)
    assert key not in str(exc_info.value)


def test_a_key_is_not_sent_over_plain_http_to_another_machine() -> None:
    """Any machine in between could read it."""
    with pytest.raises(ConfigurationError):
        SpeechClient(Endpoint("s", "http://api.example", api_key=KEY), CARD)


def test_the_cards_own_rate_holds_unless_told_otherwise() -> None:
    """The maker's limit is kept by default."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    now = [1_000.0]

    async def main(limits: Limits) -> None:
        card = Card("s", "m", requests_per_minute=60)
        clock = Clock(monotonic_s=lambda: now[0], sleep=sleep)
        async with serving() as server, client_of(server, card=card, limits=limits, clock=clock) as client:
            for _ in range(3):
                await client.synthesize(HELLO)

    asyncio.run(main(Limits()))
    assert sum(slept) == pytest.approx(2.0)
    asyncio.run(main(Limits(requests_per_minute=120)))
    assert sum(slept) == pytest.approx(3.0)
    asyncio.run(main(Limits(requests_per_minute=6_000, characters_per_minute=60)))
    assert sum(slept) == pytest.approx(15.0), "two waits for six characters each"


@pytest.mark.parametrize(
    ("prices", "message"), [((PRICE,), "s may charge otherwise"), ((), "no price is known for m on s")]
)
def test_a_doubtful_cost_is_told_once(
    caplog: pytest.LogCaptureFixture, prices: tuple[Price, ...], message: str
) -> None:
    """For a maker's list price on another's service, and for no price; however many utterances come."""

    async def main() -> None:
        async with serving() as server, client_of(server, card=replace(CARD, prices=prices)) as client:
            for name in "abc":
                await client.synthesize(replace(HELLO, utterance_id=name))

    asyncio.run(main())
    assert [message in record.getMessage() for record in caplog.records] == [True]
