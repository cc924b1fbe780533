"""Who speaks, as data: the services' voice names and language types, each mapped to a voice of espeak-ng."""

from __future__ import annotations

from dataclasses import dataclass

import regex

LANGUAGES = {
    "Chinese": "cmn",
    "English": "en-us",
    "German": "de",
    "Italian": "it",
    "Portuguese": "pt-br",
    "Spanish": "es",
    "Japanese": "ja",
    "Korean": "ko",
    "French": "fr",
    "Russian": "ru",
}
"""Language type -> espeak-ng's voice for it. ``Auto`` is decided by ``guess_language``."""

AUTO = "Auto"


@dataclass(frozen=True, slots=True)
class VoiceRow:
    """How a voice name sounds.

    Args:
        variant: espeak-ng's voice variant (throat, formants, breath).
        pitch_shift: Steps of 1/50 octave added to the pitch.
        rate: Multiplies the speaking rate.
        english: espeak-ng's voice when it speaks English.
    """

    variant: str
    pitch_shift: int = 0
    rate: float = 1.0
    english: str = "en-us"


VOICES = {
    "Cherry": VoiceRow("Annie"),
    "Chelsie": VoiceRow("linda"),
    "Zhibao": VoiceRow("m1", rate=0.95),
    "Bingjiao": VoiceRow("f5", 4, 1.1),
    "Stella": VoiceRow("steph", english="en"),
    "Aiden": VoiceRow("m3"),
    "Serena": VoiceRow("f1", -4, 0.95),
    "Ethan": VoiceRow("m2"),
    "Momo": VoiceRow("f4", 6, 1.1),
    "Vivian": VoiceRow("f2", 4, 1.05),
    "Moon": VoiceRow("m4"),
    "Maia": VoiceRow("f3"),
    "Kai": VoiceRow("m5", -4, 0.95),
    "Nofish": VoiceRow("m6"),
    "Bella": VoiceRow("shelby"),
    "Eldric Sage": VoiceRow("grandpa", -6, 0.9),
    "Mia": VoiceRow("f2", -3, 0.95),
    "Mochi": VoiceRow("m7", 10, 1.1),
    "Bellona": VoiceRow("aunty", 0, 1.1),
    "Vincent": VoiceRow("boris", -8, 0.95),
    "Bunny": VoiceRow("f1", 14, 1.1),
    "Neil": VoiceRow("robert"),
    "Elias": VoiceRow("f3", -8),
    "Arthur": VoiceRow("quincy", 0, 0.9),
    "Nini": VoiceRow("f5", -4),
    "Seren": VoiceRow("anika", -6, 0.85),
    "Pip": VoiceRow("m8", 12, 1.15),
}
"""The voices of both services; every row sounds different from every other."""

DEFAULT_VOICE = "Cherry"
"""Speaks where a request names no voice."""

_SCRIPTS = (
    ("Japanese", regex.compile(r"[\p{Hiragana}\p{Katakana}]")),
    ("Korean", regex.compile(r"\p{Hangul}")),
    ("Chinese", regex.compile(r"\p{Han}")),
    ("Russian", regex.compile(r"\p{Cyrillic}")),
    ("German", regex.compile("[ßẞ]")),
    ("Spanish", regex.compile("[ñÑ¿¡]")),
    ("Portuguese", regex.compile("[ãõÃÕ]")),
)


def guess_language(text: str) -> str:
    """Return the language type that the script of the text speaks for, ``English`` where nothing does.

    Kana decide before Han characters do, since Japanese is written with both; among the languages in Latin letters only
    a letter that one of them alone has decides.
    """
    return next((language for language, sign in _SCRIPTS if sign.search(text)), "English")


def espeak_voice(voice: str, language: str) -> str:
    """Return the name under which espeak-ng knows this voice in this language."""
    row = VOICES[voice]
    base = row.english if language == "English" else LANGUAGES[language]
    return f"{base}+{row.variant}"
