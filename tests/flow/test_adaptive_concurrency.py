"""The limit of attempts in flight adapts to a service of fixed capacity."""

from __future__ import annotations

from random import Random

import pytest

from tts_pipeline.flow.adaptive_concurrency import AdaptiveConcurrency


class LimitedService:
    """A service that takes ``capacity`` requests at a time, refuses the others, and now and then one for no reason.

    Requests go out in rounds of the present limit.
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
    """The limit is the maximum from the first request on."""
    assert set(LimitedService(AdaptiveConcurrency(64), 64).rounds(100)) == {64}


def test_it_settles_at_what_the_service_takes() -> None:
    """The limit falls within a few pauses, stays there, and seldom tries more."""
    service = LimitedService(AdaptiveConcurrency(64), 8)
    assert service.rounds(5)[-1] <= 9
    service.refused = 0
    rounds = service.rounds(500)
    assert set(rounds) == {8, 9}
    assert service.refused <= 20


def test_one_pause_halves_it_at_most() -> None:
    """However many attempts of a burst are refused: the pause may have been enough for the service."""
    concurrency = AdaptiveConcurrency(64)
    for number in range(64):
        concurrency.on_throttle(is_new=number == 0)
    assert concurrency.limit == 32


def test_one_refused_is_one_too_many() -> None:
    """If nearly all attempts were taken, the limit falls by the number of refused ones."""
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
    """The limit recovers after a bad moment of the service, up to the maximum and no further."""
    service = LimitedService(AdaptiveConcurrency(64), 8)
    service.rounds(300)
    service.capacity = most
    limits = service.rounds(500)
    assert limits[-1] in {most, most + 1}
    assert max(limits) <= 64


def test_a_service_that_refuses_now_and_then_is_still_used() -> None:
    """One refusal in a hundred at any concurrency says nothing about the capacity."""
    service = LimitedService(AdaptiveConcurrency(64), 64, refused_ratio=0.01)
    limits = service.rounds(1_000)
    assert sum(limits) / len(limits) > 24
    assert min(limits) > 8
