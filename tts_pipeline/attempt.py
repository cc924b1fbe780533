"""Values that record one HTTP request for one segment: the attempt before it is sent, the settlement when it ends."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from tts_pipeline.models import Count, Count16, Take, Usage


class Outcome(StrEnum):
    """The outcome of an attempt, as the usage table records it."""

    SUCCEEDED = "succeeded"
    DISCARDED = "discarded"
    FAILED = "failed"
    UNKNOWN = "unknown"


RETAKEN = "Retaken"
"""The error code, in the usage table, of a discarded answer where another answer for its segment was kept."""


class Attempt(Struct, frozen=True, gc=False):
    """One HTTP request for one segment, as it is known before it is sent.

    Args:
        attempt_id: Unique for all time.
        utterance_id: The utterance it speaks.
        take: The take of that utterance.
        segment: Index of the segment, from 0.
        number: Number of the attempt for this segment, from 1.
        voice: The voice that is sent; None leaves it to the service.
        started_at_us: Microseconds since 1970 UTC.
        characters_counted: Our count, by the card's billing rule.
        characters_upper_bound: The most characters that it may be billed for.
        price_id: The price that applies at ``started_at_us``; None without a price.
        cost_upper_bound: The most that it may cost, in the price's currency; None without a price.
    """

    attempt_id: str
    utterance_id: str
    take: Take
    segment: Count16
    number: Count16
    voice: str | None
    started_at_us: Count
    characters_counted: Count
    characters_upper_bound: Count
    price_id: str | None
    cost_upper_bound: Decimal | None


class Settlement(Struct, frozen=True, gc=False):
    """The end of an attempt, recorded as soon as its outcome is known.

    Args:
        attempt_id: The attempt it settles.
        outcome: The documentation of the usage table explains each outcome.
        finished_at_us: Microseconds since 1970 UTC.
        latency_ms: From before sending to after reading, by a monotonic clock.
        http_status: None when no answer came.
        error_code: The service's code or ours; None on success.
        request_id: The service's request id; None when it sent none.
        usage: The usage that the service reported.
        characters_billed: Confirmed: the reported count if it is plausible, else our count; 0 without success.
        characters_upper_bound: The most characters that it may have been billed for.
        cost: Confirmed cost, in the price's currency; None without a price.
        cost_upper_bound: The most that it may have cost; None without a price.
        implausible: Whether the service reported an implausible count: then our own count is the confirmed one.
    """

    attempt_id: str
    outcome: Outcome
    finished_at_us: Count
    latency_ms: Count
    http_status: Count16 | None
    error_code: str | None
    request_id: str | None
    usage: Usage
    characters_billed: Count
    characters_upper_bound: Count
    cost: Decimal | None
    cost_upper_bound: Decimal | None
    implausible: bool = False

    def has_bound_of(self, attempt: Attempt) -> bool:
        """Return whether the attempt may have cost exactly what was reserved for it, as nearly every one does."""
        return (
            self.characters_upper_bound == attempt.characters_upper_bound
            and self.cost_upper_bound == attempt.cost_upper_bound
        )
