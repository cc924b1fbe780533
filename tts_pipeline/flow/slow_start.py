"""Slow start of a cap: attempts are few until the service's way of counting is known. Pure."""

from __future__ import annotations

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.config import PLAUSIBLE_RATIO
from tts_pipeline.money import SpendBound

_MAX_IN_FLIGHT = 2**31
"""More than anybody has in flight."""


class SlowStart:
    """How many attempts may be in flight under a cap, and what room the cap must have for them.

    One is sent first. Every answer that costs no more than could be foreseen, ``PLAUSIBLE_RATIO`` times our count,
    doubles the number; one that costs more begins it anew.

    By token, an attempt reserves several times what ordinary audio takes, and needs no margin in money.
    ``largest_ratio`` is the largest report that cannot be true, in our counts; 1 where there was none.
    """

    def __init__(self, *, by_token: bool = False) -> None:
        self.max_in_flight = 1
        self.open_margin = SpendBound()
        self.largest_ratio = 1
        self._margins: dict[str, SpendBound] = {}
        self._by_token = by_token

    def margin_of(self, attempt: Attempt) -> SpendBound:
        """Return what an attempt may cost beyond what is reserved for it, should the service count more than we do."""
        bound = attempt.characters_upper_bound
        characters = max(0, attempt.characters_counted * PLAUSIBLE_RATIO - bound)
        if self._by_token or attempt.cost_upper_bound is None or not bound:
            return SpendBound(characters)
        return SpendBound(characters, attempt.cost_upper_bound * characters / bound)

    def on_reserve(self, attempt: Attempt) -> None:
        """Take note that an attempt is reserved."""
        self._margins[attempt.attempt_id] = margin = self.margin_of(attempt)
        self.open_margin = self.open_margin.plus(margin)

    def on_close(self, attempt: Attempt) -> None:
        """Take note that an attempt is no longer open, however it ended."""
        self.open_margin = self.open_margin.minus(self._margins.pop(attempt.attempt_id))

    def on_settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Learn from how an attempt ended; a failure says little of how a service counts, but too much is too much."""
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
