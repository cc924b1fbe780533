"""The retry state of one utterance, and the dispositions of a row after a failure."""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct, field


class Disposition(Enum):
    """The fate of a row whose attempt failed."""

    RETRY = auto()
    """Try again after the row's own wait."""
    RETRY_NOW = auto()
    """Try again without a wait of its own; the run's pause or outage delays it."""
    REJECT = auto()
    """Give the row up: the failure is its own."""
    PENDING = auto()
    """Hold the row until the outcomes of other rows decide."""
    FATAL = auto()
    """No row can succeed."""


class RetryState(Struct, eq=False):
    """One utterance on its way through the client; compared by identity.

    ``characters`` is our count for its next attempt; ``retries`` counts its own waits. ``failure_streaks`` holds the
    streak of each failure that may be its own; ``distinct_streaks`` holds all streaks in which it failed, outages too.
    ``answers_without_audio`` counts whole answers only.
    """

    characters: int = 0
    retries: int = 0
    failure_streaks: list[int] = field(default_factory=list)
    distinct_streaks: set[int] = field(default_factory=set)
    answers_without_audio: int = 0
    disposition: Disposition | None = None

    def begin_segment(self, characters: int) -> None:
        """Reset the counts for the next segment."""
        self.characters = characters
        self.retries = 0
        self.answers_without_audio = 0
        self.failure_streaks.clear()
        self.distinct_streaks.clear()
