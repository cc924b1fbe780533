"""Single flight: of several utterances with the same request, one is bought while the others wait. Pure."""

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
    """Lets one of several equal items go ahead as the buyer; the others wait, and all go when it was bought.

    If the buyer was rejected, the next item buys; then two items at a time, then four: one success serves all others,
    and a thousand rejects of one text do not come one by one.
    """

    def __init__(self) -> None:
        self._flights: dict[int, _Flight[Item]] = {}

    def __bool__(self) -> bool:
        return bool(self._flights)

    def enter(self, key: int, item: Item) -> bool:
        """Return True for a buyer, which goes ahead and has to leave; False if the item waits for a buyer."""
        flight = self._flights.setdefault(key, _Flight())
        if not flight.buyers and not flight.waiters:
            flight.buyers = 1
            return True
        flight.waiters.append(item)
        return False

    def leave(self, key: int, *, is_bought: bool) -> tuple[list[Item], list[Item]]:
        """End a buyer's turn; return the items that find its result, and the items that are the next buyers.

        Each next buyer has to leave in its turn.
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
