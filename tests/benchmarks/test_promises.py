"""Promises held against numbers."""

from __future__ import annotations

from benchmarks.promises import check_promises


def test_a_number_is_held_against_its_bound() -> None:
    """At least and at most are told apart, and the bound itself is kept."""
    measured = {
        "rows/s x script at 32, 20 KB": 1.0,
        "CPU x script at 32, 20 KB": 1.61,
        "429": 0,
        "goodput": 0.97,
    }
    verdicts = {row[0]: row[3] for row in check_promises(measured).rows}
    assert verdicts == {
        "rows/s x script at 32, 20 KB": "yes",
        "CPU x script at 32, 20 KB": "NO",
        "429": "yes",
        "goodput": "NO",
    }


def test_what_nothing_is_promised_of_is_not_judged() -> None:
    """Only at 256 in flight something is promised beside openai."""
    assert not check_promises({"rows/s x openai at 32, 20 KB": 0.1}).rows
