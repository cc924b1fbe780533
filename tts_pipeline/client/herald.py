"""What a person is told of the service's troubles, so that a run that seems to stand still explains itself.

Pure: times are given, in seconds by one clock; lines are collected, and whoever owns the herald logs them.
"""

from __future__ import annotations

_WORTH_TELLING_S = 5.0
"""A pause this long is told when it begins and when it ends; of shorter ones there may be many a minute."""

_SHORT_PAUSES_EVERY_S = 60.0
"""Short pauses are told once in so long."""

_OUTAGE_WORTH_TELLING_S = 2.0
"""A shorter outage is over before anybody has read of it, and a shaky service has many."""

_NEVER_S = float("-inf")


class Herald:
    """Tells of each trouble once when it begins, and once when it ends.

    Args:
        max_outage_s: After how long an outage stops the run.

    Attributes:
        lines: What is to be told; whoever tells it empties it.
    """

    def __init__(self, max_outage_s: float) -> None:
        self._max_outage_s = max_outage_s
        self._pause_until_s: float | None = None
        self._short_pause_told_s = _NEVER_S
        self._outage_told = False
        self.lines: list[str] = []

    def paused(self, now_s: float, seconds: float) -> None:
        """Take note that nothing is sent for so long."""
        if seconds < _WORTH_TELLING_S:
            if now_s - self._short_pause_told_s >= _SHORT_PAUSES_EVERY_S:
                self._short_pause_told_s = now_s
                self.lines.append("the service throttles (429): the run slows down with short pauses")
            return
        until_s = now_s + seconds
        # Requests that were in flight together ask for the same pause one after the other: that is told once.
        if self._pause_until_s is None or until_s > self._pause_until_s + _WORTH_TELLING_S:
            self.lines.append(f"the service throttles (429): nothing is sent for {seconds:.0f} s, then the run goes on")
            self._pause_until_s = until_s

    def sent(self, now_s: float) -> None:
        """Take note that an attempt is sent."""
        if self._pause_until_s is not None and now_s >= self._pause_until_s:
            self._pause_until_s = None
            self.lines.append("the pause is over: the run goes on")

    def down(self, lasted_s: float, failure: str) -> None:
        """Take note of an outage that goes on.

        Args:
            lasted_s: Since its first failure.
            failure: What the last attempt met.
        """
        if lasted_s >= _OUTAGE_WORTH_TELLING_S and not self._outage_told:
            self._outage_told = True
            self.lines.append(
                f"the service is not usable ({failure}): only single requests are sent until one succeeds, "
                f"for {self._max_outage_s:.0f} s at most"
            )

    def back(self, lasted_s: float) -> None:
        """Take note that an outage has ended, after so long."""
        if self._outage_told:
            self._outage_told = False
            self.lines.append(f"the service is usable again after {lasted_s:.0f} s: the run goes on in full")
