"""Promises held against numbers."""

from __future__ import annotations

from benchmarks.promises import check_promises


def test_a_number_is_held_against_its_bound() -> None:
    """At least and at most are told apart, and the bound itself is kept."""
    measured = {
        "rows/s x script at 32, 20 KB raw": 1.0,
        "rows/s x script at 32, 20 KB raw, pinned": 0.99,
        "CPU x script at 32, 20 KB raw": 1.41,
        "CPU x script at 32, 200 KB base64": 0.75,
        "429": 0,
        "goodput": 0.97,
    }
    verdicts = {row[0]: row[3] for row in check_promises(measured).rows}
    assert verdicts == {
        "rows/s x script at 32, 20 KB raw": "yes",
        "rows/s x script at 32, 20 KB raw, pinned": "NO",
        "CPU x script at 32, 20 KB raw": "NO",
        "CPU x script at 32, 200 KB base64": "yes",
        "429": "yes",
        "goodput": "NO",
    }


def test_processor_time_stands_first() -> None:
    """Whatever the order of the measurements: rows per second say little on a fast machine."""
    measured = {"goodput": 1.0, "rows/s x script at 32, 20 KB raw": 1.0, "CPU x script at 32, 20 KB raw": 1.0}
    assert str(check_promises(measured).rows[0][0]).startswith("CPU")


def test_what_nothing_is_promised_of_is_not_judged() -> None:
    """Only at 256 in flight something is promised beside openai."""
    assert not check_promises({"rows/s x openai at 32, 20 KB": 0.1}).rows
