"""The pause of the whole run after a 429. Pure: times are given, in seconds by one clock."""

from __future__ import annotations

_FIRST_S = 0.5
"""The first pause where the service does not say how long; doubled while nothing succeeds in between."""

_LONG_AGO_S = float("-inf")


class Pause:
    """How long nobody sends.

    The 429s of attempts that were sent before the pause began are the same news again and count once.
    """

    def __init__(self) -> None:
        self._since_s = _LONG_AGO_S
        self._since_before_s: float | None = None
        self._until_s = _LONG_AGO_S
        self._next_s = _FIRST_S

    def delay_s(self, now_s: float) -> float:
        """Seconds until sending goes on; 0 or less is now."""
        return self._until_s - now_s

    def is_news(self, sent_at_s: float) -> bool:
        """Say whether a 429 begins a pause: its attempt was sent after the last one began."""
        return sent_at_s >= self._since_s

    def throttled(self, now_s: float, *, sent_at_s: float, retry_after_s: float | None) -> float:
        """Take a 429.

        Args:
            now_s: When it came.
            sent_at_s: When the attempt that met it was sent.
            retry_after_s: What the service asked for; None (or 0, which would be a busy loop) when it did not say.

        Returns:
            The pause in seconds from now that this 429 asks for; 0 when it is no news.
        """
        is_news = self.is_news(sent_at_s)
        if retry_after_s:
            asked_s = retry_after_s
        elif is_news:
            asked_s = self._next_s
            self._next_s *= 2
        else:
            return 0.0
        if is_news:
            self._since_before_s = self._since_s if self._since_s > _LONG_AGO_S else None
            self._since_s = now_s
        self._until_s = max(self._until_s, now_s + asked_s)
        return asked_s

    def succeeded(self, sent_at_s: float) -> None:
        """Take a success: if it was sent after the last pause, the next pause is a short one again.

        So it is if it was sent between the last two: of many attempts that are sent together after a pause, the first
        may be taken and the others refused, and a refusal is quicker than speech.
        """
        if sent_at_s >= (self._since_s if self._since_before_s is None else self._since_before_s):
            self._next_s = _FIRST_S
