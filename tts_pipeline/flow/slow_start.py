"""How carefully a cap is approached while nobody knows how a service counts. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.config import PLAUSIBLE_RATIO

_ZERO = Decimal(0)
_MAX_IN_FLIGHT = 2**31
"""More than anybody has in flight."""


class Margin(NamedTuple):
    """What attempts may cost beyond what is reserved for them, should the service count more than we do."""

    characters: int = 0
    cost: Decimal = _ZERO


class SlowStart:
    """How many attempts may be in flight under a cap, and what room the cap must have for them.

    One is sent first. Every answer that costs no more than could be foreseen, ``PLAUSIBLE_RATIO`` times our count,
    doubles the number; one that costs more begins it anew.

    Args:
        by_token: Whether tokens are what costs: an attempt then reserves several times what ordinary audio takes, and
            needs no margin in money.

    Attributes:
        max_in_flight: As many attempts may be in flight now.
        open_margin: The margin of all that are.
        largest_ratio: How many times our count a report was, of those that cannot be true; 1 where none was more.
    """

    def __init__(self, *, by_token: bool = False) -> None:
        self.max_in_flight = 1
        self.open_margin = Margin()
        self.largest_ratio = 1
        self._by_token = by_token

    def margin_of(self, attempt: Attempt) -> Margin:
        """Return the margin of one attempt."""
        bound = attempt.characters_upper_bound
        characters = max(0, attempt.characters_counted * PLAUSIBLE_RATIO - bound)
        if self._by_token or attempt.cost_upper_bound is None or not bound:
            return Margin(characters)
        return Margin(characters, attempt.cost_upper_bound * characters / bound)

    def on_reserve(self, attempt: Attempt) -> None:
        """Take note that an attempt is reserved."""
        margin = self.margin_of(attempt)
        self.open_margin = Margin(self.open_margin.characters + margin.characters, self.open_margin.cost + margin.cost)

    def on_close(self, attempt: Attempt) -> None:
        """Take note that an attempt is no longer open, however it ended."""
        margin = self.margin_of(attempt)
        self.open_margin = Margin(self.open_margin.characters - margin.characters, self.open_margin.cost - margin.cost)

    def on_settle(self, attempt: Attempt, settlement: Settlement) -> None:
        """Learn from how an attempt ended; a failure says little of how a service counts, but too much is too much."""
        if settlement.implausible:
            self.largest_ratio = max(self.largest_ratio, _ratio(attempt, settlement))
        margin = self.margin_of(attempt)
        characters = attempt.characters_upper_bound + margin.characters
        cost = (attempt.cost_upper_bound or _ZERO) + margin.cost
        if settlement.characters_upper_bound > characters or (settlement.cost_upper_bound or _ZERO) > cost:
            self.max_in_flight = 1
        elif settlement.outcome is not Outcome.FAILED:
            self.max_in_flight = min(2 * self.max_in_flight, _MAX_IN_FLIGHT)


def _ratio(attempt: Attempt, settlement: Settlement) -> int:
    ratio = settlement.characters_upper_bound // max(attempt.characters_counted, 1)
    if settlement.cost and settlement.cost_upper_bound is not None:
        ratio = max(ratio, int(settlement.cost_upper_bound / settlement.cost))
    return ratio
