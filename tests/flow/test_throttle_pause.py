"""The pause after a 429, with times passed in."""

from __future__ import annotations

import pytest

from tts_pipeline.flow.throttle_pause import ThrottlePause


def test_the_service_says_how_long() -> None:
    """``Retry-After`` is used unchanged."""
    pause = ThrottlePause()
    assert pause.on_throttle(10.0, sent_at_s=9.0, retry_after_s=7.0) == 7.0
    assert (pause.delay_s(10.0), pause.delay_s(17.0)) == (7.0, 0.0)


def test_without_retry_after_pauses_double_while_nothing_succeeds() -> None:
    """0.5 s, 1 s, 2 s, ... for attempts that were sent after the last pause."""
    pause, now_s, pauses_s = ThrottlePause(), 10.0, []
    for _ in range(5):
        pauses_s.append(pause.on_throttle(now_s, sent_at_s=now_s, retry_after_s=None))
        now_s += pauses_s[-1]
    assert pauses_s == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_success_after_the_pause_makes_the_next_one_short_again() -> None:
    """But not the success of an earlier attempt: it does not show whether the pause was long enough."""
    pause = ThrottlePause()
    pause.on_throttle(10.0, sent_at_s=9.0, retry_after_s=None)
    pause.on_success(9.5)
    assert pause.on_throttle(11.0, sent_at_s=10.5, retry_after_s=None) == 1.0
    pause.on_success(12.0)
    assert pause.on_throttle(13.0, sent_at_s=12.5, retry_after_s=None) == 0.5


def test_a_success_between_two_pauses_counts_also_when_it_arrives_in_the_second() -> None:
    """A service that takes one attempt of a burst and refuses the others gets no ever longer pauses."""
    pause, now_s, pauses_s = ThrottlePause(), 10.0, []
    for _ in range(5):
        pauses_s.append(pause.on_throttle(now_s, sent_at_s=now_s - 0.01, retry_after_s=None))
        pause.on_success(now_s - 0.01)
        now_s += pauses_s[-1] + 0.01
    assert pauses_s == [0.5, 1.0, 0.5, 0.5, 0.5]


def test_many_429_inside_one_pause_count_once() -> None:
    """All attempts that were in flight when it began bring the same news."""
    pause = ThrottlePause()
    pause.on_throttle(10.0, sent_at_s=9.0, retry_after_s=None)
    assert [pause.on_throttle(10.1, sent_at_s=9.1, retry_after_s=None) for _ in range(50)] == [0.0] * 50
    assert pause.delay_s(10.1) == pytest.approx(0.4)
    assert pause.on_throttle(20.0, sent_at_s=19.0, retry_after_s=None) == 1.0


def test_a_longer_retry_after_inside_a_pause_extends_it() -> None:
    """A shorter one does not shorten it."""
    pause = ThrottlePause()
    pause.on_throttle(10.0, sent_at_s=9.0, retry_after_s=5.0)
    pause.on_throttle(11.0, sent_at_s=9.0, retry_after_s=20.0)
    pause.on_throttle(12.0, sent_at_s=9.0, retry_after_s=1.0)
    assert pause.delay_s(12.0) == 19.0


def test_a_retry_after_of_nothing_is_no_busy_loop() -> None:
    """0 s counts as no value."""
    assert ThrottlePause().on_throttle(10.0, sent_at_s=9.0, retry_after_s=0.0) == 0.5
