"""One clock gives each slot away once, evenly spaced, whoever takes it; it pauses for all, and learns the rate."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.postgres import AccountDatabase
from tts_pipeline.account.identity import Account
from tts_pipeline.account.rate_clock import (
    HORIZON_US,
    MAX_PAUSE_US,
    MAX_SLOWDOWN,
    MIN_PAUSE_US,
    RateClock,
    load,
    store,
)
from tts_pipeline.account.schema import migrate

_INTERVAL_US = 50_000
_NOW_US = 1_800_000_000_000_000


def _take(clock: RateClock, now_us: int, count: int = 1, lead_us: int = 0) -> list[int]:
    return list(clock.take(now_us, count=count, interval_us=_INTERVAL_US, lead_us=lead_us))


def _throttle(clock: RateClock, now_us: int, *, sent_us: int, retry_after_us: int | None = None) -> None:
    clock.throttle(now_us, sent_us=sent_us, retry_after_us=retry_after_us, interval_us=_INTERVAL_US)


@given(
    st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 40), st.integers(0, 250_000)), min_size=1, max_size=60)
)
def test_slots_are_evenly_spaced_and_none_is_given_twice(takes: list[tuple[int, int, int]]) -> None:
    """Whatever workers ask, when, and for how many: two slots are an interval apart at least, and none is past."""
    clock, now_us, slots = RateClock(), _NOW_US, list[int]()
    for passed_us, count, lead_us in takes:
        now_us += passed_us
        bunch = _take(clock, now_us, count, lead_us)
        assert len(bunch) in (0, count)
        assert all(slot_us >= now_us + lead_us for slot_us in bunch[:1])
        slots += bunch
    gaps_us = [later - earlier for earlier, later in itertools.pairwise(slots)]
    assert all(gap_us >= _INTERVAL_US for gap_us in gaps_us)
    assert clock.slots == len(slots)


def test_workers_that_ask_all_the_time_get_every_slot() -> None:
    """No time between two slots is lost while somebody asks: the permitted rate is used in full."""
    clock, slots = RateClock(), list[int]()
    for number in range(1_000):
        slots += _take(clock, _NOW_US + number * 10_000, 1 + number % 3)
    assert slots == list(range(slots[0], slots[-1] + 1, _INTERVAL_US))
    assert slots[-1] >= _NOW_US + 10_000_000


def test_slots_are_given_away_for_a_moment_ahead() -> None:
    """So that whoever dies takes no more along; ``next_try_us`` tells when there are more."""
    clock = RateClock()
    while _take(clock, _NOW_US):
        pass
    assert HORIZON_US < clock.next_slot_us - _NOW_US <= HORIZON_US + _INTERVAL_US
    next_us = clock.next_try_us(_NOW_US)
    assert not _take(clock, next_us - 1)
    assert _take(clock, next_us)


def test_unused_time_is_not_saved_up() -> None:
    """After an hour of silence the first slot is now, and the second an interval later."""
    clock = RateClock()
    _take(clock, _NOW_US)
    later_us = _NOW_US + 3_600_000_000
    assert _take(clock, later_us, 2) == [later_us, later_us + _INTERVAL_US]


def test_a_429_pauses_all_once() -> None:
    """Those of requests that left before it tell nothing new; one of a later request doubles the pause."""
    clock = RateClock()
    for sent_us in range(_NOW_US - 20_000, _NOW_US, 1_000):
        _throttle(clock, _NOW_US, sent_us=sent_us)
    assert (clock.throttles, clock.slowdown, clock.pause_us) == (20, 300, _INTERVAL_US)
    assert not _take(clock, clock.pause_until_us - 1)
    first_us = clock.pause_until_us
    assert _take(clock, first_us) == [first_us]
    _throttle(clock, first_us + 1_000, sent_us=first_us)
    assert clock.pause_us == 2 * _INTERVAL_US
    assert clock.next_try_us(first_us) == first_us + 1_000 + 2 * _INTERVAL_US


def test_a_pause_that_the_service_names_holds() -> None:
    """And says nothing of the rate; the longest of several counts, up to a day."""
    clock = RateClock()
    for retry_after_us in (2_000_000, 9_000_000, 1_000_000):
        _throttle(clock, _NOW_US, sent_us=_NOW_US - 1, retry_after_us=retry_after_us)
    assert (clock.pause_until_us, clock.slowdown) == (_NOW_US + 9_000_000, 0)
    assert not _take(clock, _NOW_US + 8_999_999)
    _throttle(clock, _NOW_US, sent_us=_NOW_US - 1, retry_after_us=100 * MAX_PAUSE_US)
    assert clock.pause_until_us == _NOW_US + MAX_PAUSE_US


def test_a_429_of_an_account_without_a_rate_pauses_too() -> None:
    """Half a second at first."""
    clock = RateClock()
    clock.throttle(_NOW_US, sent_us=_NOW_US, retry_after_us=None, interval_us=None)
    assert clock.pause_until_us == _NOW_US + MIN_PAUSE_US


def test_a_success_ends_the_doubling() -> None:
    """Of a request that left after the pause began; an earlier one says nothing."""
    clock = RateClock()
    _throttle(clock, _NOW_US, sent_us=_NOW_US)
    clock.on_success(sent_us=_NOW_US - 1)
    assert clock.pause_us == _INTERVAL_US
    clock.on_success(sent_us=_NOW_US + 1)
    assert clock.pause_us == 0
    _throttle(clock, clock.pause_until_us + 1, sent_us=clock.pause_until_us)
    assert clock.pause_us == _INTERVAL_US


def test_a_429_of_a_slot_from_before_the_pause_is_no_news() -> None:
    """Whoever had it may have sent within the pause, which is not longer for that."""
    clock = RateClock()
    _throttle(clock, _NOW_US, sent_us=_NOW_US)
    pause_until_us = clock.pause_until_us
    _throttle(clock, _NOW_US + 2, sent_us=_NOW_US + 1)
    assert (clock.pause_until_us, clock.pause_us, clock.slowdown) == (pause_until_us, _INTERVAL_US, 300)


def test_the_rate_learns_and_recovers() -> None:
    """The first 429 takes 3 % of the rate, each further one 1 %, up to 25 %; each slot gives 0.01 % back."""
    clock, now_us, intervals_us = RateClock(), _NOW_US, list[int]()
    for _ in range(30):
        now_us = clock.pause_until_us = max(clock.pause_until_us, now_us)
        _throttle(clock, now_us, sent_us=now_us)
        clock.on_success(sent_us=now_us)
        intervals_us.append(clock.interval_us(_INTERVAL_US))
    assert intervals_us[:3] == [51_500, 52_000, 52_500]
    assert intervals_us[-1] == 62_500
    assert clock.slowdown == MAX_SLOWDOWN
    first, second = clock.take(clock.pause_until_us, count=100, interval_us=_INTERVAL_US, lead_us=0)[:2]
    assert second - first == 62_500
    assert clock.interval_us(_INTERVAL_US) == 62_000


def test_a_slow_rate_recovers_with_time() -> None:
    """By 1 % each 10 s without a 429, back to the full rate."""
    clock, intervals_us = RateClock(), list[int]()
    _throttle(clock, _NOW_US, sent_us=_NOW_US)
    for number in range(10):
        clock.recover(_NOW_US + number * 5_000_000)
        intervals_us.append(clock.interval_us(_INTERVAL_US))
    assert intervals_us == [51_500, 51_500, 51_000, 51_000, 50_500, 50_500, *[50_000] * 4]


@pytest.mark.parametrize("back_us", [1_000, 61_000_000, 3_600_000_000])
def test_a_clock_that_was_set_back_stops_nobody(back_us: int) -> None:
    """What was ahead is as far ahead afterwards: slots that were given are not given again."""
    clock = RateClock()
    clock.look(_NOW_US)
    _take(clock, _NOW_US, 4)
    clock.look(_NOW_US - back_us)
    assert _take(clock, _NOW_US - back_us) == [_NOW_US - back_us + 4 * _INTERVAL_US]


@pytest.mark.parametrize("interval_us", [60_000_000, 61_800_000, 3_600_000_000])
def test_one_request_a_minute_or_an_hour(interval_us: int) -> None:
    """However far ahead the next slot is, nobody gets another one before it."""
    clock, slots = RateClock(), list[int]()
    for second in range(7_201):
        now_us = _NOW_US + second * 1_000_000
        clock.look(now_us)
        slots += clock.take(now_us, count=1, interval_us=interval_us, lead_us=0)
    assert len(slots) == 7_200_000_000 // interval_us + 1


def test_a_long_pause_is_no_clock_that_was_set_back() -> None:
    """Its first slot lies hours ahead, as the service asked."""
    clock = RateClock()
    _throttle(clock, _NOW_US, sent_us=_NOW_US, retry_after_us=7_200_000_000)
    assert not _take(clock, _NOW_US + 1)
    assert _take(clock, _NOW_US + 7_200_000_000) == [_NOW_US + 7_200_000_000]


def test_each_account_has_its_clock(account_database: AccountDatabase) -> None:
    """It is kept as it was, and another model's is another one."""
    database, account = account_database(), Account("s", "a'; --", "m")
    migrate(database)
    clock = RateClock(*range(1, 10))
    with database.transaction() as transaction:
        assert load(transaction, account) == RateClock()
        store(transaction, account, clock)
        assert load(transaction, Account("s", "a'; --", "n")) == RateClock()
    with account_database().transaction() as transaction:
        assert load(transaction, account) == clock
