"""Count the rows and the cost of a run, a part or a dataset, and add such totals up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from tts_pipeline.errors import StorageError
from tts_pipeline.money import Cost, are_consistent_amounts
from tts_pipeline.storage.json_files import JsonFields


@dataclass(slots=True, kw_only=True)
class Totals(Cost):
    """The counts of rows and their cost; ``cost`` stays None until an attempt has a price.

    Args:
        rows: Utterances in the source.
        speech: Utterances that are speech.
        rejects: Utterances that failed for good.
        reused: Utterances whose audio was not bought again.
        audio_ms: Duration of all speech.
    """

    rows: int = 0
    speech: int = 0
    rejects: int = 0
    reused: int = 0
    audio_ms: int = 0

    def add(self, other: Cost) -> None:
        """Add another cost, and the counts of rows if it has them."""
        Cost.add(self, other)
        if isinstance(other, Totals):
            for name in _MADE:
                setattr(self, name, getattr(self, name) + getattr(other, name))

    def add_speech(self, duration_ms: int, *, is_reused: bool) -> None:
        """Count one utterance that is speech."""
        self.speech += 1
        self.audio_ms += duration_ms
        self.reused += is_reused

    def to_json(self) -> dict[str, Any]:
        """Return the totals as JSON values; money is text."""
        values = ((name, getattr(self, name)) for name in TOTALS_FIELDS)
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in values}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the totals in JSON values from ``to_json``; unknown keys are ignored."""
        fields = {name: values[name] for name in TOTALS_FIELDS if name in values}
        for name in _MONEY:
            if fields.get(name) is not None:
                fields[name] = Decimal(fields[name])
        return cls(**fields)


def parse_totals(location: str, values: Mapping[str, Any]) -> Totals:
    """Return the totals in a file, which may be damaged or hostile; unknown keys are ignored.

    Counts that earlier versions did not write may be missing.

    Raises:
        StorageError: The totals are impossible: missing, negative, or confirmed above the upper bound.
    """
    if not values:
        return Totals()
    counts = JsonFields(values, location, BILL_HINT)
    for names, check in ((_COUNTS, counts.count), (_MONEY, counts.amount), (("currency",), counts.text_or_none)):
        for name in names:
            if name in counts or name not in _OPTIONAL:
                check(name)
    totals = Totals.from_json(values)
    characters = totals.characters_billed, totals.characters_upper_bound
    if not are_consistent_amounts(characters, (totals.cost, totals.cost_upper_bound)):
        raise damaged_amounts(location)
    return totals


def damaged_amounts(location: str) -> StorageError:
    """Return the error for a file with impossible amounts."""
    message = f"{location} is damaged: its amounts are negative, or confirmed above their upper bound"
    return StorageError(message, hint=BILL_HINT)


BILL_HINT = "restore it: the bill is added up from it"
_OPTIONAL = frozenset({"characters_without_price", "implausible_attempts", "cost_in_question"})
"""Fields that files of earlier versions may lack."""

TOTALS_FIELDS = (
    *("rows", "speech", "rejects", "attempts", "unknown_attempts", "reused"),
    *("characters_billed", "characters_upper_bound", "characters_without_price"),
    *("cost", "cost_upper_bound", "currency", "audio_ms", "implausible_attempts", "cost_in_question"),
)
"""The fields of totals, in their order in files."""

_MADE = ("rows", "speech", "rejects", "reused", "audio_ms")
_MONEY = ("cost", "cost_upper_bound", "cost_in_question")
_COUNTS = tuple(name for name in TOTALS_FIELDS if name not in {*_MONEY, "currency"})
