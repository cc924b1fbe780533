"""Estimate the speaking time of millions of texts from sums of their letters and Han characters, by language."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tts_pipeline.audio.speaking_rate import usual_pace_s
from tts_pipeline.text import KANA

ALPHABET_FACTOR = 1.3
"""Factor on the usual reading time for alphabets: a voice for listeners is slower than the readers of the study behind
``audio.speaking_rate``.

The LJ Speech data set (https://keithito.com/LJ-Speech-Dataset, read 2026-11), a typical voice to make voices of, takes
86,117 s for 1,308,678 characters of English, 212,615 of them spaces: 0.0786 s a letter, 1.29 times the study's 0.0608.
"""

SCRIPT_FACTORS: Mapping[str, float] = {"ja": 1.0, "ko": 1.14, "zh": 1.13}
"""The same factor for other scripts, by language.

zh: the Chinese Standard Mandarin Speech Corpus (data-baker.com, "about 12 hours") has 163,099 Han characters in 10,000
sentences (counted 2026-11): 0.265 s each, 1.13 times the study's 0.235. Mandarin has 5.18 syllables a second, pauses
left out (Pellegrino, Coupé, Marsico: Across-language perspective on speech information rate, Language 87, 2011).

ja: JSUT basic5000 has 170,068 morae in 24,299 s (labels of github.com/sarulab-speech/jsut-label, counted 2026-11):
0.143 s each, 0.126 s without the silence at both ends; ``audio.speaking_rate`` takes 0.125 s. Its first 46 sentences,
as they are written, take 175.4 s; ``speaking_time_s`` returns 177.1 s.

ko: nothing certain was found; local voices take 1.14 times the mean of the study's languages.
"""

DIGIT_S = 0.4
"""Seconds for a digit, in any language: "1987" is "nineteen eighty-seven", "一千九百八十七". Local voices take 0.2 to
0.3 s for a single digit and 0.33 to 0.57 s for each of six, in ten languages (measured 2026-11)."""

_HEAD_CHARACTERS = 24
"""The first characters of a text decide its script: reading all of it would cost more than the rest of the estimate."""

_SCRIPTS: Mapping[str, str] = {
    "ja": KANA.pattern,
    "ko": "[\uac00-\ud7a3]",
    "ru": r"\p{Cyrillic}",
    "ar": r"\p{Arabic}",
    "he": r"\p{Hebrew}",
}
"""Language -> the pattern of its script: a text in this script gets the language's pace if no language is given."""


def speaking_time_s(letters: int, han: int, language: str | None, digits: int = 0) -> float:
    """Estimate the time in seconds that texts take to speak, at the usual speed.

    The seconds for a letter and a Han character are those of the study behind ``audio.speaking_rate``, by language,
    times ``ALPHABET_FACTOR`` or ``SCRIPT_FACTORS``. All voices get the same pace, since services publish none. Expect
    the truth within a third of the result.

    ======== ======= ======  ======== ======= ======
    language letter  Han     language letter  Han
    ======== ======= ======  ======== ======= ======
    ar       0.127   0.266   ja       0.125   0.250
    de       0.085   0.266   ko       0.185   0.185
    en       0.079   0.266   pt       0.085   0.266
    es       0.076   0.266   ru       0.079   0.266
    fr       0.078   0.266   zh       0.077   0.266
    it       0.082   0.266   others   0.088   0.266
    ======== ======= ======  ======== ======= ======

    Args:
        letters: Characters that are neither a space nor Han, digits included.
        han: Han characters.
        language: The BCP-47 tag, or the result of ``script_language``.
        digits: The letters that are 0 to 9: these take ``DIGIT_S`` each.
    """
    letter_s, han_s = usual_pace_s(language)
    primary_tag = "" if language is None else language.partition("-")[0].lower()
    factor = SCRIPT_FACTORS.get(primary_tag)
    letter_factor, han_factor = (ALPHABET_FACTOR, SCRIPT_FACTORS["zh"]) if factor is None else (factor, factor)
    return (letters - digits) * letter_s * letter_factor + han * han_s * han_factor + digits * DIGIT_S


def script_language(text: pl.Expr, han: pl.Expr) -> pl.Expr:
    """Return the language whose pace a text without a language gets, by its script; null is the mean of alphabets.

    ``text`` is null for a text that is only ASCII, which costs no time then. ``han`` counts the Han characters.
    """
    head = text.str.head(_HEAD_CHARACTERS)
    # A pattern is only searched in texts that are not null, and most scripts never occur with Han characters.
    with_han, without_han = pl.when(han > 0).then(head), pl.when(han == 0).then(head)
    tag: pl.Expr = pl.when(han > 0).then(pl.lit("zh"))
    for language, script in reversed([*_SCRIPTS.items()]):
        tag = pl.when(without_han.str.contains(script)).then(pl.lit(language)).otherwise(tag)
    for language in ("ko", "ja"):
        tag = pl.when(with_han.str.contains(_SCRIPTS[language])).then(pl.lit(language)).otherwise(tag)
    return tag


def count_digits(text: pl.Expr, one_in: int = 1) -> pl.Expr:
    """Count the digits 0 to 9 of texts; of many texts, count one in ``one_in`` and multiply.

    The sample has no period, because rows of two voices, for example, often alternate.
    """
    sample = text if one_in == 1 else pl.when(pl.int_range(pl.len()).hash() % one_in == 0).then(text)
    return sample.str.count_matches("[0-9]").fill_null(0) * one_in
