"""Write messages about the service's troubles, so that a run that seems to stand still explains itself.

Pure: times are passed in, in seconds of one clock; messages are collected, and the owner logs them.
"""

from __future__ import annotations

_MIN_PAUSE_NOTICE_S = 5.0
"""A pause this long is announced at its beginning and its end; shorter pauses may come many times a minute."""

_SHORT_PAUSE_NOTICE_INTERVAL_S = 60.0
"""Short pauses are announced at most once in this time."""

_MIN_OUTAGE_NOTICE_S = 2.0
"""A shorter outage is over before anybody reads its notice, and a shaky service has many."""

_NEVER_S = float("-inf")


class Notices:
    """Announces each trouble once when it begins and once when it ends; the reader of ``messages`` empties it."""

    def __init__(self, max_outage_s: float) -> None:
        self._max_outage_s = max_outage_s
        self._pause_until_s: float | None = None
        self._short_pause_notice_s = _NEVER_S
        self._has_announced_outage = False
        self.messages: list[str] = []

    @property
    def is_open(self) -> bool:
        """Whether the end of a trouble is still to be announced."""
        return self._pause_until_s is not None or self._has_announced_outage

    def on_pause(self, now_s: float, seconds: float) -> None:
        """Announce a pause of so many seconds."""
        if seconds < _MIN_PAUSE_NOTICE_S:
            if now_s - self._short_pause_notice_s >= _SHORT_PAUSE_NOTICE_INTERVAL_S:
                self._short_pause_notice_s = now_s
                self.messages.append("the service throttles (429): the run slows down with short pauses")
            return
        until_s = now_s + seconds
        # Requests that were in flight together request the same pause one after another: announce it once.
        if self._pause_until_s is None or until_s > self._pause_until_s + _MIN_PAUSE_NOTICE_S:
            self.messages.append(
                f"the service throttles (429): nothing is sent for {seconds:.0f} s, then the run goes on"
            )
            self._pause_until_s = until_s

    def on_sent(self, now_s: float) -> None:
        """Announce the end of a pause with the first attempt after it."""
        if self._pause_until_s is not None and now_s >= self._pause_until_s:
            self._pause_until_s = None
            self.messages.append("the pause is over: the run goes on")

    def on_outage(self, outage_s: float, failure: str) -> None:
        """Announce an outage that has lasted so many seconds."""
        if outage_s >= _MIN_OUTAGE_NOTICE_S and not self._has_announced_outage:
            self._has_announced_outage = True
            self.messages.append(
                f"the service is not usable ({failure}): only single requests are sent until one succeeds, "
                f"for {self._max_outage_s:.0f} s at most"
            )

    def on_recovery(self, outage_s: float) -> None:
        """Announce the end of an outage that lasted so many seconds."""
        if self._has_announced_outage:
            self._has_announced_outage = False
            self.messages.append(f"the service is usable again after {outage_s:.0f} s: the run goes on in full")
