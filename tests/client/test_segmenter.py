"""Long texts: cut for the model, cut finer when the service wants it, bought segment by segment, joined."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.client.scripted_server import ScriptedServer, Step, answer, serving, speech_body, wav
from tests.client.test_client import CARD, client_of
from tts_pipeline.audio.join import join
from tts_pipeline.audio.measure import make_playable
from tts_pipeline.card import Card
from tts_pipeline.client.ledger import MemoryLedger
from tts_pipeline.client.segmenter import Segmenter
from tts_pipeline.config import AudioSettings
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import Audio, History, Speech, Utterance

TEXT = "One sentence here. Another one there. And a third, to end with."
SHORT = replace(CARD, input_limit=20)


def audio_of(seconds: float) -> Audio:
    return make_playable(wav(seconds), complete=True)[0]


def with_words(seconds: float, text: str) -> dict[str, Any]:
    """Answer with one word that takes all of the audio."""
    word = {"text": text, "begin_time": 0, "end_time": int(seconds * 1_000), "begin_index": 0, "end_index": len(text)}
    good = speech_body(wav(seconds))
    good["output"]["sentence"] = {"words": [word]}
    return good


def say(
    *steps: Step, card: Card, ledger: MemoryLedger, audio: AudioSettings | None = None
) -> tuple[Any, ScriptedServer]:
    async def main() -> tuple[Any, ScriptedServer]:
        async with serving(*steps) as server, client_of(server, card=card, audio=audio) as client:
            try:
                return await client.synthesize(Utterance("a", TEXT), ledger), server
            except PermanentError as error:
                return error, server

    return asyncio.run(main())


def test_a_long_text_is_said_in_segments_and_joined_with_pauses() -> None:
    """Audio, words, usage and places are those of the whole; each segment is a request of its own."""
    ledger = MemoryLedger()
    card = replace(CARD, input_limit=40)
    first, second = TEXT[:37], TEXT[38:]
    steps = [answer(200, with_words(0.5, first)), answer(200, with_words(0.25, second))]
    speech, server = say(*steps, card=card, ledger=ledger)
    assert [request.text for request in server.requests] == [first, second]
    whole, starts_ms = join([audio_of(0.5), audio_of(0.25)], 300)
    assert (speech.audio, starts_ms) == (whole, (0, 800))
    assert speech.audio.duration_ms == 500 + 300 + 250
    assert (speech.segments, speech.attempts, speech.characters_billed) == (2, 2, len(TEXT) - 1)
    assert [(word.start_ms, word.end_ms) for word in speech.words] == [(0, 500), (800, 1_050)]
    assert [TEXT[word.text_start : word.text_end] for word in speech.words] == [first, second]
    assert [(it.segment, it.number) for it in ledger.attempts] == [(0, 1), (1, 1)]


def test_a_failed_segment_makes_no_half_utterance_and_what_was_paid_for_is_not_bought_again() -> None:
    """The second segment is refused: a reject; asked for again, only that segment is sent."""
    ledger = MemoryLedger()
    card = replace(CARD, input_limit=40)
    refusal = answer(400, {"code": "DataInspectionFailed", "message": "no"})
    error, _ = say(answer(200, speech_body(wav())), refusal, card=card, ledger=ledger)
    assert isinstance(error, PermanentError)
    assert error.attempts == 2
    speech, server = say(answer(200, speech_body(wav())), card=card, ledger=ledger)
    assert [request.text for request in server.requests] == [TEXT[38:]]
    assert (speech.segments, speech.attempts) == (2, 3)
    assert [(it.segment, it.number) for it in ledger.attempts] == [(0, 1), (1, 1), (1, 2)]


def test_a_limit_that_the_service_names_is_learnt_for_the_run() -> None:
    """The refused text is cut finer and said; the next one is cut so at once."""
    refusal = answer(400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 40]"})

    async def main() -> tuple[list[str], list[Speech]]:
        good = answer(200, speech_body(wav()))
        async with serving(refusal, otherwise=good) as server, client_of(server) as client:
            speeches = [await client.synthesize(Utterance(name, TEXT)) for name in "ab"]
            return [request.text for request in server.requests], speeches

    sent, speeches = asyncio.run(main())
    assert sent == [TEXT, TEXT[:37], TEXT[38:], TEXT[:37], TEXT[38:]]
    assert [(speech.segments, speech.attempts) for speech in speeches] == [(2, 3), (2, 2)]


def test_a_service_that_counts_otherwise_is_given_halves() -> None:
    """Its number is larger than our count, so it tells nothing: the text is halved, and nothing is learnt."""
    segmenter = Segmenter(CARD)
    segments = segmenter.cut(TEXT, History(), "en")
    error = PermanentError("long", code="InvalidParameter", http_status=400, input_limit=600)
    finer = segmenter.cut_finer(TEXT, segments, 0, error)
    assert finer is not None
    assert len(finer) >= 2
    assert all(len(piece.text) <= len(TEXT) // 2 for piece in finer)
    assert segmenter.cut(TEXT, History(), "en") == segments


def test_only_the_refused_segment_is_cut_finer() -> None:
    """Those before it are paid for as they are; those behind it only move up."""
    segmenter = Segmenter(replace(CARD, input_limit=40))
    segments = segmenter.cut(TEXT, History(), "en")
    too_large = PermanentError("long", code="HTTP413", http_status=413)
    finer = segmenter.cut_finer(TEXT, segments, 1, too_large)
    assert finer is not None
    assert finer[0] == segments[0]
    assert [piece.index for piece in finer] == list(range(len(finer)))
    assert " ".join(piece.text for piece in finer) == TEXT


def test_another_refusal_is_not_about_the_length() -> None:
    """Then there is nothing to cut; nor where one grapheme is left."""
    segmenter = Segmenter(CARD)
    segments = segmenter.cut(TEXT, History(), "en")
    error = PermanentError("no", code="DataInspectionFailed", http_status=400)
    assert segmenter.cut_finer(TEXT, segments, 0, error) is None
    single_segment = segmenter.cut("x", History(), None)
    too_large = PermanentError("long", code="HTTP413", http_status=413)
    assert segmenter.cut_finer("x", single_segment, 0, too_large) is None


def test_boundaries_from_before_are_kept() -> None:
    """A text that was cut once stays cut so, whatever the card says now: paid segments still fit."""
    history = History(boundaries=((0, 18), (19, len(TEXT))))
    pieces = Segmenter(SHORT).cut(TEXT, history, "en")
    assert [piece.text for piece in pieces] == [TEXT[:18], TEXT[19:]]


def test_audio_is_converted_as_asked_for() -> None:
    """Another format and rate than received, for one segment too."""
    speech, _ = say(
        answer(200, speech_body(wav())),
        card=CARD,
        ledger=MemoryLedger(),
        audio=AudioSettings(format="flac", sample_rate_hz=16_000),
    )
    assert (speech.audio.format, speech.audio.sample_rate_hz, speech.audio.duration_ms) == ("flac", 16_000, 500)
