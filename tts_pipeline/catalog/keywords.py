"""Refuse the names of our own settings, also misspelt, where voice parameters are given."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache

from tts_pipeline.config import AudioSettings, BudgetCap, InputColumns, Limits, QualityPolicy, Selection
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.options import OPTIONS

SHARED_NAMES = frozenset(
    {"actions", "audio", "format", "model", "parameters", "quality", "seed", "text", "voice", "latency_s"}
)
"""Our names that are also parameters of speech services, and never refused. From memory: ``seed`` (ElevenLabs),
``quality`` (PlayHT), ``format`` (Fish Audio), ``audio`` (Volcengine: https://volcengine.com/docs/6561/79823,
2026-11-29)."""

_ARGUMENTS = frozenset(
    {
        *(
            "cache",
            "config",
            "destination",
            "limits",
            "options",
            "progress",
            "running",
            "selection",
            "source",
            "stop",
            "take",
        ),
        *("budget", "columns", "max_open_parts", "missing_is_empty", "ship_every_s", "ship_journals"),
    }
)
"""Names that exist only in Python, in addition to the fields of ``config``."""

_VALUES = (AudioSettings, BudgetCap, InputColumns, Limits, QualityPolicy, Selection)

KEYWORDS = (
    frozenset(name for option in OPTIONS for name in (option.name, option.parameter))
    | {field.name for value in _VALUES for field in fields(value)}
    | _ARGUMENTS
) - SHARED_NAMES
"""Names of flags, of keys of a job file, and of arguments, without those that are also parameters of services."""

_ONE_EDIT_FROM = 5
"""A shorter keyword must match exactly: too many names differ from it by one letter."""

_TWO_EDITS_FROM = 9
"""From this length on, a match may have two wrong letters."""


def refuse_keyword(name: str) -> None:
    """Refuse a parameter that the card does not know, if its name is that of our own setting, also misspelt."""
    if name in SHARED_NAMES:
        return
    plain = name.lower().replace("-", "_")
    nearest = _nearest(plain)
    if nearest is not None:
        problem = "is a setting of a run, not a voice parameter" if plain == nearest else "is not a voice parameter"
        raise ConfigurationError(
            f"{name!r} {problem}",
            hint=f"Did you mean {nearest!r}? It is a flag, a key of a job file, or a field of tts.Job or its values. "
            f"If the service has a parameter {name}, name it in `unchecked={[name]}`",
        )


@lru_cache(1_000)
def _nearest(name: str) -> str | None:
    nearest = min(KEYWORDS, key=lambda keyword: (_edit_distance(name, keyword), keyword))
    return nearest if _edit_distance(name, nearest) <= _max_distance(nearest) else None


def _max_distance(keyword: str) -> int:
    return 0 if len(keyword) < _ONE_EDIT_FROM else 1 if len(keyword) < _TWO_EDITS_FROM else 2


def _edit_distance(name: str, keyword: str) -> int:
    """Count the letters that are missing, superfluous, wrong or swapped; more than two count as three."""
    if abs(len(name) - len(keyword)) > 2:
        return 3
    previous: list[int] = []
    row = list(range(len(keyword) + 1))
    for i, letter in enumerate(name, 1):
        previous, second_previous, row = row, previous, [i]
        for j, other in enumerate(keyword, 1):
            cost = min(row[-1] + 1, previous[j] + 1, previous[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == keyword[j - 2] and name[i - 2] == other:
                cost = min(cost, second_previous[j - 2] + 1)
            row.append(cost)
    return min(row[-1], 3)
