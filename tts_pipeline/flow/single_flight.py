"""Single flight: of several utterances with the same request, one runs and the others wait. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class _Flight(Generic[Item]):
    buyers: int = 0
    width: int = 1
    waiters: list[Item] = field(default_factory=list)


class SingleFlight(Generic[Item]):
    """Lets one of several equal works go ahead; the others wait until it has been bought, and then all go.

    When it was not bought, because it was rejected, the next one goes in its place; then two at a time, then four: one
    success serves all that are left, and a thousand rejects of one text do not come one after the other.
    """

    def __init__(self) -> None:
        self._flights: dict[int, _Flight[Item]] = {}

    def __bool__(self) -> bool:
        return bool(self._flights)

    def enter(self, key: int, item: Item) -> bool:
        """Say whether a work goes ahead now, and then has to leave; otherwise it waits, and is given back in time."""
        flight = self._flights.setdefault(key, _Flight())
        if not flight.buyers and not flight.waiters:
            flight.buyers = 1
            return True
        flight.waiters.append(item)
        return False

    def leave(self, key: int, *, is_bought: bool) -> tuple[list[Item], list[Item]]:
        """End the turn of a work that went ahead, and return the works that go now.

        Those find the result there, or have to buy it and leave in their turn.
        """
        flight = self._flights[key]
        flight.buyers -= 1
        served, buyers = [], []
        if is_bought:
            served, flight.waiters = flight.waiters, []
        elif not flight.buyers:
            buyers, flight.waiters = flight.waiters[: flight.width], flight.waiters[flight.width :]
            flight.buyers = len(buyers)
            flight.width *= 2
        if not flight.buyers and not flight.waiters:
            del self._flights[key]
        return served, buyers
