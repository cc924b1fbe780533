"""The circuit breaker: open when many rows fail in succession, and probe until one succeeds. Pure, times passed in."""

from __future__ import annotations

from tts_pipeline.flow.retry_state import RetryState

_FIRST_PROBE_INTERVAL_S = 0.25
_MAX_PROBE_INTERVAL_S = 3.0
"""The interval between probes doubles from the first value to the longest."""

MIN_FAILING_ROWS = 5
_CONCURRENCY_PER_FAILING_ROW = 8
"""An outage is declared after failures of 5 different rows in succession, or of an eighth of the concurrency if that is
more: a few broken connections out of hundreds are no outage."""


class CircuitBreaker:
    """Counts streaks of failures without a success between them; a streak of enough rows is an outage.

    Failures within an outage are the service's, and no longer count as the rows' own. A failure before anything was
    sent is never the row's own.

    During an outage, single probes are sent. The outage ends with the success of an attempt that was sent after the
    first failure. The success of an earlier attempt (a slow answer to an old request) says little, but permits one more
    probe immediately: if only a part of a slow service broke, sending goes on as fast as answers come.
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

    @property
    def has_failures(self) -> bool:
        """Whether there was a failure since the last success that ended a streak; always true during an outage."""
        return self._first_failure_s is not None

    def delay_s(self, now_s: float) -> float:
        """Return the seconds until an attempt may be sent; 0 or less is now."""
        return self._next_probe_s - now_s if self.is_open else 0.0

    def outage_s(self, now_s: float) -> float:
        """Return the seconds since the first failure of the present outage; 0 without an outage."""
        return now_s - self._first_failure_s if self.is_open and self._first_failure_s is not None else 0.0

    def on_sent(self, now_s: float) -> None:
        """Record that an attempt was sent: during an outage it is a probe, and delays the next one."""
        if self.is_open:
            self._next_probe_s = now_s + self._probe_interval_s
            self._probe_interval_s = min(2 * self._probe_interval_s, _MAX_PROBE_INTERVAL_S)

    def on_failure(self, row: RetryState, now_s: float, *, was_sent: bool) -> None:
        """Count a transient failure (not a 429)."""
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
        """Count a success: it ends the streak and the outage, unless its attempt was sent before the outage began."""
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
        """Return how many of a row's failures are its own, as far as is known."""
        return sum(streak not in self._outage_streaks for streak in row.failure_streaks)

    def contradicted_streaks(self, row: RetryState) -> int:
        """Return in how many streaks a row failed that another row's success ended; outages count too."""
        return sum(streak < self._streak_id for streak in row.distinct_streaks)
