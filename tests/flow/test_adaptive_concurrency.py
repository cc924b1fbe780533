"""How many may be in flight, against a service that takes so many and no more."""

from __future__ import annotations

from random import Random

import pytest

from tts_pipeline.flow.adaptive_concurrency import AdaptiveConcurrency


class LimitedService:
    """A service that takes ``capacity`` at a time, and refuses others at once; now and then one for no reason.

    Requests go out in rounds of as many as may be in flight.
    """

    def __init__(self, concurrency: AdaptiveConcurrency, capacity: int, refused_ratio: float = 0.0) -> None:
        self.concurrency = concurrency
        self.capacity = capacity
        self.refused = 0
        self.accepted = 0
        self._refused_ratio = refused_ratio
        self._random = Random(7)

    def rounds(self, count: int) -> list[int]:
        return [self._round() for _ in range(count)]

    def _round(self) -> int:
        requests = self.concurrency.limit
        accepted = sum(
            place < self.capacity and self._random.random() >= self._refused_ratio for place in range(requests)
        )
        for number in range(requests - accepted):
            self.concurrency.on_throttle(is_new=number == 0)
        for _ in range(accepted):
            self.concurrency.on_success()
        self.refused += requests - accepted
        self.accepted += accepted
        return requests


def test_without_a_429_it_is_all_that_is_allowed() -> None:
    """From the first request on, and never less."""
    assert set(LimitedService(AdaptiveConcurrency(64), 64).rounds(100)) == {64}


def test_it_settles_at_what_the_service_takes() -> None:
    """It comes down within a few pauses, stays there, and seldom asks for more."""
    service = LimitedService(AdaptiveConcurrency(64), 8)
    assert service.rounds(5)[-1] <= 9
    service.refused = 0
    rounds = service.rounds(500)
    assert set(rounds) == {8, 9}
    assert service.refused <= 20


def test_one_pause_halves_it_at_most() -> None:
    """However many of a burst are refused: the pause may be all that the service wanted."""
    concurrency = AdaptiveConcurrency(64)
    for number in range(64):
        concurrency.on_throttle(is_new=number == 0)
    assert concurrency.limit == 32


def test_one_refused_is_one_too_many() -> None:
    """Where nearly all were taken it goes down by what was not."""
    concurrency = AdaptiveConcurrency(64)
    for number in range(3):
        concurrency.on_throttle(is_new=number == 0)
    assert concurrency.limit == 61


def test_it_never_goes_below_one() -> None:
    """A run that sends nothing never learns that the service is back."""
    concurrency = AdaptiveConcurrency(4)
    for _ in range(20):
        concurrency.on_throttle(is_new=True)
    assert concurrency.limit == 1


@pytest.mark.parametrize("most", [16, 64])
def test_it_finds_its_way_back(most: int) -> None:
    """A bad moment of the service is not remembered for ever, and the most that is allowed is never passed."""
    service = LimitedService(AdaptiveConcurrency(64), 8)
    service.rounds(300)
    service.capacity = most
    limits = service.rounds(500)
    assert limits[-1] in {most, most + 1}
    assert max(limits) <= 64


def test_a_service_that_refuses_now_and_then_is_still_used() -> None:
    """One request in a hundred, whatever is asked: that says nothing of how many it takes."""
    service = LimitedService(AdaptiveConcurrency(64), 64, refused_ratio=0.01)
    limits = service.rounds(1_000)
    assert sum(limits) / len(limits) > 24
    assert min(limits) > 8
