"""Speech is assembled from the answers to its segments: audio, words, usage and flags."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.client.scripted_server import (
    HELLO,
    IN_TWO,
    KEY,
    LONG,
    LONG_TEXT,
    answer,
    outcomes,
    speech_body,
    synthesize,
    synthesize_speech,
    wav,
)
from tts_pipeline.attempt import Outcome
from tts_pipeline.audio.join import join
from tts_pipeline.audio.measure import make_playable
from tts_pipeline.client.assembly import CHARACTERS_MISMATCH, total_usage
from tts_pipeline.config import AudioSettings
from tts_pipeline.models import Audio, Speech, Usage


def test_an_utterance_becomes_a_speech() -> None:
    """With the very bytes that the service sent, measured, and with its usage and cost."""
    speech, log, server = synthesize(answer(200, speech_body(characters=6)))
    assert isinstance(speech, Speech)
    assert (speech.audio.data, speech.audio.format, speech.audio.duration_ms) == (wav(), "wav", 500)
    assert (speech.utterance, speech.attempts, speech.segments, speech.request_id) == (HELLO, 1, 1, "r-1")
    assert (speech.characters_counted, speech.usage.characters_reported, speech.characters_billed) == (6, 6, 6)
    assert (speech.cost, speech.currency, speech.quality) == (Decimal("0.000600000"), "CNY", ())
    assert outcomes(log) == [(Outcome.SUCCEEDED, None, 200, 6, 6)]
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].path == "/v1/audio/speech"


def test_a_count_that_differs_from_ours_is_flagged_and_billed() -> None:
    """The bill follows the report."""
    speech = synthesize_speech(answer(200, speech_body(characters=9)))
    assert (speech.quality, speech.characters_counted, speech.characters_billed) == (("characters_mismatch",), 6, 9)


def audio_of(seconds: float) -> Audio:
    return make_playable(wav(seconds), complete=True)[0]


def with_words(seconds: float, text: str) -> dict[str, Any]:
    """Return an answer with one word that lasts as long as the audio."""
    word = {"text": text, "begin_time": 0, "end_time": int(seconds * 1_000), "begin_index": 0, "end_index": len(text)}
    good = speech_body(wav(seconds))
    good["output"]["sentence"] = {"words": [word]}
    return good


def test_a_long_text_is_said_in_segments_and_joined_with_pauses() -> None:
    """Audio, words, usage and offsets are those of the whole; each segment is a separate request."""
    first, second = LONG_TEXT[:37], LONG_TEXT[38:]
    steps = [answer(200, with_words(0.5, first)), answer(200, with_words(0.25, second))]
    speech, log, server = synthesize(*steps, utterance=LONG, card=IN_TWO)
    assert isinstance(speech, Speech)
    assert [request.text for request in server.requests] == [first, second]
    whole, starts_ms = join([audio_of(0.5), audio_of(0.25)], 300)
    assert (speech.audio, starts_ms) == (whole, (0, 800))
    assert speech.audio.duration_ms == 500 + 300 + 250
    assert (speech.segments, speech.attempts, speech.characters_billed) == (2, 2, len(LONG_TEXT) - 1)
    words = speech.words or ()
    assert [(word.start_ms, word.end_ms) for word in words] == [(0, 500), (800, 1_050)]
    assert [LONG_TEXT[word.text_start : word.text_end] for word in words] == [first, second]
    assert [(attempt.segment, attempt.number) for attempt in log.attempts] == [(0, 1), (1, 1)]


def test_words_are_those_of_every_segment_or_none() -> None:
    """If one segment lacks words, a reader would take it for silence."""
    steps = [answer(200, with_words(0.5, LONG_TEXT[:37])), answer(200, speech_body())]
    assert synthesize_speech(*steps, utterance=LONG, card=IN_TWO).words is None


def test_a_segment_that_was_billed_otherwise_flags_the_whole() -> None:
    """The other segment has no report: our count is billed for it, and the whole reports only the first."""
    steps = [answer(200, speech_body(characters=40)), answer(200, speech_body())]
    speech = synthesize_speech(*steps, utterance=LONG, card=IN_TWO)
    assert CHARACTERS_MISMATCH in speech.quality
    assert (speech.usage.characters_reported, speech.characters_counted) == (40, 62)
    assert speech.characters_billed == 40 + 25


def test_a_figure_that_no_segment_reports_stays_unknown() -> None:
    """None is not 0; a figure that some segments report is their sum."""
    first, second = Usage(input_tokens=3), Usage(input_tokens=4, output_tokens=5)
    assert total_usage([first, Usage()]) == first
    assert total_usage([first, second]) == Usage(input_tokens=7, output_tokens=5)
    assert total_usage([Usage(), Usage()]) == Usage()


def test_audio_is_converted_as_asked_for() -> None:
    """To another format and rate than received, even for one segment."""
    speech = synthesize_speech(audio=AudioSettings(format="flac", sample_rate_hz=16_000))
    assert (speech.audio.format, speech.audio.sample_rate_hz, speech.audio.duration_ms) == ("flac", 16_000, 500)


def test_segments_of_other_rates_become_one_audio() -> None:
    """The whole has the first segment's format and rate."""
    speech = synthesize_speech(
        answer(200, speech_body(wav(rate_hz=16_000))),
        answer(200, speech_body(wav())),
        utterance=LONG,
        card=IN_TWO,
    )
    assert (speech.audio.format, speech.audio.sample_rate_hz, speech.audio.duration_ms) == ("wav", 16_000, 1_300)
