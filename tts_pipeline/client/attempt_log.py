"""The attempt log: the interface that records attempts before and after they are sent, and a log in memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Protocol

from msgspec.structs import replace

from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.models import Answer, History, Utterance
from tts_pipeline.money import total_cost

Boundaries = tuple[tuple[int, int], ...]
"""The (start, end) of each segment in the utterance's text."""


class AttemptLog(Protocol):
    """The record of a client's purchases. Every sent attempt is intended once, and settled at most once.

    An attempt without a settlement was in flight when the process died or was stopped: its outcome is unknown.
    """

    def history(self, utterance: Utterance) -> History:
        """Return the known history of an utterance: answers that are paid for are not bought again."""

    async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
        """Record an attempt; return when the record is as durable as this log makes it. Only then it is sent.

        All earlier settlements are durable then, too: at most as many answers as there are slots can be lost.

        ``boundaries`` is given when an utterance is cut into segments, and when it is cut anew.

        Raises:
            StorageError: The record could not be written; nothing is sent.
        """

    def settle(self, settlement: Settlement, answer: Answer | None) -> None:
        """Record an attempt's end, and its answer if it succeeded; never wait, and keep the order of calls."""

    def discard(self, attempt_id: str) -> None:
        """Give an answer the outcome ``discarded``, because a later one for its segment is better; it stays billed."""


class MemoryAttemptLog:
    """A log in memory, for a client that is used without a job."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.settlements: dict[str, Settlement] = {}
        self._answers: dict[tuple[str, int], dict[int, Answer]] = defaultdict(dict)
        self._boundaries: dict[tuple[str, int], Boundaries] = {}

    def history(self, utterance: Utterance) -> History:
        """Return an utterance's history; scans all attempts of the log."""
        key = utterance.utterance_id, utterance.take
        attempts = [attempt for attempt in self.attempts if _key(attempt) == key]
        settlements = [self.settlements[each.attempt_id] for each in attempts if each.attempt_id in self.settlements]
        return History(
            answers=dict(self._answers.get(key, {})),
            boundaries=self._boundaries.get(key),
            segment_attempts=Counter(attempt.segment for attempt in attempts),
            characters_billed=sum(settlement.characters_billed for settlement in settlements),
            cost=total_cost(settlement.cost for settlement in settlements),
        )

    async def intend(self, attempt: Attempt, boundaries: Boundaries | None) -> None:
        """Record an attempt."""
        self.attempts.append(attempt)
        if boundaries is not None:
            self._boundaries[_key(attempt)] = boundaries

    def settle(self, settlement: Settlement, answer: Answer | None) -> None:
        """Record an attempt's end, and its answer."""
        self.settlements[settlement.attempt_id] = settlement
        if answer is not None:
            attempt = next(each for each in reversed(self.attempts) if each.attempt_id == settlement.attempt_id)
            self._answers[_key(attempt)][answer.segment] = answer

    def discard(self, attempt_id: str) -> None:
        """Record that an answer is not kept."""
        self.settlements[attempt_id] = replace(self.settlements[attempt_id], outcome=Outcome.DISCARDED)


def _key(attempt: Attempt) -> tuple[str, int]:
    return attempt.utterance_id, attempt.take
