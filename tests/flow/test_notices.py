"""The messages about the service's troubles."""

from __future__ import annotations

import pytest

from tts_pipeline.flow.notices import Notices


def take_messages(notices: Notices) -> list[str]:
    """Return the messages since the last call."""
    messages = list(notices.messages)
    notices.messages.clear()
    return messages


def test_a_long_pause_is_told_when_it_begins_and_when_it_ends() -> None:
    """With its length, and that the run goes on; the many requests in flight cause one message."""
    notices = Notices(900)
    for each in range(64):
        notices.on_pause(100.0 + each / 1000, 20.0)
    assert take_messages(notices) == ["the service throttles (429): nothing is sent for 20 s, then the run goes on"]
    notices.on_sent(119.0)
    assert take_messages(notices) == []
    notices.on_sent(120.1)
    notices.on_sent(120.2)
    assert take_messages(notices) == ["the pause is over: the run goes on"]


def test_a_pause_that_is_made_longer_is_told_again() -> None:
    """The earlier message is no longer true."""
    notices = Notices(900)
    notices.on_pause(100.0, 20.0)
    notices.on_pause(101.0, 600.0)
    assert [line.split("for ")[1][:5] for line in take_messages(notices)] == ["20 s,", "600 s"]
    notices.on_sent(130.0)
    assert take_messages(notices) == []


def test_short_pauses_are_told_once_a_minute() -> None:
    """A service that throttles again and again does not fill the log."""
    notices = Notices(900)
    for second in range(150):
        notices.on_pause(float(second), 0.5)
        notices.on_sent(second + 0.6)
    assert len(take_messages(notices)) == 3


def test_an_outage_is_told_when_it_lasts_and_when_it_ends() -> None:
    """Once each, with the failure, the reaction of the run, and the duration."""
    notices = Notices(900)
    for lasted_s in (0.5, 2.0, 5.0, 30.0):
        notices.on_outage(lasted_s, "HTTP 503")
    (line,) = take_messages(notices)
    assert line == (
        "the service is not usable (HTTP 503): only single requests are sent until one succeeds, for 900 s at most"
    )
    notices.on_recovery(31.4)
    notices.on_recovery(0.0)
    assert take_messages(notices) == ["the service is usable again after 31 s: the run goes on in full"]


@pytest.mark.parametrize("lasted_s", [0.0, 1.9])
def test_a_short_outage_is_not_told(lasted_s: float) -> None:
    """It is over before anybody reads its notice."""
    notices = Notices(900)
    notices.on_outage(lasted_s, "HTTP 500")
    notices.on_recovery(lasted_s)
    assert take_messages(notices) == []
