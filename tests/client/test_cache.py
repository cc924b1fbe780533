"""Cached audio replaces a purchase, against a real server that counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from tests.builders import build_request
from tests.client.scripted_server import (
    CARD,
    HELLO,
    LIMITS,
    ScriptedServer,
    Step,
    answer,
    instant_clock,
    serving,
    speech_body,
    wav,
)
from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.audio.measure import make_playable
from tts_pipeline.card import Card, Endpoint
from tts_pipeline.client.attempt_log import MemoryAttemptLog
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.config import AudioSettings, QualityPolicy
from tts_pipeline.emulator.containers import bomb
from tts_pipeline.models import Answer, Audio, CachedAudio, Speech, Usage, Utterance, Word

SERVICE = Endpoint("s", "http://nowhere", api_key="k")
LONG = Utterance("long", "One is first. Two is next. Three is last.", {"voice": "Cherry"})
SHORT_CARD = replace(CARD, input_limit=16)
SENTENCES = ("One is first.", "Two is next.", "Three is last.")


class DictCache:
    """A cache in memory that remembers its calls."""

    def __init__(self, cached: Mapping[tuple[str, int], CachedAudio] | None = None) -> None:
        self.entries = dict(cached or {})
        self.lookups: list[tuple[str, int]] = []
        self.stored: list[CachedAudio] = []

    async def get(self, request_key: str, take: int) -> CachedAudio | None:
        self.lookups.append((request_key, take))
        return self.entries.get((request_key, take))

    async def put(self, request_key: str, take: int, entry: CachedAudio) -> None:
        self.stored.append(entry)
        self.entries[request_key, take] = entry


def key_of(text: str, utterance: Utterance = HELLO, card: Card = CARD) -> tuple[str, int]:
    return build_request(SERVICE, card, text, utterance.parameters).request_key, utterance.take


def cached_audio_of(
    text: str, *, seconds: float = 0.5, origin: str = "pilot#x", segments: int = 1, **options: Any
) -> CachedAudio:
    audio, _ = make_playable(wav(seconds), complete=True)
    first = text.split(maxsplit=1)[0]
    words = (Word(first, 0, 100, 0, len(first)),)
    values: dict[str, Any] = {"words": words, "usage": Usage(len(text)), "request_id": "then", **options}
    return CachedAudio(Answer(0, audio, **values), origin, segments)


def synthesize(
    cache: DictCache,
    *steps: Step,
    utterance: Utterance = HELLO,
    card: Card = CARD,
    log: MemoryAttemptLog | None = None,
    **options: Any,
) -> tuple[Speech, MemoryAttemptLog, ScriptedServer]:
    log = log or MemoryAttemptLog()

    async def main() -> tuple[Speech, MemoryAttemptLog, ScriptedServer]:
        async with serving(*steps) as server:
            service = replace(SERVICE, base_url=server.url)
            async with SpeechClient(service, card, LIMITS, cache=cache, clock=instant_clock(), **options) as client:
                return await client.synthesize(utterance, log), log, server

    return asyncio.run(main())


def test_what_is_found_is_not_bought() -> None:
    """Nothing is sent or recorded; the speech costs nothing, and keeps its origin and its first facts."""
    entry = cached_audio_of("Hello.", quality=("unverified_length",))
    speech, log, server = synthesize(DictCache({key_of("Hello."): entry}))
    assert (server.requests, log.attempts) == ([], [])
    assert (speech.audio, speech.words, speech.usage) == (entry.answer.audio, entry.answer.words, entry.answer.usage)
    assert (speech.attempts, speech.cost, speech.currency, speech.characters_billed) == (0, Decimal(0), "CNY", 0)
    assert (speech.deduplicated_from, speech.request_id, speech.quality) == ("pilot#x", "then", ("unverified_length",))
    assert (speech.utterance, speech.request_key, speech.characters_counted) == (HELLO, key_of("Hello.")[0], 6)


FALSE_FACTS: list[dict[str, Any]] = [
    {"duration_ms": 9_000},
    {"duration_ms": 9},
    {"sample_rate_hz": 8_000},
    {"format": "mp3"},
    {"channels": 2},
]


def test_what_was_said_of_audio_where_it_was_kept_is_not_believed() -> None:
    """Its bytes decide: a false description, a clip of hours, or no audio at all is bought again."""
    entry = cached_audio_of("Hello.")
    true = entry.answer.audio
    false_audios = [
        *(structs.replace(true, data=data, format="flac") for data in (bomb(), b"nothing", b"")),
        *(structs.replace(true, **lie) for lie in FALSE_FACTS),
    ]
    words = [(Word("Hello.", 0, 100, *places),) for places in ((0, 7), (-1, 3), (4, 2))]
    answers = [
        *(structs.replace(entry.answer, audio=audio) for audio in false_audios),
        *(structs.replace(entry.answer, words=some) for some in (*words, (Word("Hello.", 0, 9_000, 0, 6),))),
    ]
    for false_answer in answers:
        hostile = DictCache({key_of("Hello."): replace(entry, answer=false_answer)})
        speech, _, server = synthesize(hostile, answer(200, speech_body()))
        assert (len(server.requests), speech.audio.data) == (1, wav())


def test_without_a_price_it_costs_what_everything_does_then() -> None:
    """Null, so that the sum of a column with unknown costs stays unknown."""
    card = replace(CARD, prices=())
    speech, _, _ = synthesize(DictCache({key_of("Hello.", card=card): cached_audio_of("Hello.")}), card=card)
    assert (speech.cost, speech.currency) == (None, None)


def test_what_is_bought_is_given_to_the_cache_as_received() -> None:
    """Under the key of its request and with the id of its utterance, so it is bought once."""
    cache = DictCache()
    first, _, _ = synthesize(cache, answer(200, speech_body(characters=6)), audio=AudioSettings("flac"))
    assert (cache.lookups, [entry.origin for entry in cache.stored]) == ([key_of("Hello.")], ["a"])
    assert cache.stored[0].answer.audio.data == wav()
    assert first.deduplicated_from is None
    second, _, server = synthesize(cache, utterance=replace(HELLO, utterance_id="b"))
    assert (server.requests, second.audio.data, second.deduplicated_from) == ([], wav(), "a")
    assert len(cache.stored) == 1


def test_another_take_is_another_purchase() -> None:
    """The cache returns no audio of another take of the same request."""
    cache = DictCache({key_of("Hello."): cached_audio_of("Hello.")})
    speech, _, server = synthesize(cache, utterance=replace(HELLO, take=1))
    assert (len(server.requests), speech.deduplicated_from) == (1, None)


def test_a_long_text_buys_only_the_segments_that_are_not_found() -> None:
    """The speech was then bought: it does not count as reused, and costs its requests."""
    cache = DictCache({key_of(SENTENCES[1]): cached_audio_of(SENTENCES[1])})
    speech, log, server = synthesize(cache, utterance=LONG, card=SHORT_CARD)
    assert [request.text for request in server.requests] == [SENTENCES[0], SENTENCES[2]]
    assert [attempt.segment for attempt in log.attempts] == [0, 2]
    assert (speech.segments, speech.attempts, speech.deduplicated_from) == (3, 2, None)
    assert speech.characters_billed == len(SENTENCES[0]) + len(SENTENCES[2])
    assert [entry.answer.segment for entry in cache.stored] == [0, 2]


def test_a_long_text_whose_segments_are_all_found_buys_nothing() -> None:
    """It is joined anew, its words get their places in the whole text, and the first origin is reported."""
    cached = {key_of(text): cached_audio_of(text, origin=f"store#{place}") for place, text in enumerate(SENTENCES)}
    speech, log, server = synthesize(DictCache(cached), utterance=LONG, card=SHORT_CARD)
    assert (server.requests, log.attempts) == ([], [])
    assert (speech.segments, speech.deduplicated_from, speech.cost) == (3, "store#0", Decimal(0))
    assert speech.audio.duration_ms == 3 * 500 + 2 * 300
    assert [LONG.text[word.text_start : word.text_end] for word in speech.words or ()] == ["One", "Two", "Three"]


def test_a_long_text_that_is_found_whole_is_taken_as_it_was_joined() -> None:
    """With its number of segments and its flags; the report of its usage adds no flag now."""
    entry = cached_audio_of(LONG.text, segments=3, usage=Usage(characters_reported=39))
    speech, _, server = synthesize(DictCache({key_of(LONG.text): entry}), utterance=LONG, card=SHORT_CARD)
    assert (server.requests, speech.segments, speech.quality) == ([], 3, ())
    assert speech.audio == entry.answer.audio


def test_found_audio_is_converted_as_wanted() -> None:
    """The cache holds audio as received; the job's format applies to it."""
    entry = cached_audio_of("Hello.")
    speech, _, _ = synthesize(DictCache({key_of("Hello."): entry}), audio=AudioSettings("flac", 16_000))
    assert (speech.audio.format, speech.audio.sample_rate_hz, speech.audio.duration_ms) == ("flac", 16_000, 500)


@pytest.mark.parametrize(("action", "sent"), [("keep", 0), ("retry", 0), ("reject", 1)])
def test_audio_that_the_policy_would_reject_is_bought_anew(action: Any, sent: int) -> None:
    """Audio that the policy would only retry is reused: it was the best take then."""
    cache = DictCache({key_of("Hello."): cached_audio_of("Hello.", quality=("clipped",))})
    _, _, server = synthesize(cache, quality=QualityPolicy({"clipped": action}))
    assert len(server.requests) == sent


class _LogWithAnswer(MemoryAttemptLog):
    """A log that knows a segment's answer, as after a crash."""

    def __init__(self, audio: Audio) -> None:
        super().__init__()
        self._answers["long", 0] = {0: Answer(0, audio)}
        self._boundaries["long", 0] = ((0, 13), (14, 26), (27, 41))
        attempt = Attempt("t", "long", 0, 0, 1, "Cherry", 0, 13, 13, None, None)
        self.attempts.append(attempt)
        cost = Decimal("0.0013")
        settled = Settlement("t", "succeeded", 0, 0, 200, None, None, Usage(), 13, 13, cost, cost)  # type: ignore[arg-type]
        self.settlements["t"] = settled


def test_what_is_paid_for_goes_before_what_is_found() -> None:
    """For a partly bought utterance, only segments are looked up, not the whole: it is not all reused."""
    cached = {key_of(text): cached_audio_of(text) for text in (*SENTENCES, LONG.text)}
    cache = DictCache(cached)
    log = _LogWithAnswer(cached_audio_of("x").answer.audio)
    speech, _, server = synthesize(cache, utterance=LONG, card=SHORT_CARD, log=log)
    assert server.requests == []
    assert cache.lookups == [key_of(SENTENCES[1]), key_of(SENTENCES[2])]
    assert (speech.deduplicated_from, speech.attempts, speech.cost) == (None, 1, Decimal("0.0013"))
