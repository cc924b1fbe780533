"""Slow start under a cap: send few attempts until the service's way of counting is known. Pure."""

from __future__ import annotations

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.config import PLAUSIBLE_RATIO
from tts_pipeline.money import SpendBound

_MAX_IN_FLIGHT = 2**31
"""More than any run has in flight."""


class SlowStart:
    """Bounds the attempts in flight under a cap, and the margin that the cap must keep for them.

    One attempt is sent first. Each answer that costs at most ``PLAUSIBLE_RATIO`` times our count doubles the bound; an
    answer that costs more resets it to 1.

    With a price by token, an attempt reserves several times the cost of ordinary audio, and needs no margin in money.
    ``open_attempts`` holds the reserved attempts that have not ended; ``open_margin`` is their margin.
    ``largest_ratio`` is the largest implausible report as a multiple of our count; 1 without such a report.
    """

    def __init__(self, *, by_token: bool = False) -> None:
        self.max_in_flight = 1
        self.open_attempts: dict[str, Attempt] = {}
        self.open_margin = SpendBound()
        self.largest_ratio = 1
        self._by_token = by_token

    def margin_of(self, attempt: Attempt) -> SpendBound:
        """Return the cost that an attempt may add to its reservation if the service counts more than we do."""
        bound = attempt.characters_upper_bound
        characters = max(0, attempt.characters_counted * PLAUSIBLE_RATIO - bound)
        if self._by_token or attempt.cost_upper_bound is None or not bound:
            return SpendBound(characters)
        return SpendBound(characters, attempt.cost_upper_bound * characters / bound)

    def on_reserve(self, attempt: Attempt) -> None:
        """Add an attempt that is reserved, and its margin."""
        self.open_attempts[attempt.attempt_id] = attempt
        self.open_margin = self.open_margin.plus(self.margin_of(attempt))

    def on_close(self, attempt_id: str) -> Attempt:
        """Remove and return an attempt that is no longer open, however it ended, and remove its margin."""
        attempt = self.open_attempts.pop(attempt_id)
        self.open_margin = self.open_margin.minus(self.margin_of(attempt))
        return attempt

    def on_settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Adapt the bound to a settlement; a failure says little about the service's counting, so it only lowers it."""
        if settlement.implausible:
            self.largest_ratio = max(self.largest_ratio, _ratio(attempt, settlement))
        foreseen, charged = SpendBound.of(attempt), SpendBound.of(settlement)
        if not foreseen.covers(charged) and not foreseen.plus(self.margin_of(attempt)).covers(charged):
            self.max_in_flight = 1
        elif settlement.outcome is not Outcome.FAILED:
            self.max_in_flight = min(2 * self.max_in_flight, _MAX_IN_FLIGHT)


def _ratio(attempt: Attempt, settlement: Settlement) -> int:
    ratio = settlement.characters_upper_bound // max(attempt.characters_counted, 1)
    if settlement.cost and settlement.cost_upper_bound is not None:
        ratio = max(ratio, int(settlement.cost_upper_bound / settlement.cost))
    return ratio
