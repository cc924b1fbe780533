"""The client, against a real server: what is bought, what is written down, and what ends in which error."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from tests.builders import PRICE
from tests.client.scripted_server import (
    ScriptedServer,
    Step,
    after,
    answer,
    disconnect,
    raw_response,
    serving,
    silence,
    speech_body,
    url_body,
    verbatim,
    wav,
)
from tests.patience import patience
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.client.ledger import Boundaries, MemoryLedger
from tts_pipeline.config import MAX_TEXT_CHARACTERS, AudioSettings, BudgetCap, Limits, QualityPolicy
from tts_pipeline.errors import (
    ConfigurationError,
    FatalError,
    PermanentError,
    ServiceError,
    StoppedError,
    StorageError,
    TransientError,
    UnreadableError,
)
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.clock import Clock
from tts_pipeline.models import Answer, Price, Speech, Utterance

CARD = Card("s", "m", prices=(PRICE,), input_limit=600)
HELLO = Utterance("a", "Hello.", {"voice": "Cherry"})
KEY = "sk-very-secret-key"
LIMITS = Limits(max_concurrency=8, max_attempts=3, timeout_s=patience(20))


def instant_clock() -> Clock:
    """Return a clock on which waiting takes no time."""

    async def sleep(_: float) -> None:
        await asyncio.sleep(0)

    return Clock(sleep=sleep)


def client_of(
    server: ScriptedServer,
    *,
    limits: Limits = LIMITS,
    card: Card = CARD,
    clock: Clock | None = None,
    audio: AudioSettings | None = None,
    quality: QualityPolicy | None = None,
) -> SpeechClient:
    service = Endpoint("s", server.url, api_key=KEY)
    clock = clock or instant_clock()
    return SpeechClient(service, card, limits, audio=audio, quality=quality, clock=clock, random=Random(1))


def synthesize(
    *steps: Step,
    utterance: Utterance = HELLO,
    limits: Limits = LIMITS,
    otherwise: Step | None = None,
    quality: QualityPolicy | None = None,
) -> tuple[Speech | ServiceError | StoppedError, MemoryLedger, ScriptedServer]:
    """Say one utterance to a server that follows a script."""
    ledger = MemoryLedger()

    async def main() -> tuple[Speech | ServiceError | StoppedError, MemoryLedger, ScriptedServer]:
        async with (
            serving(*steps, otherwise=otherwise) as server,
            client_of(server, limits=limits, quality=quality) as client,
        ):
            try:
                return await client.synthesize(utterance, ledger), ledger, server
            except (ServiceError, StoppedError) as error:
                return error, ledger, server

    return asyncio.run(main())


def synthesize_speech(*steps: Step, utterance: Utterance = HELLO) -> Speech:
    speech, _, _ = synthesize(*steps, utterance=utterance)
    assert isinstance(speech, Speech)
    return speech


def outcomes(ledger: MemoryLedger) -> list[tuple[Outcome, str | None, int | None, int, int]]:
    """Return each settlement: outcome, code, status, billed, at most."""
    settlements = [ledger.settlements[attempt.attempt_id] for attempt in ledger.attempts]
    return [
        (it.outcome, it.error_code, it.http_status, it.characters_billed, it.characters_upper_bound)
        for it in settlements
    ]


def with_client(
    main: Callable[[SpeechClient, ScriptedServer], Coroutine[Any, Any, Any]],
    *steps: Step,
    otherwise: Step | None = None,
    limits: Limits = LIMITS,
) -> None:
    async def run() -> None:
        async with serving(*steps, otherwise=otherwise) as server, client_of(server, limits=limits) as client:
            await main(client, server)

    asyncio.run(run())


def test_an_utterance_becomes_a_speech() -> None:
    """The very bytes that the service sent, measured, with its usage and cost."""
    speech, ledger, server = synthesize(answer(200, speech_body(characters=6)))
    assert isinstance(speech, Speech)
    assert (speech.audio.data, speech.audio.format, speech.audio.duration_ms) == (wav(), "wav", 500)
    assert (speech.utterance, speech.attempts, speech.segments, speech.request_id) == (HELLO, 1, 1, "r-1")
    assert (speech.characters_counted, speech.usage.characters_reported, speech.characters_billed) == (6, 6, 6)
    assert (speech.cost, speech.currency, speech.quality) == (Decimal("0.000600000"), "CNY", ())
    assert outcomes(ledger) == [(Outcome.SUCCEEDED, None, 200, 6, 6)]
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].path == "/v1/audio/speech"


def test_a_client_alone_needs_no_ledger() -> None:
    """It keeps one in memory for the call."""

    async def main(client: SpeechClient, _: ScriptedServer) -> None:
        assert (await client.synthesize(HELLO)).attempts == 1

    with_client(main)


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
    speech, ledger, _ = synthesize(failing)
    assert isinstance(speech, Speech)
    assert (speech.attempts, speech.characters_billed, speech.cost) == (2, 6, Decimal("0.000600000"))
    first, second = outcomes(ledger)
    assert (first[0], first[3:]) == (Outcome.FAILED, (0, 6))
    assert second == (Outcome.SUCCEEDED, None, 200, 6, 6)
    assert [attempt.number for attempt in ledger.attempts] == [1, 2]


def test_a_failed_answers_own_report_is_on_the_bill() -> None:
    """It says what it charged: at most that."""
    _, ledger, _ = synthesize(answer(200, speech_body(wav()[:-100], characters=60)))
    settlement = ledger.settlements[ledger.attempts[0].attempt_id]
    assert (settlement.usage.characters_reported, settlement.characters_upper_bound) == (60, 60)
    assert (settlement.error_code, settlement.http_status, settlement.request_id) == ("MalformedAudio", 200, "r-1")


def test_an_error_carries_what_its_answer_said_of_itself() -> None:
    """Status and request id, also where the answer was good and only its audio was not."""
    error, _, _ = synthesize(otherwise=answer(200, speech_body(wav()[:-100])))
    assert isinstance(error, TransientError)
    assert (error.code, error.http_status, error.request_id) == ("MalformedAudio", 200, "r-1")


def test_what_cannot_become_readable_is_bought_once() -> None:
    """A whole answer that holds no audio of a known format: another would be no better, and this one may be billed."""
    error, ledger, server = synthesize(otherwise=answer(200, speech_body(b"no audio", characters=6)))
    assert isinstance(error, UnreadableError)
    assert (error.code, error.http_status, error.request_id) == ("UnreadableAudio", 200, "r-1")
    assert len(server.requests) == 1
    assert outcomes(ledger) == [(Outcome.FAILED, "UnreadableAudio", 200, 0, 6)]


def test_attempts_that_are_used_up_are_the_rows_own_failure() -> None:
    """After ``max_attempts``, with what it has cost."""
    error, ledger, server = synthesize(otherwise=answer(500, {"code": "InternalError", "message": "oops"}))
    assert isinstance(error, TransientError)
    assert (error.utterance_id, error.attempts, error.cost, error.code) == ("a", 3, Decimal(0), "InternalError")
    assert len(server.requests) == len(ledger.settlements) == 3


def test_a_429_does_not_use_up_attempts() -> None:
    """It is not billed either."""
    throttled = answer(429, {"code": "Throttling.RateQuota", "message": "slow down"}, {"Retry-After": "0.01"})
    speech, ledger, _ = synthesize(*[throttled] * 5)
    assert isinstance(speech, Speech)
    assert speech.attempts == 6
    assert outcomes(ledger)[:5] == [(Outcome.FAILED, "Throttling.RateQuota", 429, 0, 0)] * 5


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
    error, ledger, server = synthesize(step)
    assert isinstance(error, kind)
    assert (error.utterance_id, error.attempts, error.currency) == ("a", 1, "CNY")
    assert len(server.requests) == 1
    assert outcomes(ledger)[0][3:] == (0, 0)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *(("", "EmptyText"), ("  \n", "EmptyText"), ("\ud800", "UnencodableText")),
        *(("...", "UnspeakableText"), ("😀", "UnspeakableText"), ("a" * (MAX_TEXT_CHARACTERS + 1), "TextTooLong")),
    ],
)
def test_a_text_that_cannot_be_sent_is_refused_before_it_is(text: str, code: str) -> None:
    """Its own reject, with no attempt."""
    error, ledger, server = synthesize(utterance=Utterance("a", text))
    assert isinstance(error, PermanentError)
    assert (error.code, error.attempts, error.cost) == (code, 0, None)
    assert not server.requests
    assert not ledger.attempts


def test_a_text_without_anything_to_say_is_sent_where_that_is_asked_for() -> None:
    """Also the pieces of a text."""

    async def main() -> list[str]:
        card = replace(CARD, input_limit=12)
        async with serving(otherwise=answer(200, speech_body())) as server:
            service = Endpoint(name="scripted", base_url=server.url, auth="none")
            async with SpeechClient(service, card, unspeakable="keep") as client:
                for text in ("...", "One of all. ............ Two."):
                    await client.synthesize(Utterance("a", text))
            return [request.text for request in server.requests]

    assert asyncio.run(main()) == ["...", "One of all.", "............", "Two."]


@pytest.mark.parametrize("speed", [{"ratio": 2}, [1], "fast", 0, -2, "inf"])
def test_a_speed_that_is_no_number_of_times_is_left_out_of_account(speed: Any) -> None:
    """Services without a card take what they like in its place."""
    speech, _, _ = synthesize(answer(200, speech_body()), utterance=Utterance("a", "Hello.", {"speed": speed}))
    assert isinstance(speech, Speech)


def test_a_long_text_that_no_cap_pays_for_is_not_begun() -> None:
    """Before it is cut, and before its first piece is bought: a part of it would be of no use."""

    async def main() -> tuple[StoppedError, ScriptedServer]:
        async with serving(otherwise=answer(200, speech_body())) as server:
            service = Endpoint(name="scripted", base_url=server.url, auth="none")
            budget = Budget(BudgetCap(max_characters=1_000))
            async with SpeechClient(service, replace(CARD, input_limit=600), budget=budget) as client:
                with pytest.raises(StoppedError) as caught:
                    await client.synthesize(Utterance("a", "word " * 2_000))
                return caught.value, server

    stopped, server = asyncio.run(main())
    assert (stopped.stopped_by, server.requests) == ("budget", [])
    assert "may take 8,000 characters" in stopped.message


def test_after_a_fatal_error_nothing_is_sent() -> None:
    """The key does not get better."""

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        with pytest.raises(FatalError):
            await client.synthesize(HELLO)
        with pytest.raises(StoppedError) as caught:
            await client.synthesize(HELLO)
        assert caught.value.stopped_by == "service"
        assert len(server.requests) == 1

    with_client(main, otherwise=answer(401, {"code": "InvalidApiKey", "message": "no"}))


def test_a_url_is_fetched_in_the_same_attempt() -> None:
    """Without the key."""

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        server.steps = [answer(200, url_body(server.url + "/a.wav", characters=6)), answer(200, wav(1.0))]
        speech = await client.synthesize(HELLO)
        assert (speech.audio.data, speech.attempts, speech.request_id) == (wav(1.0), 1, "r-1")
        assert "authorization" not in server.requests[1].headers

    with_client(main)


def test_a_lost_url_is_a_new_attempt_and_the_bill_shows_both() -> None:
    """The first answer was billed, its audio never arrived."""
    ledger = MemoryLedger()

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        lost = answer(200, url_body(server.url + "/a.wav", characters=6))
        server.steps = [lost, *[answer(404)] * 3]
        speech = await client.synthesize(HELLO, ledger)
        assert speech.attempts == 2
        assert outcomes(ledger) == [(Outcome.FAILED, "LostUrl", 200, 0, 6), (Outcome.SUCCEEDED, None, 200, 6, 6)]

    with_client(main)


def test_a_refused_url_is_a_reject_that_was_billed() -> None:
    """It would be refused again."""
    error, ledger, server = synthesize(answer(200, url_body("http://169.254.169.254/latest", characters=6)))
    assert isinstance(error, PermanentError)
    assert "169.254.169.254" in str(error)
    assert outcomes(ledger) == [(Outcome.FAILED, "RefusedUrl", 200, 0, 6)]
    assert len(server.requests) == 1


def test_an_attempt_is_written_down_before_it_is_sent() -> None:
    """A crash between the two leaves an attempt that is unknown, never a request that is on no bill."""

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        class Strict(MemoryLedger):
            async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
                assert not server.requests
                await super().intend(attempt, boundaries)

        ledger = Strict()
        await client.synthesize(HELLO, ledger)
        assert (len(ledger.attempts), len(server.requests)) == (1, 1)

    with_client(main)


def test_what_cannot_be_written_down_is_not_sent() -> None:
    """A full disk stops the row before it costs anything."""

    class Full(MemoryLedger):
        async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
            raise StorageError("disk full")

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        with pytest.raises(StorageError):
            await client.synthesize(HELLO, Full())
        assert not server.requests
        assert client.in_flight == 0

    with_client(main)


def test_what_is_paid_for_is_not_bought_again() -> None:
    """An answer that the ledger knows makes the speech, with its attempts and cost, and nothing is sent."""
    ledger = MemoryLedger()

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        first = await client.synthesize(HELLO, ledger)
        second = await client.synthesize(HELLO, ledger)
        assert len(server.requests) == 1
        assert (second.audio, second.attempts, second.cost) == (first.audio, 1, first.cost)

    with_client(main)


def test_a_cancelled_attempt_stays_unsettled() -> None:
    """What became of it is unknown, and its slot is free."""
    ledger = MemoryLedger()

    async def main(client: SpeechClient, server: ScriptedServer) -> None:
        saying = asyncio.create_task(client.synthesize(HELLO, ledger))
        await server.wait_for_requests(1)
        assert client.in_flight == 1
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
        assert client.in_flight == 0

    with_client(main, otherwise=silence)
    assert (len(ledger.attempts), len(ledger.settlements)) == (1, 0)


def test_a_stop_lets_attempts_in_flight_end() -> None:
    """They are paid for; whoever waits gets the reason."""
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
    """A text that always gets a 500, and one that a proxy forbids."""

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


def test_compressed_audio_is_measured_off_the_loop() -> None:
    """Large files are decoded in a thread; the result is the same."""
    import numpy as np
    import soundfile

    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 24_000 * 5).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, noise, 24_000, format="FLAC")
    assert len(buffer.getvalue()) > 100_000
    speech = synthesize_speech(answer(200, buffer.getvalue(), {"content-type": "audio/mpeg"}))
    assert (speech.audio.format, speech.audio.duration_ms) == ("flac", 5_000)


@pytest.mark.parametrize(("parameters", "rate_hz"), [({}, 24_000), ({"sample_rate": 16_000}, 16_000)])
def test_headerless_pcm_that_was_asked_for_is_wrapped(parameters: dict[str, int], rate_hz: int) -> None:
    """At the rate that was asked for, else at the model's."""
    utterance = Utterance("a", "Hello.", {"response_format": "pcm", **parameters})
    speech = synthesize_speech(answer(200, b"\1\0\2\0" * 6_000, {"content-type": "audio/pcm"}), utterance=utterance)
    assert (speech.audio.format, speech.audio.sample_rate_hz) == ("wav", rate_hz)


def test_a_count_that_differs_from_ours_is_flagged_and_billed() -> None:
    """The bill follows the report."""
    speech = synthesize_speech(answer(200, speech_body(characters=9)))
    assert (speech.quality, speech.characters_counted, speech.characters_billed) == (("characters_mismatch",), 6, 9)


def test_the_request_key_does_not_depend_on_the_key_or_the_row() -> None:
    """Equal requests are equal."""
    keys = {synthesize_speech(utterance=Utterance(name, "Hello.", {"voice": "Cherry"})).request_key for name in "ab"}
    assert len(keys) == 1
    assert synthesize_speech(utterance=Utterance("a", "Hello.")).request_key not in keys


@pytest.mark.parametrize("key", ["sk-\n", "sk-ключ"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    """The message does not repeat it."""
    with pytest.raises(ConfigurationError) as caught:
        SpeechClient(Endpoint("s", "https://api.example", api_key=key), CARD)
    assert key not in str(caught.value)


def test_a_key_is_not_sent_over_plain_http_to_another_machine() -> None:
    """Whoever is in between could read it."""
    with pytest.raises(ConfigurationError):
        SpeechClient(Endpoint("s", "http://api.example", api_key=KEY), CARD)


def test_the_cards_own_rate_holds_unless_told_otherwise() -> None:
    """What the maker enforces is kept to without being asked."""
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


def test_an_answer_is_settled_before_its_place_is_taken() -> None:
    """The ledger hears of it before the next intent, so that it is written when the next request leaves."""
    events: list[str] = []

    class Watched(MemoryLedger):
        async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
            events.append(f"{attempt.utterance_id} intended")
            await super().intend(attempt, boundaries)

        def settle(self, settlement: Settlement, answer: Answer | None) -> None:
            events.append("settled")
            super().settle(settlement, answer)

    async def main(client: SpeechClient, _: ScriptedServer) -> None:
        ledger = Watched()
        await asyncio.gather(*(client.synthesize(Utterance(name, "Hello."), ledger) for name in "abc"))

    with_client(main, limits=Limits(max_concurrency=1))
    assert events == ["a intended", "settled", "b intended", "settled", "c intended", "settled"]


def test_the_key_is_in_no_repr_and_no_error() -> None:
    """Of the client or of what it raises."""

    async def main(client: SpeechClient, _: ScriptedServer) -> None:
        with pytest.raises(TransientError) as caught:
            await client.synthesize(HELLO)
        error: BaseException | None = caught.value
        while error is not None:
            assert KEY not in f"{error!r} {error} {vars(error)}"
            error = error.__cause__ or error.__context__
        assert KEY not in repr(client)

    with_client(main, otherwise=disconnect)


def test_what_may_be_spent_is_kept_to() -> None:
    """Five characters each, sixteen in all: three are said, the fourth would pass the cap; a failure gives back."""

    async def main() -> None:
        refused = answer(400, {"code": "InvalidParameter", "message": "no"})
        budget = Budget(BudgetCap(max_cost=Decimal("0.0016"), currency="CNY"))
        async with serving(refused) as server:
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


@pytest.mark.parametrize(
    ("prices", "said"), [((PRICE,), "s may charge otherwise"), ((), "no price is known for m on s")]
)
def test_a_doubtful_cost_is_told_once(caplog: pytest.LogCaptureFixture, prices: tuple[Price, ...], said: str) -> None:
    """A maker's list price on another's service, and no price at all; however many utterances there are."""

    async def main() -> None:
        async with serving() as server, client_of(server, card=replace(CARD, prices=prices)) as client:
            for name in "abc":
                await client.synthesize(replace(HELLO, utterance_id=name))

    asyncio.run(main())
    assert [said in record.getMessage() for record in caplog.records] == [True]
