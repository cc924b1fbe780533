from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.job.turns import Turns


def _turns(*entered: str) -> Turns[str]:
    turns: Turns[str] = Turns()
    for work in entered:
        turns.enter(1, work)
    return turns


def test_the_first_goes_ahead_and_equal_ones_wait() -> None:
    """Others of another number are not concerned."""
    turns: Turns[str] = Turns()
    assert [turns.enter(1, "a"), turns.enter(1, "b"), turns.enter(2, "c"), turns.enter(1, "d")] == [
        *(True, False, True, False)
    ]


def test_one_success_serves_all_that_wait() -> None:
    """They need no turn of their own, and nothing is remembered of them."""
    turns = _turns("a", "b", "c")
    assert turns.leave(1, bought=True) == (["b", "c"], [])
    assert not turns
    assert turns.enter(1, "d")


def test_after_a_failure_the_next_one_goes_then_two_then_four() -> None:
    """So that rejects of one text do not come one after the other, and a success serves the rest."""
    turns = _turns(*"abcdefghijkl")
    assert turns.leave(1, bought=False) == ([], ["b"])
    assert turns.leave(1, bought=False) == ([], ["c", "d"])
    assert turns.leave(1, bought=False) == ([], [])
    assert turns.leave(1, bought=False) == ([], ["e", "f", "g", "h"])
    assert turns.leave(1, bought=True) == (["i", "j", "k", "l"], [])
    assert [turns.leave(1, bought=False) for _ in range(3)] == [([], [])] * 3
    assert not turns


def test_who_comes_while_others_buy_waits_for_them() -> None:
    """Also after one of them has succeeded: then it waits for the others' end, which cannot be long."""
    turns = _turns("a", "b", "c", "d")
    turns.leave(1, bought=False)
    turns.leave(1, bought=False)  # now c and d buy
    assert turns.leave(1, bought=True) == ([], [])
    assert not turns.enter(1, "e")
    assert turns.leave(1, bought=False) == ([], ["e"])
    assert turns.leave(1, bought=True) == ([], [])
    assert not turns


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=200))
def test_every_work_goes_exactly_once(steps: list[tuple[int, bool, bool]]) -> None:
    """In any order of coming and ending: none is lost, none goes twice, and in the end nothing is remembered."""
    turns: Turns[int] = Turns()
    buying: list[tuple[int, int]] = []
    entered: list[int] = []
    gone: list[int] = []

    def leave(number: int, *, bought: bool) -> None:
        served, buyers = turns.leave(number, bought=bought)
        gone.extend([*served, *buyers])
        buying.extend((number, work) for work in buyers)

    for work, (number, comes, bought) in enumerate(steps):
        if comes or not buying:
            entered.append(work)
            if turns.enter(number, work):
                buying.append((number, work))
                gone.append(work)
        else:
            leave(buying.pop(0)[0], bought=bought)
    while buying:
        leave(buying.pop(0)[0], bought=False)
    assert sorted(gone) == entered
    assert not turns
