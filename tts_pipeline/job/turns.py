"""Whose turn it is among utterances that ask for the same thing. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Work = TypeVar("Work")


@dataclass(slots=True)
class _Turn(Generic[Work]):
    buying: int = 0
    width: int = 1
    waiting: list[Work] = field(default_factory=list)


class Turns(Generic[Work]):
    """Lets one of several equal works go ahead; the others wait until it has been bought, and then all go.

    When it was not bought, because it was rejected, the next one goes in its place; then two at a time, then four: one
    success serves all that are left, and a thousand rejects of one text do not come one after the other.
    """

    def __init__(self) -> None:
        self._turns: dict[int, _Turn[Work]] = {}

    def __bool__(self) -> bool:
        return bool(self._turns)

    def enter(self, number: int, work: Work) -> bool:
        """Say whether a work goes ahead now, and then has to leave; otherwise it waits, and is given back in time.

        Args:
            number: The same for equal works.
            work: The work.
        """
        turn = self._turns.setdefault(number, _Turn())
        if not turn.buying and not turn.waiting:
            turn.buying = 1
            return True
        turn.waiting.append(work)
        return False

    def leave(self, number: int, *, bought: bool) -> tuple[list[Work], list[Work]]:
        """End the turn of a work that went ahead.

        Args:
            number: The work's.
            bought: Whether what it asked for is there now.

        Returns:
            Works that go now: those that find it there, and those that have to buy it, and leave in their turn.
        """
        turn = self._turns[number]
        turn.buying -= 1
        served, buyers = [], []
        if bought:
            served, turn.waiting = turn.waiting, []
        elif not turn.buying:
            buyers, turn.waiting = turn.waiting[: turn.width], turn.waiting[turn.width :]
            turn.buying = len(buyers)
            turn.width *= 2
        if not turn.buying and not turn.waiting:
            del self._turns[number]
        return served, buyers
