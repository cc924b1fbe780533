"""The sum that a budget, claims and the progress of a run read: each attempt counts once, whoever reports it."""

from __future__ import annotations

from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.money import Cost


class SpendTally:
    """Adds up attempts: at most from before they are sent, and as they ended once that is known.

    A budget reserves an attempt before the ledger of its part hears of it, and a part's tally passes on to the run's
    whatever it counts: an attempt that is reported again changes nothing. One that is never settled keeps its bound.
    One thread writes; any thread may read ``spend``.

    ``spend`` may hold something already. A currency of None is not known yet. ``run`` is the tally of the run that
    this one is of a part of.
    """

    __slots__ = ("_open", "_run", "currency", "spend")

    def __init__(
        self, spend: Cost | None = None, *, currency: str | None = None, run: SpendTally | None = None
    ) -> None:
        self.spend = Cost() if spend is None else spend
        self.currency = currency
        self._run = run
        self._open: dict[str, Attempt] = {}
        if run is not None:
            run.currency = run.currency or currency

    def reserve(self, attempt: Attempt) -> None:
        """Count an attempt that is about to be sent at its most."""
        if attempt.attempt_id not in self._open:
            self._open[attempt.attempt_id] = attempt
            self.spend.add_attempt(attempt, self.currency)
        if self._run is not None:
            self._run.reserve(attempt)

    def settle(self, settlement: Settlement) -> None:
        """Count an attempt as it ended."""
        attempt = self._open.pop(settlement.attempt_id, None)
        if attempt is not None:
            self.spend.add_attempt(attempt, self.currency, -1)
            self.spend.add_attempt(settlement, self.currency)
        if self._run is not None:
            self._run.settle(settlement)

    def release(self, attempt: Attempt) -> None:
        """Count an attempt no longer that was surely not sent."""
        if self._open.pop(attempt.attempt_id, None) is not None:
            self.spend.add_attempt(attempt, self.currency, -1)
        if self._run is not None:
            self._run.release(attempt)
