"""Retakes of audio with a quality flag: every take is on the bill, and the best is kept."""

from __future__ import annotations

import pytest

from tests.builders import wrap_pcm
from tests.client.scripted_server import Step, answer, outcomes, speech_body, synthesize, wav
from tts_pipeline.attempt import Outcome
from tts_pipeline.client.retakes import action_for
from tts_pipeline.config import QualityAction, QualityPolicy
from tts_pipeline.errors import PermanentError
from tts_pipeline.models import Speech

EMPTY: Step = answer(200, speech_body(wav(0.005)))
GOOD: Step = answer(200, speech_body(wav()))
SILENT: Step = answer(200, speech_body(wrap_pcm(bytes(24_000), 24_000)))
REFUSED: Step = answer(400, {"code": "DataInspectionFailed", "message": "no"})
RETRY_SILENCE = QualityPolicy({"silent": "retry"}, max_retakes=2)


def test_empty_audio_is_bought_again_and_then_rejected() -> None:
    """By default; each take is on the bill as discarded, and the reject names the reason."""
    error, log, server = synthesize(EMPTY, EMPTY, EMPTY)
    assert isinstance(error, PermanentError)
    assert (error.code, error.http_status, error.attempts) == ("Quality.empty", 200, 3)
    assert [outcome[0] for outcome in outcomes(log)] == [Outcome.DISCARDED] * 3
    assert [outcome[3] for outcome in outcomes(log)] == [6, 6, 6]
    assert len(server.requests) == 3


def test_a_good_take_after_an_empty_one_is_kept() -> None:
    """The first is discarded, the second is the speech; both are billed."""
    speech, log, _ = synthesize(EMPTY, GOOD)
    assert isinstance(speech, Speech)
    assert (speech.audio.duration_ms, speech.attempts, speech.characters_billed) == (500, 2, 12)
    assert [outcome[0] for outcome in outcomes(log)] == [Outcome.DISCARDED, Outcome.SUCCEEDED]


def test_silence_is_kept_with_its_flag_unless_told_otherwise() -> None:
    """By default only audio without any speech is bought again."""
    speech, log, _ = synthesize(SILENT)
    assert isinstance(speech, Speech)
    assert "silent" in speech.quality
    assert [outcome[0] for outcome in outcomes(log)] == [Outcome.SUCCEEDED]


def test_a_better_take_takes_the_place_of_the_first() -> None:
    """The first answer is discarded afterwards, and billed all the same."""
    speech, log, _ = synthesize(SILENT, GOOD, quality=RETRY_SILENCE)
    assert isinstance(speech, Speech)
    assert (speech.quality, speech.attempts, speech.characters_billed) == ((), 2, 12)
    assert [outcome[0] for outcome in outcomes(log)] == [Outcome.DISCARDED, Outcome.SUCCEEDED]


def test_takes_are_bounded_and_one_no_better_is_discarded() -> None:
    """After two more takes the first is still the best, and is kept with its flag."""
    speech, log, server = synthesize(SILENT, SILENT, SILENT, quality=RETRY_SILENCE)
    assert isinstance(speech, Speech)
    assert "silent" in speech.quality
    assert [outcome[0] for outcome in outcomes(log)] == [Outcome.SUCCEEDED, Outcome.DISCARDED, Outcome.DISCARDED]
    assert len(server.requests) == 3


def test_a_refused_retake_leaves_what_is_there() -> None:
    """The answer that is paid for is better than none."""
    speech, log, _ = synthesize(SILENT, REFUSED, quality=RETRY_SILENCE)
    assert isinstance(speech, Speech)
    assert "silent" in speech.quality
    assert [outcome[0] for outcome in outcomes(log)] == [Outcome.SUCCEEDED, Outcome.FAILED]


def test_a_flag_that_is_to_be_rejected_is_so_at_once() -> None:
    """One take, on the bill as discarded."""
    error, log, server = synthesize(SILENT, quality=QualityPolicy({"silent": "reject"}))
    assert isinstance(error, PermanentError)
    assert error.code == "Quality.silent"
    assert [outcome[0] for outcome in outcomes(log)] == [Outcome.DISCARDED]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("flags", "action"),
    [((), "keep"), (("clipped",), "keep"), (("empty",), "retry"), (("empty", "silent"), "reject")],
)
def test_the_strongest_action_counts(flags: tuple[str, ...], action: QualityAction) -> None:
    """Of several flags; a flag without an action in the policy is kept."""
    assert action_for(QualityPolicy({"empty": "retry", "silent": "reject"}), flags) == action
