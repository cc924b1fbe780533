"""Days and months of a budget: every instant is in exactly one, in every time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.periods import Period, PeriodKind, check_timezone, period_of, run_id

INSTANTS = st.datetimes(datetime(1972, 1, 2), datetime(2037, 12, 30), timezones=st.just(UTC))
ZONES = st.sampled_from(sorted(available_timezones()))


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _period(key: str, start: str, end: str) -> Period:
    return Period(key, _at(start), _at(end))


@pytest.mark.parametrize(
    ("kind", "timezone", "at", "period"),
    [
        ("day", "UTC", "2026-11-30 23:59:59", _period("2026-11-30", "2026-11-30 00:00", "2026-12-01 00:00")),
        ("day", "Asia/Shanghai", "2026-11-30 16:00", _period("2026-12-01", "2026-11-30 16:00", "2026-12-01 16:00")),
        ("month", "Asia/Shanghai", "2026-11-30 15:59:59", _period("2026-11", "2026-10-31 16:00", "2026-11-30 16:00")),
        ("month", "Asia/Shanghai", "2026-12-31 16:00", _period("2027-01", "2026-12-31 16:00", "2027-01-31 16:00")),
        # 23 and 25 hours
        ("day", "Europe/Berlin", "2026-03-29 12:00", _period("2026-03-29", "2026-03-28 23:00", "2026-03-29 22:00")),
        ("day", "Europe/Berlin", "2026-10-25 12:00", _period("2026-10-25", "2026-10-24 22:00", "2026-10-25 23:00")),
        ("month", "Europe/Berlin", "2026-03-31 22:30", _period("2026-04", "2026-03-31 22:00", "2026-04-30 22:00")),
        # midnight does not exist: the day begins when the clocks change; and midnight comes twice
        ("day", "America/Sao_Paulo", "2018-11-04 03:00", _period("2018-11-04", "2018-11-04 03:00", "2018-11-05 02:00")),
        ("day", "America/Havana", "2026-11-01 05:30", _period("2026-11-01", "2026-11-01 04:00", "2026-11-02 05:00")),
        # the date steps back after 00:01: the new day goes on
        ("day", "America/St_Johns", "2006-10-29 03:00", _period("2006-10-29", "2006-10-29 02:30", "2006-10-30 03:30")),
        # a day that was skipped, and a zone that ended its summer time
        ("day", "Pacific/Apia", "2011-12-30 10:00", _period("2011-12-31", "2011-12-30 10:00", "2011-12-31 10:00")),
        (
            "month",
            "America/Mexico_City",
            "2023-07-01 05:59",
            _period("2023-06", "2023-06-01 06:00", "2023-07-01 06:00"),
        ),
        (
            "month",
            "America/Mexico_City",
            "2022-07-01 05:00",
            _period("2022-07", "2022-07-01 05:00", "2022-08-01 05:00"),
        ),
    ],
)
def test_a_day_and_a_month_are_of_a_time_zone(kind: PeriodKind, timezone: str, at: str, period: Period) -> None:
    """Also where clocks change, at midnight and for good."""
    assert period_of(kind, timezone, _at(at), "") == period


@given(INSTANTS, ZONES, st.sampled_from(["day", "month"]))
def test_every_instant_is_in_exactly_one_period(at: datetime, timezone: str, kind: PeriodKind) -> None:
    """Periods follow one another without gaps, and keys are in the order of time."""
    period = period_of(kind, timezone, at, "")
    assert period.start is not None
    assert period.end is not None
    assert period.start <= at < period.end
    assert period_of(kind, timezone, period.start, "") == period
    following = period_of(kind, timezone, period.end, "")
    assert following.start == period.end
    assert following.key > period.key
    last = period_of(kind, timezone, period.end - timedelta(microseconds=1), "")
    assert last == period


def test_a_run_and_ever_have_no_bounds() -> None:
    """Whatever the time is."""
    assert period_of("run", None, _at("2026-11-30"), "abc") == Period("abc")
    assert period_of("ever", None, _at("2026-11-30"), "abc") == Period("ever")


def test_a_run_is_an_airflow_run_or_an_invocation() -> None:
    """All tasks of a DAG's run share its budget; two DAGs of one schedule do not."""
    assert run_id({"team": "radio"}, "invocation") == "invocation"
    assert run_id({"run_id": "scheduled__2026-11-30", "dag_id": "radio"}, "i") == "radio scheduled__2026-11-30"
    assert run_id({"run_id": "nightly"}, "i") == "nightly"


@pytest.mark.parametrize(
    ("kind", "timezone", "words"),
    [
        ("day", None, "needs a time zone"),
        ("month", "Asia/Shanghi", "Did you mean 'Asia/Shanghai'"),
        ("month", "Asia", "no time zone 'Asia'"),
        ("month", "../etc/passwd", "no time zone"),
        ("month", "", "no time zone"),
        ("ever", "UTC", "has no time zone"),
        ("run", "UTC", "has no time zone"),
    ],
)
def test_a_wrong_time_zone_is_refused(kind: PeriodKind, timezone: str | None, words: str) -> None:
    """With what to do."""
    with pytest.raises(ConfigurationError, match=words):
        check_timezone(kind, timezone)
