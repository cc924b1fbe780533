"""Long texts are cut for the model, and cut finer if the service demands it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.client.scripted_server import (
    CARD,
    IN_TWO,
    LONG_TEXT,
    answer,
    client_of,
    serving,
    speech_body,
    wav,
)
from tts_pipeline.client.segmenter import Segmenter
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import History, Speech, Utterance

SHORT = replace(CARD, input_limit=20)


def test_a_limit_that_the_service_names_is_learnt_for_the_run() -> None:
    """The refused text is cut finer and spoken; the next text is cut to this limit immediately."""
    refusal = answer(400, {"code": "InvalidParameter", "message": "Range of input length should be [1, 40]"})

    async def main() -> tuple[list[str], list[Speech]]:
        good = answer(200, speech_body(wav()))
        async with serving(refusal, otherwise=good) as server, client_of(server) as client:
            speeches = [await client.synthesize(Utterance(name, LONG_TEXT)) for name in "ab"]
            return [request.text for request in server.requests], speeches

    texts, speeches = asyncio.run(main())
    assert texts == [LONG_TEXT, LONG_TEXT[:37], LONG_TEXT[38:], LONG_TEXT[:37], LONG_TEXT[38:]]
    assert [(speech.segments, speech.attempts) for speech in speeches] == [(2, 3), (2, 2)]


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_text_of_white_space_is_no_segment(text: str) -> None:
    """Not even where texts with nothing to say are sent."""
    with pytest.raises(PermanentError, match="the text is empty"):
        Segmenter(CARD, keeps_unspeakable=True).cut(text, History(), "en")


def test_a_service_that_counts_otherwise_is_given_halves() -> None:
    """Its limit is larger than our count, so it means nothing: the text is halved, and nothing is learnt."""
    segmenter = Segmenter(CARD)
    segments = segmenter.cut(LONG_TEXT, History(), "en")
    error = PermanentError("long", code="InvalidParameter", http_status=400, input_limit=600)
    finer = segmenter.cut_finer(LONG_TEXT, segments, 0, error)
    assert finer is not None
    assert len(finer) >= 2
    assert all(len(piece.text) <= len(LONG_TEXT) // 2 for piece in finer)
    assert segmenter.cut(LONG_TEXT, History(), "en") == segments


def test_only_the_refused_segment_is_cut_finer() -> None:
    """Segments before it are paid for and stay; segments after it only move up."""
    segmenter = Segmenter(IN_TWO)
    segments = segmenter.cut(LONG_TEXT, History(), "en")
    too_large = PermanentError("long", code="HTTP413", http_status=413)
    finer = segmenter.cut_finer(LONG_TEXT, segments, 1, too_large)
    assert finer is not None
    assert finer[0] == segments[0]
    assert [piece.index for piece in finer] == list(range(len(finer)))
    assert " ".join(piece.text for piece in finer) == LONG_TEXT


def test_another_refusal_is_not_about_the_length() -> None:
    """It cuts nothing; nor does a refusal of a single grapheme."""
    segmenter = Segmenter(CARD)
    segments = segmenter.cut(LONG_TEXT, History(), "en")
    error = PermanentError("no", code="DataInspectionFailed", http_status=400)
    assert segmenter.cut_finer(LONG_TEXT, segments, 0, error) is None
    single_segment = segmenter.cut("x", History(), None)
    too_large = PermanentError("long", code="HTTP413", http_status=413)
    assert segmenter.cut_finer("x", single_segment, 0, too_large) is None


def test_boundaries_from_before_are_kept() -> None:
    """An earlier cut is repeated, whatever the card's limit is now: paid segments still fit."""
    history = History(boundaries=((0, 18), (19, len(LONG_TEXT))))
    pieces = Segmenter(SHORT).cut(LONG_TEXT, history, "en")
    assert [piece.text for piece in pieces] == [LONG_TEXT[:18], LONG_TEXT[19:]]
