"""How long texts take to say, for millions of them: sums of letters and of Han characters, by language."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from tts_pipeline.audio.pace import usual_s

RECORDED = 1.3
"""Times the usual reading time, in alphabets: a voice for listeners is slower than the readers of the study behind
``audio.pace``.

The LJ Speech data set (https://keithito.com/LJ-Speech-Dataset, read 2026-11), a typical voice to make voices of, takes
86,117 s for 1,308,678 characters of English, 212,615 of them spaces: 0.0786 s a letter, 1.29 times the study's 0.0608.
For Han characters, kana and Hangul nothing comparable was found, and the study's figures are taken as they are.
"""

_ALPHABETLESS = frozenset({"zh", "ja", "ko"})

_HEAD_CHARACTERS = 24
"""Of a text, to tell its script by: all of it would cost more than everything else."""

_SCRIPTS: Mapping[str, str] = {
    "ja": "[\u3040-\u30ff]",
    "ko": "[\uac00-\ud7a3]",
    "ru": r"\p{Cyrillic}",
    "ar": r"\p{Arabic}",
    "he": r"\p{Hebrew}",
}
"""Script -> the language whose pace it gets when none is given."""


def seconds(letters: int, han: int, language: str | None) -> float:
    """Estimate how long texts take to say, at the usual speed.

    Seconds a letter and a Han character, by language, as ``audio.pace`` has them from its study, times 1.3 in alphabets
    (``RECORDED``); any voice alike, for nothing is published of their paces. Expect the truth within a third of it.

    ======== ======= ======  ======== ======= ======
    language letter  Han     language letter  Han
    ======== ======= ======  ======== ======= ======
    ar       0.127   0.235   ja       0.125   0.250
    de       0.085   0.235   ko       0.162   0.162
    en       0.079   0.235   pt       0.085   0.235
    es       0.076   0.235   ru       0.079   0.235
    fr       0.078   0.235   zh       0.068   0.235
    it       0.082   0.235   others   0.088   0.235
    ======== ======= ======  ======== ======= ======

    Args:
        letters: Characters that are neither a space nor Han.
        han: Han characters.
        language: BCP-47, or what ``script_language`` tells.
    """
    letter_s, han_s = usual_s(language)
    is_alphabet = language is None or language.partition("-")[0].lower() not in _ALPHABETLESS
    return letters * letter_s * (RECORDED if is_alphabet else 1.0) + han * han_s


def script_language(text: pl.Expr, han: pl.Expr) -> pl.Expr:
    """Tell from a text's first characters whose pace it gets where no language is given.

    Args:
        text: The texts; null where there is only ASCII, which costs nothing then.
        han: How many Han characters each has.

    Returns:
        A language's tag; null is an alphabet's mean.
    """
    head = text.str.head(_HEAD_CHARACTERS)
    # A condition is only looked at where the text is not null, and most scripts never go with Han characters.
    with_han, without_han = pl.when(han > 0).then(head), pl.when(han == 0).then(head)
    told: pl.Expr = pl.when(han > 0).then(pl.lit("zh"))
    for language, script in reversed([*_SCRIPTS.items()]):
        told = pl.when(without_han.str.contains(script)).then(pl.lit(language)).otherwise(told)
    for language in ("ko", "ja"):
        told = pl.when(with_han.str.contains(_SCRIPTS[language])).then(pl.lit(language)).otherwise(told)
    return told
