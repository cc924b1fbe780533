"""Whether the service is down, by the failures of many rows. Pure: times are given, in seconds by one clock."""

from __future__ import annotations

from tts_pipeline.client.row import Row

_FIRST_PROBE_S = 0.25
_LONGEST_PROBE_S = 3.0
"""Probes follow one another at intervals that double from the first to the longest."""

ROWS_AT_LEAST = 5
_ROWS_BY_CONCURRENCY = 8
"""An outage takes failures of this many different rows in succession, or of an eighth of the concurrency if that is
more: a few connections that break together, where hundreds are open, are no outage."""


class Outage:
    """Counts failures that follow one another without a success; such a streak is an outage when it has enough rows.

    A row's failures in a streak that became an outage are the service's, and no longer counted as the row's. A failure
    before anything was sent is never the row's.

    While the outage is open, single probes are sent. It ends with the success of an attempt that was sent after the
    trouble began. One that was sent before (a slow answer to an old request) says little, but allows one more probe at
    once: where only a part of a slow service broke, sending goes on as fast as answers come.

    Args:
        max_concurrency: Attempts in flight at one time.
    """

    def __init__(self, max_concurrency: int) -> None:
        self._rows_needed = max(ROWS_AT_LEAST, max_concurrency // _ROWS_BY_CONCURRENCY)
        self._streak = 0
        self._excused: set[int] = set()
        self._since_s: float | None = None
        self._rows: set[Row] = set()
        self._never_sent = 0
        self._probe_at_s = 0.0
        self._interval_s = _FIRST_PROBE_S
        self.is_open = False

    def delay_s(self, now_s: float) -> float:
        """Seconds until something may be sent; 0 or less is now."""
        return self._probe_at_s - now_s if self.is_open else 0.0

    def lasted_s(self, now_s: float) -> float:
        """Seconds since the first failure of an open outage; 0 when there is none."""
        return now_s - self._since_s if self.is_open and self._since_s is not None else 0.0

    def sent(self, now_s: float) -> None:
        """Take note that an attempt was sent: in an outage it is a probe, and the next one is due later."""
        if self.is_open:
            self._probe_at_s = now_s + self._interval_s
            self._interval_s = min(2 * self._interval_s, _LONGEST_PROBE_S)

    def failed(self, row: Row, now_s: float, *, was_sent: bool) -> None:
        """Take a transient failure (not a 429)."""
        if self._since_s is None:
            self._since_s = now_s
        if was_sent:
            row.streaks_met.add(self._streak)
        if self.is_open:
            return
        if was_sent:
            self._rows.add(row)
            row.streaks.append(self._streak)
        else:
            self._never_sent += 1
        if len(self._rows) + self._never_sent >= self._rows_needed:
            self.begin(now_s)

    def begin(self, now_s: float) -> None:
        """Declare the present streak an outage."""
        self._excused.add(self._streak)
        self._rows.clear()
        self._interval_s = _FIRST_PROBE_S
        self._probe_at_s = now_s + self._interval_s
        self.is_open = True

    def succeeded(self, now_s: float, *, sent_at_s: float) -> None:
        """Take a success: it ends a streak, and an outage unless it was sent before that began."""
        if self._since_s is None:
            return
        if self.is_open and sent_at_s < self._since_s:
            self._probe_at_s = now_s
            return
        self._streak += 1
        self._since_s = None
        self._rows.clear()
        self._never_sent = 0
        self.is_open = False

    def own_failures(self, row: Row) -> int:
        """How many of a row's failures are its own, as far as is known."""
        return sum(streak not in self._excused for streak in row.streaks)

    def contradicted(self, row: Row) -> int:
        """In how many streaks a row failed that other rows ended with a success; also in what was taken for outages."""
        return sum(streak < self._streak for streak in row.streaks_met)
