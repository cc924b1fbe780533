"""What a person is told of the service's troubles."""

from __future__ import annotations

import pytest

from tts_pipeline.client.herald import Herald


def told(herald: Herald) -> list[str]:
    """Return the lines since the last look."""
    lines = list(herald.lines)
    herald.lines.clear()
    return lines


def test_a_long_pause_is_told_when_it_begins_and_when_it_ends() -> None:
    """How long nothing is sent, and that it goes on; the many requests that were in flight tell it once."""
    herald = Herald(900)
    for each in range(64):
        herald.paused(100.0 + each / 1000, 20.0)
    assert told(herald) == ["the service throttles (429): nothing is sent for 20 s, then the run goes on"]
    herald.sent(119.0)
    assert told(herald) == []
    herald.sent(120.1)
    herald.sent(120.2)
    assert told(herald) == ["the pause is over: the run goes on"]


def test_a_pause_that_is_made_longer_is_told_again() -> None:
    """What was said before is no longer true."""
    herald = Herald(900)
    herald.paused(100.0, 20.0)
    herald.paused(101.0, 600.0)
    assert [line.split("for ")[1][:5] for line in told(herald)] == ["20 s,", "600 s"]
    herald.sent(130.0)
    assert told(herald) == []


def test_short_pauses_are_told_once_a_minute() -> None:
    """A service that throttles again and again does not fill the log."""
    herald = Herald(900)
    for second in range(150):
        herald.paused(float(second), 0.5)
        herald.sent(second + 0.6)
    assert len(told(herald)) == 3


def test_an_outage_is_told_when_it_lasts_and_when_it_ends() -> None:
    """Once each, with what is met, what is done about it, and how long it took."""
    herald = Herald(900)
    for lasted_s in (0.5, 2.0, 5.0, 30.0):
        herald.down(lasted_s, "HTTP 503")
    (line,) = told(herald)
    assert line == (
        "the service is not usable (HTTP 503): only single requests are sent until one succeeds, for 900 s at most"
    )
    herald.back(31.4)
    herald.back(0.0)
    assert told(herald) == ["the service is usable again after 31 s: the run goes on in full"]


@pytest.mark.parametrize("lasted_s", [0.0, 1.9])
def test_a_short_outage_is_not_told(lasted_s: float) -> None:
    """It is over before anybody has read of it."""
    herald = Herald(900)
    herald.down(lasted_s, "HTTP 500")
    herald.back(lasted_s)
    assert told(herald) == []
