from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.flow.single_flight import SingleFlight


def _flights_of(*entered: str) -> SingleFlight[str]:
    flights: SingleFlight[str] = SingleFlight()
    for item in entered:
        flights.enter(1, item)
    return flights


def test_the_first_goes_ahead_and_equal_ones_wait() -> None:
    """Items with another key are not affected."""
    flights: SingleFlight[str] = SingleFlight()
    assert [flights.enter(1, "a"), flights.enter(1, "b"), flights.enter(2, "c"), flights.enter(1, "d")] == [
        *(True, False, True, False)
    ]


def test_one_success_serves_all_that_wait() -> None:
    """Waiting items need no turn of their own, and nothing is remembered of them."""
    flights = _flights_of("a", "b", "c")
    assert flights.leave(1, is_bought=True) == (["b", "c"], [])
    assert not flights
    assert flights.enter(1, "d")


def test_after_a_failure_the_next_one_goes_then_two_then_four() -> None:
    """So that rejects of one text do not come one by one, and one success serves the rest."""
    flights = _flights_of(*"abcdefghijkl")
    assert flights.leave(1, is_bought=False) == ([], ["b"])
    assert flights.leave(1, is_bought=False) == ([], ["c", "d"])
    assert flights.leave(1, is_bought=False) == ([], [])
    assert flights.leave(1, is_bought=False) == ([], ["e", "f", "g", "h"])
    assert flights.leave(1, is_bought=True) == (["i", "j", "k", "l"], [])
    assert [flights.leave(1, is_bought=False) for _ in range(3)] == [([], [])] * 3
    assert not flights


def test_who_comes_while_others_buy_waits_for_them() -> None:
    """Even after one of them has succeeded: it then waits for the end of the others, which is near."""
    flights = _flights_of("a", "b", "c", "d")
    flights.leave(1, is_bought=False)
    flights.leave(1, is_bought=False)  # now c and d buy
    assert flights.leave(1, is_bought=True) == ([], [])
    assert not flights.enter(1, "e")
    assert flights.leave(1, is_bought=False) == ([], ["e"])
    assert flights.leave(1, is_bought=True) == ([], [])
    assert not flights


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=200))
def test_every_work_goes_exactly_once(steps: list[tuple[int, bool, bool]]) -> None:
    """In any order of entering and leaving: no item is lost or goes twice, and nothing is remembered in the end."""
    flights: SingleFlight[int] = SingleFlight()
    buying: list[tuple[int, int]] = []
    entered: list[int] = []
    gone: list[int] = []

    def leave(number: int, *, bought: bool) -> None:
        served, buyers = flights.leave(number, is_bought=bought)
        gone.extend([*served, *buyers])
        buying.extend((number, item) for item in buyers)

    for item, (number, comes, bought) in enumerate(steps):
        if comes or not buying:
            entered.append(item)
            if flights.enter(number, item):
                buying.append((number, item))
                gone.append(item)
        else:
            leave(buying.pop(0)[0], bought=bought)
    while buying:
        leave(buying.pop(0)[0], bought=False)
    assert sorted(gone) == entered
    assert not flights
