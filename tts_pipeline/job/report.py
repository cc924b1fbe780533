"""The report of a run: the totals of the dataset and of this invocation, and the reason of a stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import StoppedError, StorageError, TtsPipelineError
from tts_pipeline.models import HOUR_MS
from tts_pipeline.money import add_costs


@dataclass(slots=True)
class Saving:
    """What reused audio would have cost: its rows, their characters by the billing rule, and money at today's price.

    The cost is None without a price.
    """

    rows: int = 0
    characters: int = 0
    cost: Decimal | None = None

    def add(self, other: Saving) -> None:
        """Add another saving."""
        self.rows += other.rows
        self.characters += other.characters
        self.cost = add_costs(self.cost, other.cost)


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run.

    Args:
        dataset: Counts of the dataset, over all invocations.
        this_run: Counts of this invocation.
        elapsed_s: Duration of the run itself, imports excluded.
        invocation_id: The id of this invocation.
        destination: The folder or URL of the dataset.
        stopped: The reason that stopped the run before its end; None if it reached its end.
        reused_from: The number of this run's rows that reused audio, by place of ``RunOptions.reuse``, as it was given;
            the empty name is for equal rows of the job itself.
        left_out: The number of Parquet files of the source that are not read, by reason.
        notes: What somebody should know of this run, beside the counts.
        saved: What this run did not pay because it reused audio, by the places of ``reused_from``.
    """

    dataset: Totals
    this_run: Totals
    elapsed_s: float
    invocation_id: str
    destination: str
    stopped: TtsPipelineError | None = None
    reused_from: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    saved: Mapping[str, Saving] = field(default_factory=dict)

    @property
    def stopped_by(self) -> str | None:
        """``budget``, ``service``, ``outage``, ``rejects``, ``interrupted``, ``storage``, or None."""
        return None if self.stopped is None else stopped_by(self.stopped)

    def to_json(self) -> dict[str, Any]:
        """Return the counts by name, for JSON."""
        return {
            **_counts(self.dataset),
            "elapsed_s": round(self.elapsed_s, 3),
            "invocation_id": self.invocation_id,
            "destination": self.destination,
            "stopped_by": self.stopped_by,
            **({"left_out": dict(self.left_out)} if self.left_out else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "this_run": _counts(self.this_run),
        }


def stopped_by(error: TtsPipelineError) -> str:
    """Return what stopped a run, in one word; see ``Report.stopped_by``."""
    if isinstance(error, StoppedError):
        return error.stopped_by
    return "storage" if isinstance(error, StorageError) else "service"


def _counts(totals: Totals) -> dict[str, Any]:
    values = totals.to_json()
    audio_ms = values.pop("audio_ms")
    del values["characters_without_price"]
    return {**values, "audio_hours": round(audio_ms / HOUR_MS, 6)}
