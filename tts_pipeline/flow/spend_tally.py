"""The spend tally: sum the cost of attempts for budgets, claims and progress, and count each attempt once."""

from __future__ import annotations

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.money import Cost


class SpendTally:
    """Sums attempts: at their upper bound before they are sent, and by their settlement afterwards.

    A budget with a cap reserves an attempt before the log of its part does: a second report of an attempt changes
    nothing. An attempt that is never settled keeps its bound. One thread writes; any thread may read ``spend``.

    ``spend`` is the initial sum; None is 0. ``currency`` None is not known yet.
    """

    __slots__ = ("_open", "currency", "spend")

    def __init__(self, spend: Cost | None = None, *, currency: str | None = None) -> None:
        self.spend = Cost() if spend is None else spend
        self.currency = currency
        self._open: dict[str, Attempt] = {}

    def reserve(self, attempt: Attempt) -> None:
        """Count an attempt that is about to be sent, at its upper bound."""
        if attempt.attempt_id not in self._open:
            self._open[attempt.attempt_id] = attempt
            self.spend.add_attempt(attempt, self.currency)

    def settle(self, settlement: Settlement) -> None:
        """Replace an attempt's upper bound with its settlement."""
        attempt = self._open.pop(settlement.attempt_id, None)
        if attempt is not None:
            self.spend.settle_attempt(attempt, settlement, self.currency)

    def release(self, attempt: Attempt) -> None:
        """Remove an attempt that was surely not sent."""
        if self._open.pop(attempt.attempt_id, None) is not None:
            self.spend.add_attempt(attempt, self.currency, -1)
