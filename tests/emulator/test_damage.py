"""Sounds that no voice should make, as the pipeline's own measures hear them."""

from __future__ import annotations

import pytest

from tests.emulator.conftest import Say, audio_of
from tts_pipeline.audio.measure import make_playable
from tts_pipeline.audio.quality import assess
from tts_pipeline.emulator.damage import _DAMAGES, damage_audio
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.emulator.rules import SOUNDS
from tts_pipeline.emulator.tone import tone

TEXT = "It was a bright cold day in April, and the clocks were striking thirteen."


def test_every_sound_can_be_had() -> None:
    """What a rule may name is what can be heard."""
    assert set(_DAMAGES) == set(SOUNDS)


@pytest.mark.parametrize(
    ("sound", "flag"),
    [
        ("empty", "empty"),
        ("silent", "silent"),
        ("noise", "runaway_noise"),
        ("cut", "cut_tail"),
        ("short", "too_short"),
        ("long", "too_long"),
        ("clipped", "clipped"),
    ],
)
def test_every_sound_is_flagged_for_what_it_is(sound: str, flag: str, espeak_service: LocalService, say: Say) -> None:
    """The speech has no flag; spoilt, it plays still, and has this one among others."""
    well, _ = make_playable(audio_of(say(espeak_service.url, TEXT)), complete=True)
    assert assess(well, TEXT, "en") == ()
    espeak_service.set_faults([{"what": "shape", "sound": sound}])
    bad, _ = make_playable(audio_of(say(espeak_service.url, TEXT)), complete=True)
    assert flag in assess(bad, TEXT, "en")


def test_headerless_samples_stay_headerless() -> None:
    """And compressed audio stays as it is."""
    samples = tone(TEXT, response_format="pcm")
    assert damage_audio(samples, "silent") == bytes(len(samples))
    compressed = tone(TEXT, response_format="mp3")
    assert damage_audio(compressed, "silent") == compressed
