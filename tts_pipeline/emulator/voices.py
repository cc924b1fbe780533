"""Map the paid services' voices and languages to voices of espeak-ng."""

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
"""Language type -> espeak-ng's voice. ``guess_language`` resolves ``Auto``."""

AUTO = "Auto"


@dataclass(frozen=True, slots=True)
class VoicePreset:
    """The sound of a voice name: espeak-ng's variant (throat, formants, breath), and its own voice for English.

    ``pitch_shift`` counts steps of 1/50 octave; ``rate`` multiplies the speaking rate.
    """

    variant: str
    pitch_shift: int = 0
    rate: float = 1.0
    english: str = "en-us"


VOICES = {
    "Cherry": VoicePreset("Annie"),
    "Chelsie": VoicePreset("linda"),
    "Zhibao": VoicePreset("m1", rate=0.95),
    "Bingjiao": VoicePreset("f5", 4, 1.1),
    "Stella": VoicePreset("steph", english="en"),
    "Aiden": VoicePreset("m3"),
    "Serena": VoicePreset("f1", -4, 0.95),
    "Ethan": VoicePreset("m2"),
    "Momo": VoicePreset("f4", 6, 1.1),
    "Vivian": VoicePreset("f2", 4, 1.05),
    "Moon": VoicePreset("m4"),
    "Maia": VoicePreset("f3"),
    "Kai": VoicePreset("m5", -4, 0.95),
    "Nofish": VoicePreset("m6"),
    "Bella": VoicePreset("shelby"),
    "Eldric Sage": VoicePreset("grandpa", -6, 0.9),
    "Mia": VoicePreset("f2", -3, 0.95),
    "Mochi": VoicePreset("m7", 10, 1.1),
    "Bellona": VoicePreset("aunty", 0, 1.1),
    "Vincent": VoicePreset("boris", -8, 0.95),
    "Bunny": VoicePreset("f1", 14, 1.1),
    "Neil": VoicePreset("robert"),
    "Elias": VoicePreset("f3", -8),
    "Arthur": VoicePreset("quincy", 0, 0.9),
    "Nini": VoicePreset("f5", -4),
    "Seren": VoicePreset("anika", -6, 0.85),
    "Pip": VoicePreset("m8", 12, 1.15),
}
"""The voices of both services; each sounds different from every other."""

DEFAULT_VOICE = "Cherry"
"""The voice of a request that names none."""

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
    """Return the language type that the script of the text indicates, by default ``English``.

    Kana decide before Han characters, because Japanese is written with both. Among the languages in Latin letters only
    a letter that a single language has decides.
    """
    return next((language for language, sign in _SCRIPTS if sign.search(text)), "English")


def espeak_voice_name(voice: str, language: str) -> str:
    """Return espeak-ng's name of a voice in a language."""
    preset = VOICES[voice]
    base = preset.english if language == "English" else LANGUAGES[language]
    return f"{base}+{preset.variant}"
