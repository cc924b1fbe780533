"""The detection of an outage, in given times."""

from __future__ import annotations

import pytest

from tts_pipeline.client.outage import Outage
from tts_pipeline.client.row import Row


def failing(outage: Outage, rows: list[Row], *, at_s: float = 10.0, was_sent: bool = True) -> None:
    for row in rows:
        outage.failed(row, at_s, was_sent=was_sent)


def rows(count: int) -> list[Row]:
    return [Row() for _ in range(count)]


@pytest.mark.parametrize(("max_concurrency", "needed"), [(1, 5), (16, 5), (64, 8), (256, 32)])
def test_it_takes_failures_of_many_different_rows(max_concurrency: int, needed: int) -> None:
    """Five, or an eighth of the concurrency."""
    outage = Outage(max_concurrency)
    failing(outage, rows(needed - 1))
    assert not outage.is_open
    failing(outage, rows(1))
    assert outage.is_open


def test_one_rows_failures_are_no_outage() -> None:
    """However often it fails."""
    outage = Outage(16)
    failing(outage, rows(1) * 50)
    assert not outage.is_open


def test_a_success_in_between_ends_the_streak() -> None:
    """Scattered failures are the rows' own."""
    outage, failed = Outage(16), rows(8)
    failing(outage, failed[:4])
    outage.succeeded(11.0, sent_at_s=5.0)
    failing(outage, failed[4:])
    assert not outage.is_open
    assert [outage.own_failures(row) for row in failed] == [1] * 8


def test_failures_of_an_outage_are_not_the_rows() -> None:
    """Those that led to it are forgiven, those during it not counted; earlier ones stay."""
    outage, failed = Outage(16), rows(5)
    failing(outage, failed[:1])
    outage.succeeded(10.0, sent_at_s=10.0)
    failing(outage, failed)
    failing(outage, failed)
    assert [outage.own_failures(row) for row in failed] == [1, 0, 0, 0, 0]


def test_what_was_never_sent_is_never_the_rows_failure() -> None:
    """A refused connection says nothing about a text; a few of them, even of one row, are an outage."""
    outage, (row,) = Outage(16), rows(1)
    failing(outage, [row] * 5, was_sent=False)
    assert outage.is_open
    assert outage.own_failures(row) == 0


def test_probes_follow_at_growing_intervals_of_three_seconds_at_most() -> None:
    """In an outage of 30 s few requests are sent, and its end is noticed within 3 s."""
    outage, now_s, intervals = Outage(16), 10.0, []
    failing(outage, rows(5))
    for _ in range(8):
        intervals.append(outage.delay_s(now_s))
        now_s += intervals[-1]
        outage.sent(now_s)
    assert intervals == [0.25, 0.25, 0.5, 1.0, 2.0, 3.0, 3.0, 3.0]


def test_a_probe_that_succeeds_ends_the_outage() -> None:
    """At once, and for everybody; the next streak begins from nothing."""
    outage = Outage(16)
    failing(outage, rows(5))
    outage.succeeded(12.0, sent_at_s=11.0)
    assert (outage.is_open, outage.delay_s(12.0), outage.lasted_s(12.0)) == (False, 0.0, 0.0)
    failing(outage, rows(4))
    assert not outage.is_open


def test_a_late_answer_from_before_the_trouble_allows_one_more_probe() -> None:
    """It does not prove that the service is back, so the rest goes on waiting."""
    outage = Outage(16)
    failing(outage, rows(5))
    outage.succeeded(10.1, sent_at_s=9.0)
    assert outage.is_open
    assert outage.delay_s(10.1) == 0.0
    outage.sent(10.1)
    assert outage.delay_s(10.1) > 0.0


def test_an_outage_lasts_since_its_first_failure() -> None:
    """Not since it was recognised."""
    outage = Outage(16)
    failing(outage, rows(1), at_s=10.0)
    assert outage.lasted_s(20.0) == 0.0
    failing(outage, rows(4), at_s=20.0)
    assert outage.lasted_s(30.0) == 20.0


def test_failures_that_others_contradict_are_remembered() -> None:
    """By the streak, however often the row failed in it; also in an outage, and only once a success has ended it."""
    outage, failed = Outage(16), rows(5)
    failing(outage, failed * 3)
    assert [outage.contradicted(row) for row in failed] == [0] * 5
    outage.succeeded(11.0, sent_at_s=11.0)
    failing(outage, failed[:1])
    assert [outage.contradicted(row) for row in failed] == [1] * 5
    outage.succeeded(12.0, sent_at_s=12.0)
    assert [outage.contradicted(row) for row in failed] == [2, 1, 1, 1, 1]
    failed[0].begin(5)
    assert outage.contradicted(failed[0]) == 0
