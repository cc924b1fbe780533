"""Warn about texts with which the local service cannot rehearse a paid service."""

from __future__ import annotations

from tts_pipeline.card import Endpoint
from tts_pipeline.catalog.entries import LOCAL
from tts_pipeline.text import KANA

NO_JAPANESE = (
    "the local service cannot rehearse Japanese: its voice, espeak-ng, spells kanji and digits, so that the audio is "
    "about three times as long as a real voice's"
)
"""Measured 2026-11 with espeak-ng 1.52 on the Universal Declaration of Human Rights: 1,966 s, where 708 s are usual."""


def rehearsal_warning(service: Endpoint, text: str, language: str | None) -> str | None:
    """Return a warning about a text that the local service cannot rehearse; None for other texts and services.

    A language (BCP-47) of None is guessed from the script.
    """
    if service.name != LOCAL:
        return None
    is_japanese = KANA.search(text) is not None if language is None else language.partition("-")[0] == "ja"
    return NO_JAPANESE if is_japanese else None
