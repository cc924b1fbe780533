"""One HTTP request for one segment: what is known before it is sent, and how it ended. Frozen, no I/O."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

from tts_pipeline.models import Count, Count16, Take, Usage


class Outcome(StrEnum):
    """How an attempt ended, for the bill."""

    SUCCEEDED = "succeeded"
    DISCARDED = "discarded"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Attempt(Struct, frozen=True, gc=False):
    """One HTTP request for one segment, as it is known before it is sent.

    Args:
        attempt_id: Unique for all time.
        utterance_id: Whose it is.
        take: Whose it is.
        segment: Place of the segment, from 0.
        number: Which attempt for this segment, from 1.
        voice: The voice sent; None when left to the service.
        started_at_us: Microseconds since 1970 UTC.
        characters_counted: Our count, by the card's billing rule.
        characters_upper_bound: The most it may be billed for.
        price_id: The price that applies at ``started_at_us``; None without a price.
        cost_upper_bound: The most it may cost in the price's currency; None without a price.
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
    """How an attempt ended: the bill's second half, written when the outcome is known.

    Args:
        attempt_id: The attempt it settles.
        outcome: See the table of outcomes in the documentation of the usage table.
        finished_at_us: Microseconds since 1970 UTC.
        latency_ms: From before sending to after reading, by a clock that never goes backwards.
        http_status: None when no answer came.
        error_code: The service's code or ours; None on success.
        request_id: The service's; None when none came.
        usage: What the service reported.
        characters_billed: Confirmed: reported if that can be true, else counted; 0 without success.
        characters_upper_bound: What it may have been billed for.
        cost: Confirmed, in the price's currency; None without a price.
        cost_upper_bound: At most; None without a price.
        implausible: Whether the service reported what cannot be true: then our own count is what is confirmed.
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
