"""The circuit breaker: opens when many rows fail, probes while half open. Pure: times are passed in."""

from __future__ import annotations

from tts_pipeline.flow.retry_state import RetryState

_FIRST_PROBE_INTERVAL_S = 0.25
_MAX_PROBE_INTERVAL_S = 3.0
"""Probes follow one another at intervals that double from the first to the longest."""

MIN_FAILING_ROWS = 5
_CONCURRENCY_PER_FAILING_ROW = 8
"""An outage takes failures of this many different rows in succession, or of an eighth of the concurrency if that is
more: a few connections that break together, where hundreds are open, are no outage."""


class CircuitBreaker:
    """Counts failures that follow one another without a success; such a streak is an outage when it has enough rows.

    A row's failures in a streak that became an outage are the service's, and no longer counted as the row's. A failure
    before anything was sent is never the row's.

    While the outage is open, single probes are sent. It ends with the success of an attempt that was sent after the
    trouble began. One that was sent before (a slow answer to an old request) says little, but allows one more probe at
    once: where only a part of a slow service broke, sending goes on as fast as answers come.
    """

    def __init__(self, max_concurrency: int) -> None:
        self._rows_to_trip = max(MIN_FAILING_ROWS, max_concurrency // _CONCURRENCY_PER_FAILING_ROW)
        self._streak_id = 0
        self._outage_streaks: set[int] = set()
        self._first_failure_s: float | None = None
        self._failing_rows: set[RetryState] = set()
        self._unsent_failures = 0
        self._next_probe_s = 0.0
        self._probe_interval_s = _FIRST_PROBE_INTERVAL_S
        self.is_open = False

    def delay_s(self, now_s: float) -> float:
        """Seconds until something may be sent; 0 or less is now."""
        return self._next_probe_s - now_s if self.is_open else 0.0

    def outage_s(self, now_s: float) -> float:
        """Seconds since the first failure of an open outage; 0 when there is none."""
        return now_s - self._first_failure_s if self.is_open and self._first_failure_s is not None else 0.0

    def on_sent(self, now_s: float) -> None:
        """Take note that an attempt was sent: in an outage it is a probe, and the next one is due later."""
        if self.is_open:
            self._next_probe_s = now_s + self._probe_interval_s
            self._probe_interval_s = min(2 * self._probe_interval_s, _MAX_PROBE_INTERVAL_S)

    def on_failure(self, row: RetryState, now_s: float, *, was_sent: bool) -> None:
        """Take a transient failure (not a 429)."""
        if self._first_failure_s is None:
            self._first_failure_s = now_s
        if was_sent:
            row.distinct_streaks.add(self._streak_id)
        if self.is_open:
            return
        if was_sent:
            self._failing_rows.add(row)
            row.failure_streaks.append(self._streak_id)
        else:
            self._unsent_failures += 1
        if len(self._failing_rows) + self._unsent_failures >= self._rows_to_trip:
            self.trip(now_s)

    def trip(self, now_s: float) -> None:
        """Declare the present streak an outage."""
        self._outage_streaks.add(self._streak_id)
        self._failing_rows.clear()
        self._probe_interval_s = _FIRST_PROBE_INTERVAL_S
        self._next_probe_s = now_s + self._probe_interval_s
        self.is_open = True

    def on_success(self, now_s: float, *, sent_at_s: float) -> None:
        """Take a success: it ends a streak, and an outage unless it was sent before that began."""
        if self._first_failure_s is None:
            return
        if self.is_open and sent_at_s < self._first_failure_s:
            self._next_probe_s = now_s
            return
        self._streak_id += 1
        self._first_failure_s = None
        self._failing_rows.clear()
        self._unsent_failures = 0
        self.is_open = False

    def own_failures(self, row: RetryState) -> int:
        """How many of a row's failures are its own, as far as is known."""
        return sum(streak not in self._outage_streaks for streak in row.failure_streaks)

    def contradicted_streaks(self, row: RetryState) -> int:
        """In how many streaks a row failed that other rows ended with a success; also in what was taken for outages."""
        return sum(streak < self._streak_id for streak in row.distinct_streaks)
