"""Retry state of one utterance, and the dispositions of a failed attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto


class Disposition(Enum):
    """What becomes of a row whose attempt failed."""

    RETRY = auto()
    """Try again, after a wait of its own."""
    RETRY_NOW = auto()
    """Try again; the run's pause or outage is all the wait it needs."""
    REJECT = auto()
    """It is the row's own failure."""
    PENDING = auto()
    """Not known until other rows have an outcome."""
    FATAL = auto()
    """No row can succeed."""


@dataclass(eq=False, slots=True)
class RetryState:
    """One utterance on its way through the client; told apart by identity.

    ``characters`` is our count of its next attempt, and ``retries`` counts the waits of its own. ``failure_streaks``
    are the streaks of failures that may be its own, one for each; ``distinct_streaks`` are all streaks that it met,
    outages or not. ``answers_without_audio`` counts whole answers only.
    """

    characters: int = 0
    retries: int = 0
    failure_streaks: list[int] = field(default_factory=list)
    distinct_streaks: set[int] = field(default_factory=set)
    answers_without_audio: int = 0
    disposition: Disposition | None = None

    def begin_segment(self, characters: int) -> None:
        """Begin the next segment, whose attempts are counted anew."""
        self.characters = characters
        self.retries = 0
        self.answers_without_audio = 0
        self.failure_streaks.clear()
        self.distinct_streaks.clear()
