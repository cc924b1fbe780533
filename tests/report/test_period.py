"""The period of a report: a month, days and instants of a time zone, clock changes included."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.report.period import ReportPeriod, When, read_period


@pytest.mark.parametrize(
    ("month", "zone", "since", "until"),
    [
        ("2026-11", "UTC", "2026-11-01T00:00", "2026-12-01T00:00"),
        ("2026-12", "Asia/Shanghai", "2026-11-30T16:00", "2026-12-31T16:00"),
        ("2026-03", "Europe/Berlin", "2026-02-28T23:00", "2026-03-31T22:00"),  # begins in winter, ends in summer
        ("2024-02", "Asia/Kathmandu", "2024-01-31T18:15", "2024-02-29T18:15"),
    ],
)
def test_a_month_is_of_its_time_zone(month: str, zone: str, since: str, until: str) -> None:
    """It begins at the first midnight there, and ends at the first midnight of the next one."""
    period = read_period(month=month, timezone=zone)
    assert period.since == datetime.fromisoformat(since).replace(tzinfo=UTC)
    assert period.until == datetime.fromisoformat(until).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "at"),
    [
        ("2026-11-30", "2026-11-29T16:00"),
        (date(2026, 11, 30), "2026-11-29T16:00"),
        ("2026-11-30T08:30", "2026-11-30T00:30"),
        ("2026-11-30T08:30Z", "2026-11-30T08:30"),
        (datetime(2026, 11, 30, 8, tzinfo=timezone(timedelta(hours=1))), "2026-11-30T07:00"),
        (datetime(2026, 11, 30, 8), "2026-11-30T00:00"),
    ],
)
def test_days_and_instants_are_of_the_time_zone(when: When, at: str) -> None:
    """Unless an instant has an offset of its own."""
    expected = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert read_period(since=when, timezone="Asia/Shanghai") == ReportPeriod(expected, None, "Asia/Shanghai")
    assert read_period(until=when, timezone="Asia/Shanghai") == ReportPeriod(None, expected, "Asia/Shanghai")


def test_a_day_that_begins_without_midnight_begins_with_the_change_of_clocks() -> None:
    """Beirut's clocks jumped from 0:00 to 1:00 on 2026-03-29: the day has 23 hours."""
    period = read_period(since="2026-03-29", until="2026-03-30", timezone="Asia/Beirut")
    assert period.since is not None
    assert period.until is not None
    assert period.until - period.since == timedelta(hours=23)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"month": "2026-13"}, "'2026-13' is no month.*01 to 12"),
        ({"month": "2026-00"}, "'2026-00' is no month"),
        ({"month": "0000-01"}, "'0000-01' is no month"),
        ({"month": "November"}, "'November' is no month"),
        ({"month": "2026-1"}, "'2026-1' is no month"),
        ({"month": "9999-12"}, "beyond the calendar"),
        ({"since": "9999-12-31T23:30", "timezone": "America/New_York"}, "9999-12 is beyond the calendar"),
        ({"month": "2026-11", "since": "2026-11-01"}, "a month has its own beginning"),
        ({"since": "2026-02-30"}, "from '2026-02-30' is no day"),
        ({"until": "yesterday"}, "until 'yesterday' is no day"),
        ({"since": "2026-11-02", "until": "2026-11-01"}, "from 2026-11-02 until 2026-11-01 is empty"),
        ({"since": "2026-11-02", "until": "2026-11-02"}, "is empty.*first day that does not count"),
        ({"timezone": "Asia/Shangai"}, "no time zone 'Asia/Shangai'.*Did you mean 'Asia/Shanghai'"),
        ({"timezone": ""}, "no time zone ''"),
    ],
)
def test_what_is_no_period_is_told(arguments: dict[str, str], message: str) -> None:
    """With what it should be."""
    with pytest.raises(ConfigurationError, match=message):
        read_period(**arguments)


def test_a_period_begins_with_its_first_instant_and_ends_before_its_last() -> None:
    """So that periods side by side count each request once."""
    rows = pl.LazyFrame({"started_at": [datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2, 3)]})
    parts = [
        read_period(until="2026-11-02"),
        read_period(since="2026-11-02", until="2026-11-03"),
        read_period(since="2026-11-03"),
    ]
    assert [period.select(rows).collect().height for period in parts] == [1, 1, 1]
    assert read_period().select(rows).collect().height == 3


def test_a_period_says_its_bounds_in_its_time_zone() -> None:
    """As they were given."""
    assert str(read_period(month="2026-11", timezone="Asia/Shanghai")) == (
        "from 2026-11-01 00:00 until 2026-12-01 00:00 (Asia/Shanghai)"
    )
    assert str(read_period(since="2026-11-01")) == "from 2026-11-01 00:00 (UTC)"
    assert str(read_period()) == ""
