"""Counts of a run, a part or a dataset: they add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Self

from tts_pipeline.errors import StorageError
from tts_pipeline.money import are_consistent_amounts, total_cost
from tts_pipeline.storage.json_files import JsonFields


@dataclass(slots=True)
class Totals:
    """What was made and what it cost; ``cost`` stays None as long as nothing had a price.

    Args:
        rows: Utterances in the source.
        speech: Utterances that are speech.
        rejects: Utterances that failed for good.
        attempts: Requests sent.
        unknown_attempts: Of these, those whose outcome is not known.
        reused: Utterances whose audio was not bought again.
        characters_billed: Confirmed.
        characters_upper_bound: At most.
        characters_without_price: Of these, those whose cost is not known.
        cost: Confirmed.
        cost_upper_bound: At most.
        currency: Of every cost.
        audio_ms: Duration of all speech.
        implausible_attempts: Attempts whose report of usage cannot be true.
        cost_in_question: Of ``cost_upper_bound``, that of these.
    """

    rows: int = 0
    speech: int = 0
    rejects: int = 0
    attempts: int = 0
    unknown_attempts: int = 0
    reused: int = 0
    characters_billed: int = 0
    characters_upper_bound: int = 0
    characters_without_price: int = 0
    cost: Decimal | None = None
    cost_upper_bound: Decimal | None = None
    currency: str | None = None
    audio_ms: int = 0
    implausible_attempts: int = 0
    cost_in_question: Decimal | None = None

    def add(self, other: Totals) -> None:
        """Add another's counts to these."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.add_cost(other.cost, other.cost_upper_bound, other.currency)
        self.cost_in_question = total_cost((self.cost_in_question, other.cost_in_question))

    def add_cost(self, cost: Decimal | None, upper_bound: Decimal | None, currency: str | None) -> None:
        """Add money; None adds nothing."""
        self.cost = total_cost((self.cost, cost))
        self.cost_upper_bound = total_cost((self.cost_upper_bound, upper_bound))
        self.currency = self.currency or currency

    def add_implausible(self, upper_bound: Decimal | None) -> None:
        """Count an attempt whose report of usage cannot be true; its cost is counted elsewhere."""
        self.implausible_attempts += 1
        self.cost_in_question = total_cost((self.cost_in_question, upper_bound))

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON holds them; money is text."""
        return {name: str(v) if isinstance(v, Decimal) else v for name, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return counts that ``to_json`` gave; other keys are passed over."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        for name in _MONEY:
            if known.get(name) is not None:
                known[name] = Decimal(known[name])
        return cls(**known)


def parse_totals(location: str, values: Mapping[str, Any]) -> Totals:
    """Return counts that stand in a file, which may be damaged or hostile; other keys are passed over.

    Args:
        location: The file, for messages.
        values: The counts; empty where there are none. Those that earlier versions did not know may be missing.

    Raises:
        StorageError: They cannot be true: missing, negative, or more confirmed than possible.
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
    """Return the error of a file that tells amounts that cannot be true."""
    message = f"{location} is damaged: it tells amounts that are negative, or more as confirmed than as possible"
    return StorageError(message, hint=BILL_HINT)


BILL_HINT = "restore it: the bill is added up from it"
_OPTIONAL = frozenset({"characters_without_price", "implausible_attempts", "cost_in_question"})
"""What earlier versions did not count."""

_MONEY = ("cost", "cost_upper_bound", "cost_in_question")
_COUNTS = tuple(field.name for field in fields(Totals) if field.type == "int")
