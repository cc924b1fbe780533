"""The period of a report: a month, or the time between two days or instants of a time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import polars as pl

from tts_pipeline.errors import ConfigurationError
from tts_pipeline.periods import PeriodKind, microseconds, period_of, read_timezone

When = str | date | datetime
"""A day, or an instant; a time of day without an offset is that of the report's time zone."""

_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NOON = time(12)


@dataclass(frozen=True, slots=True)
class ReportPeriod:
    """The time of a report: ``since`` belongs to it, ``until`` does not (UTC); None has no bound."""

    since: datetime | None = None
    until: datetime | None = None
    timezone: str = "UTC"

    @property
    def since_us(self) -> int | None:
        """The start in microseconds since 1970."""
        return None if self.since is None else microseconds(self.since)

    @property
    def until_us(self) -> int | None:
        """The end in microseconds since 1970."""
        return None if self.until is None else microseconds(self.until)

    def select(self, rows: pl.LazyFrame, column: str = "started_at") -> pl.LazyFrame:
        """Return the rows of the period."""
        at = pl.col(column)
        if self.since is not None:
            rows = rows.filter(at >= self.since)
        return rows if self.until is None else rows.filter(at < self.until)

    def __str__(self) -> str:
        zone = ZoneInfo(self.timezone)
        bounds = [
            f"{word} {at.astimezone(zone):%Y-%m-%d %H:%M}"
            for word, at in (("from", self.since), ("until", self.until))
            if at is not None
        ]
        return f"{' '.join(bounds)} ({self.timezone})" if bounds else ""


def read_period(
    *, month: str | None = None, since: When | None = None, until: When | None = None, timezone: str = "UTC"
) -> ReportPeriod:
    """Return the period of a report.

    Args:
        month: A month such as ``2026-11``, in place of ``since`` and ``until``.
        since: The first day or instant of the period; None has no beginning.
        until: The first day or instant after the period; None has no end.
        timezone: The time zone of months, days and hours, by its IANA name.

    Raises:
        ConfigurationError: The time zone is unknown, a month or a day does not exist, or the period is empty.
    """
    zone = read_timezone(timezone)
    try:
        pl.Series([datetime(2026, 1, 1, tzinfo=UTC)]).dt.convert_time_zone(timezone)
    except pl.exceptions.PolarsError:
        raise ConfigurationError(
            f"the time zone {timezone!r} is of this machine only", hint="use an IANA name such as Asia/Shanghai or UTC"
        ) from None
    if month is not None:
        if since is not None or until is not None:
            raise ConfigurationError("a month has its own beginning and end", hint="give it without from and until")
        period = _period("month", _month(month), zone)
        return ReportPeriod(period[0], period[1], timezone)
    begin, end = _instant(since, "from", zone), _instant(until, "until", zone)
    if begin is not None and end is not None and end <= begin:
        raise ConfigurationError(
            f"the period from {since} until {until} is empty",
            hint="until is the first day that does not count; it must be after from",
        )
    return ReportPeriod(begin, end, timezone)


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-15" if _MONTH.fullmatch(text) else "")
    except ValueError:
        hint = "a month is a year and a number from 01 to 12, such as 2026-11"
        raise ConfigurationError(f"{text!r} is no month", hint=hint) from None


def _period(kind: PeriodKind, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    try:
        period = period_of(kind, zone.key, datetime.combine(day, _NOON, zone), "")
    except OverflowError:
        raise _beyond_calendar(day) from None
    if period.start is None or period.end is None:
        raise ValueError(f"a {kind} has a start and an end")
    return period.start, period.end


def _instant(when: When | None, name: str, zone: ZoneInfo) -> datetime | None:
    """Return the instant of a day's beginning, or of a time of day."""
    if when is None:
        return None
    if isinstance(when, str):
        try:
            when = date.fromisoformat(when) if _DAY.fullmatch(when) else datetime.fromisoformat(when)
        except ValueError:
            raise ConfigurationError(
                f"{name} {when!r} is no day", hint="a day is written 2026-11-30, an instant 2026-11-30T08:00"
            ) from None
    if not isinstance(when, datetime):
        return _period("day", when, zone)[0]
    try:
        return (when if when.tzinfo else when.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:
        raise _beyond_calendar(when) from None


def _beyond_calendar(day: date) -> ConfigurationError:
    return ConfigurationError(f"{day:%Y-%m} is beyond the calendar", hint="give a year from 2 to 9998")
