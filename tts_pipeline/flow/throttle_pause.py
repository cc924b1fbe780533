"""Pause the whole run after a 429. Pure: times are passed in, in seconds of one clock."""

from __future__ import annotations

FIRST_PAUSE_S = 0.5
"""The first pause if the service names no time and the permitted rate is not known."""

_NEVER_S = float("-inf")


class ThrottlePause:
    """The time during which no attempt is sent.

    The 429s of attempts that were sent before the pause began are no news: they count once. A pause for which the
    service names no time begins at ``first_pause_s``, and doubles while no attempt succeeds in between.
    """

    def __init__(self) -> None:
        self.first_pause_s = FIRST_PAUSE_S
        self._began_s = _NEVER_S
        self._previous_began_s: float | None = None
        self._until_s = _NEVER_S
        self._doublings = 0

    def delay_s(self, now_s: float) -> float:
        """Return the seconds until sending goes on; 0 or less is now."""
        return self._until_s - now_s

    def is_reset(self, now_s: float) -> bool:
        """Return whether the pause is over and the next one is short again: then a success changes nothing."""
        return self._until_s <= now_s and not self._doublings

    def is_new(self, sent_at_s: float) -> bool:
        """Return whether a 429 begins a pause: its attempt was sent after the last pause began."""
        return sent_at_s >= self._began_s

    def on_throttle(self, now_s: float, *, sent_at_s: float, retry_after_s: float | None) -> float:
        """Count a 429; return its pause in seconds from now, 0 if the 429 is no news.

        ``retry_after_s`` is the service's own time; None (or 0, which would be a busy loop) if it named none.
        """
        is_new = self.is_new(sent_at_s)
        if retry_after_s:
            pause_s = retry_after_s
        elif is_new:
            pause_s = self.first_pause_s * 2**self._doublings
            self._doublings += 1
        else:
            return 0.0
        if is_new:
            self._previous_began_s = self._began_s if self._began_s > _NEVER_S else None
            self._began_s = now_s
        self._until_s = max(self._until_s, now_s + pause_s)
        return pause_s

    def on_success(self, sent_at_s: float) -> None:
        """Count a success: make the next pause short again if the attempt was sent after the last pause began.

        An attempt sent between the last two pauses counts too: of many attempts that leave together after a pause, the
        service may take the first and refuse the others, and a refusal is quicker than speech.
        """
        if sent_at_s >= (self._began_s if self._previous_began_s is None else self._previous_began_s):
            self._doublings = 0
