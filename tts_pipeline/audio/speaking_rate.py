"""Estimate the shortest and the longest time to speak a text, by its characters and its language."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache

FASTEST_FACTOR = 0.6
"""Shortest time, as a multiple of the usual reading time. In the study below, three standard deviations are 0.65
(Russian) to 0.78 (German); local voices are at 0.76 or more."""

SLOWEST_FACTOR = 1.6
"""Longest time, as a multiple of the usual reading time. In the study below, two standard deviations are 1.23 (German)
to 1.55 (Russian); the advice for audiobooks in English is 150 to 160 words a minute, 1.5 times slower than the study's
readers; local voices are at 1.46 or less. A text spoken twice is at 2."""

_LETTERS_PER_MINUTE: Mapping[str, int] = {
    "ar": 612, "de": 920, "en": 987, "es": 1025, "fi": 1078, "fr": 998, "he": 833, "it": 950, "nl": 978,
    "pl": 916, "pt": 913, "ru": 986, "sl": 885, "sv": 917, "tr": 1054, "zh": 255,
}  # fmt: skip
"""Letters read aloud in a minute, without spaces, by language.

Trauzettel-Klosinski, Dietz: Standardized assessment of reading performance: the new International Reading Speed Texts
IReST. Investigative Ophthalmology & Visual Science 53 (2012), 5452-5461; 436 native speakers. Read 2026-11: the
abstract, and the figures by language in the reader mode of Firefox, which quotes the study's table.
"""

_LATIN = frozenset({"de", "en", "es", "fi", "fr", "it", "nl", "pl", "pt", "sl", "sv", "tr"})

_MORA_S = 0.125
"""The study's 357 Japanese characters a minute, at 1.35 morae each (a third of them kanji, of two morae)."""

_SYLLABLE_S = 60 / 370
"""The study's mean over all languages, for a language that it lacks: Korean."""

_SCRIPT_LETTER_S: Mapping[str, float] = {
    "LATIN": 0.068,  # the study's mean of 14 alphabetic languages
    "CYRILLIC": 60 / _LETTERS_PER_MINUTE["ru"],
    "GREEK": 0.068,
    "ARABIC": 60 / _LETTERS_PER_MINUTE["ar"],
    "HEBREW": 60 / _LETTERS_PER_MINUTE["he"],
    "HANGUL": _SYLLABLE_S,
    "HIRAGANA": _MORA_S,
    "KATAKANA": _MORA_S,
    "KATAKANA-HIRAGANA": _MORA_S,
    "CJK": 60 / _LETTERS_PER_MINUTE["zh"],
    "IDEOGRAPHIC": 60 / _LETTERS_PER_MINUTE["zh"],
}
"""Usual seconds per letter, by the first word of its Unicode name."""

_HAN_LETTER_S: Mapping[str, float] = {"ja": 2 * _MORA_S, "ko": _SYLLABLE_S}
"""Usual seconds per Han character in languages other than Chinese."""

_LETTER_S: Mapping[str, float] = {
    **{language: 60 / letters for language, letters in _LETTERS_PER_MINUTE.items() if language != "zh"},
    "ja": _MORA_S,
    "ko": _SYLLABLE_S,
}
"""Usual seconds per letter, by language; letters in a Chinese text belong to another script."""

Range = tuple[float, float]
"""Shortest and longest time in seconds."""

# Characters without a study: estimated from their spoken forms in the eleven languages of the services, at these rates.
_NOTHING: Range = (0.0, 0.0)
_UNKNOWN_LETTER: Range = (0.03, 0.4)
_DIGIT: Range = (0.03, 0.55)  # "1000000" is two words; "77" is "siebenundsiebzig"
_SPELLED_CAPITAL: Range = (0.0, 0.35)  # what a capital of "UNESCO" or "BBC" may add when it is spelled
_SYMBOL: Range = (0.0, 0.6)  # "per cent", "at", "Unterstrich", or left out
_PICTURE: Range = (0.0, 1.5)  # "face with tears of joy", or left out
_SENTENCE_END: Range = (0.0, 0.3)  # the study's texts had pauses too: this is for texts of many short sentences
_CLAUSE_END: Range = (0.0, 0.15)

_KANA = re.compile("[぀-ヿ]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")

_PUNCTUATION: Mapping[str, Range] = {
    **dict.fromkeys(".!?…。।؟\n", _SENTENCE_END),
    **dict.fromkeys(",;:—–()،؛、", _CLAUSE_END),
    **dict.fromkeys("%&@#*/\\§†‡_", _SYMBOL),
}
_CATEGORIES: Mapping[str, Range] = {
    **dict.fromkeys(("Nd", "Nl", "No"), _DIGIT),
    **dict.fromkeys(("Sc", "Sk", "Sm"), _SYMBOL),
    "So": _PICTURE,
}


def speaking_range_s(text: str, language: str | None) -> Range:
    """Return the shortest and the longest time to speak a text, in seconds, at the usual speed.

    The times leave out silence before and after the speech.

    With a language (BCP-47) of None, or without figures here, the script of each letter decides.
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    language_code = _language_code(plain, language)
    ascii_text = plain.encode("ascii", "ignore")
    least = most = 0.0
    if len(ascii_text) < len(plain):
        others = "".join(_NOT_ASCII.findall(plain))
        least, most = (math.fsum(map(_seconds(language_code, bound).__getitem__, others)) for bound in (0, 1))
    # Counting the characters of each kind takes a tenth of the time of looking each character up.
    classes, times = _ascii_classes(language_code)
    count = ascii_text.translate(classes).count
    for code, (shortest, longest) in times:
        number = count(code)
        least += number * shortest
        most += number * longest
    capitals = sum(map(len, filter(str.isupper, plain.split())))
    return least, most + capitals * _SPELLED_CAPITAL[1]


def usual_pace_s(language: str | None) -> tuple[float, float]:
    """Return the usual seconds per letter and per Han character in running text, pauses included.

    As in the study, every character that is neither a space nor Han counts as a letter.

    A language (BCP-47) of None, or without figures here, gets the mean of the alphabets, and Chinese.
    """
    language_code = "" if language is None else _primary_code(language)
    letter_s = _LETTER_S.get(language_code, _SCRIPT_LETTER_S["LATIN"])
    return letter_s, _HAN_LETTER_S.get(language_code, _SCRIPT_LETTER_S["CJK"])


def _language_code(text: str, language: str | None) -> str:
    if language is not None:
        return _primary_code(language)
    return "ja" if not text.isascii() and _KANA.search(text) else ""


@lru_cache(maxsize=256)
def _primary_code(language: str) -> str:
    return language.partition("-")[0].lower()


class _Seconds(dict[str, float]):
    """Cache of the shortest (0) or the longest (1) time of each character, in one language."""

    def __init__(self, language_code: str, bound: int) -> None:
        self._language_code = language_code
        self._bound = bound

    def __missing__(self, character: str) -> float:
        self[character] = seconds = _range(character, self._language_code)[self._bound]
        return seconds


_seconds = cache(_Seconds)


@cache
def _ascii_classes(language_code: str) -> tuple[bytes, Sequence[tuple[int, Range]]]:
    """Return a table from each ASCII character to the first that takes the same time, and the time of each of these."""
    ranges = [_range(chr(code), language_code) for code in range(128)]
    first = [ranges.index(times) for times in ranges]
    return bytes(first + [0] * 128), [(code, ranges[code]) for code in sorted(set(first)) if ranges[code] != _NOTHING]


def _range(character: str, language_code: str) -> Range:
    category = unicodedata.category(character)
    if category[0] == "L":
        return _letter(unicodedata.name(character, "").partition(" ")[0], language_code)
    return _PUNCTUATION.get(character) or _CATEGORIES.get(category, _NOTHING)


def _letter(script: str, language_code: str) -> Range:
    usual_s = _SCRIPT_LETTER_S.get(script)
    if usual_s is None:
        return _UNKNOWN_LETTER
    if script == "LATIN" and language_code in _LATIN:
        usual_s = 60 / _LETTERS_PER_MINUTE[language_code]
    elif script in {"CJK", "IDEOGRAPHIC"}:
        usual_s = _HAN_LETTER_S.get(language_code, usual_s)
    return FASTEST_FACTOR * usual_s, SLOWEST_FACTOR * usual_s
