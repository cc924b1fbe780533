"""The ledger's port: what is recorded before a request is sent and after its answer; and one in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Protocol

from msgspec.structs import replace

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.models import Answer, History, Utterance
from tts_pipeline.money import total_cost

Boundaries = tuple[tuple[int, int], ...]
"""The (start, end) of each segment in the utterance's text."""


class Ledger(Protocol):
    """The record of a client's purchases. Every sent attempt is intended once, and settled at most once.

    An attempt that is intended and never settled was in flight when the process died or was stopped: what became of it
    is unknown.
    """

    def history(self, utterance: Utterance) -> History:
        """Tell what is known of an utterance: answers that are paid for are not bought again."""

    async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
        """Write an attempt down; returns when it is as safe as this ledger makes things, and only then it is sent.

        It comes behind everything that was settled before, which is then written: no more answers than there are
        places can be lost.

        Boundaries are given when an utterance is cut into segments, and when it is cut anew.

        Raises:
            StorageError: It could not be written; nothing is sent.
        """

    def settle(self, settlement: Settlement, answer: Answer | None) -> None:
        """Take an attempt's end, and with ``succeeded`` its answer; never waits, and keeps the order of calls."""

    def discard(self, attempt_id: str) -> None:
        """Take back an answer, because a later one of its segment is better: outcome ``discarded``, billed alike."""


class MemoryLedger:
    """A ledger that forgets with the process: for a client that is used alone."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.settlements: dict[str, Settlement] = {}
        self._answers: dict[tuple[str, int], dict[int, Answer]] = defaultdict(dict)
        self._boundaries: dict[tuple[str, int], Boundaries] = {}

    def history(self, utterance: Utterance) -> History:
        """Add up what this ledger holds of an utterance; looks at every attempt it holds."""
        key = utterance.utterance_id, utterance.take
        attempts = [attempt for attempt in self.attempts if _key(attempt) == key]
        settlements = [self.settlements[it.attempt_id] for it in attempts if it.attempt_id in self.settlements]
        return History(
            answers=dict(self._answers.get(key, {})),
            boundaries=self._boundaries.get(key),
            segment_attempts=Counter(attempt.segment for attempt in attempts),
            characters_billed=sum(it.characters_billed for it in settlements),
            cost=total_cost(it.cost for it in settlements),
        )

    async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
        """Remember an attempt."""
        self.attempts.append(attempt)
        if boundaries is not None:
            self._boundaries[_key(attempt)] = boundaries

    def settle(self, settlement: Settlement, answer: Answer | None) -> None:
        """Remember how an attempt ended, and what it brought."""
        self.settlements[settlement.attempt_id] = settlement
        if answer is not None:
            attempt = next(it for it in reversed(self.attempts) if it.attempt_id == settlement.attempt_id)
            self._answers[_key(attempt)][answer.segment] = answer

    def discard(self, attempt_id: str) -> None:
        """Remember that an answer is not kept."""
        self.settlements[attempt_id] = replace(self.settlements[attempt_id], outcome=Outcome.DISCARDED)


def _key(attempt: Attempt) -> tuple[str, int]:
    return attempt.utterance_id, attempt.take
