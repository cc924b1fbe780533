"""The periods of budgets and bills: which day, month or run an instant belongs to, and when that begins and ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tts_pipeline.errors import ConfigurationError, did_you_mean

PeriodKind = Literal["run", "day", "month", "ever"]
PERIOD_KINDS: tuple[PeriodKind, ...] = get_args(PeriodKind)

EVER = "ever"


@dataclass(frozen=True, slots=True)
class Period:
    """One period: ``key`` is ``2026-11-30``, ``2026-11``, ``ever``, or a run's id.

    ``start`` belongs to the period and ``end`` to the next one (UTC). Both are None for ``run`` and ``ever``.
    """

    key: str
    start: datetime | None = None
    end: datetime | None = None

    @property
    def start_us(self) -> int | None:
        """The start in microseconds since 1970."""
        return None if self.start is None else microseconds(self.start)

    @property
    def end_us(self) -> int | None:
        """The end in microseconds since 1970."""
        return None if self.end is None else microseconds(self.end)

    def contains(self, at_us: int) -> bool:
        """Return whether an instant, in microseconds since 1970, belongs to it."""
        return (self.start_us is None or self.start_us <= at_us) and (self.end_us is None or at_us < self.end_us)


def period_of(kind: PeriodKind, timezone: str | None, at: datetime, run: str) -> Period:
    """Return the period of an instant, which lies in exactly one day and one month of a time zone.

    Args:
        kind: The kind of period.
        timezone: The IANA name of a time zone; None for ``run`` and ``ever``.
        at: The instant, with a time zone of its own.
        run: The run's id, as ``run_id`` returns it.

    Raises:
        ConfigurationError: The time zone is missing, or not known on this machine.
    """
    if kind == "run":
        return Period(run)
    if kind == "ever":
        return Period(EVER)
    check_timezone(kind, timezone)
    zone = read_timezone(timezone or "")
    first, following, preceding = _STEPS[kind]
    begins = first(at.astimezone(zone).date())
    # The date of a zone may step back: for an hour after 23:01, the clocks of St. John's showed the day before again.
    if at >= _start(following(begins), zone):
        begins = following(begins)
    elif at < _start(begins, zone):
        begins = preceding(begins)
    key = begins.isoformat() if kind == "day" else f"{begins:%Y-%m}"
    return Period(key, _start(begins, zone), _start(following(begins), zone))


def check_timezone(kind: PeriodKind, timezone: str | None) -> None:
    """Check that a kind of period has the time zone that it needs.

    Raises:
        ConfigurationError: The time zone is missing, superfluous, or not known on this machine.
    """
    if kind not in _STEPS:
        if timezone is not None:
            raise ConfigurationError(
                f"a budget per {kind} has no time zone, and {timezone!r} was given",
                hint="leave `timezone` out, or choose the period day or month",
            )
        return
    if timezone is None:
        raise ConfigurationError(
            f"a budget per {kind} needs a time zone: a {kind} begins at midnight somewhere",
            hint="give its IANA name with `timezone`, such as Asia/Shanghai or UTC",
        )
    read_timezone(timezone)


def read_timezone(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        ConfigurationError: The time zone is not known on this machine.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: "Asia" is a folder
        zones = available_timezones()
        hint = "an IANA name such as Asia/Shanghai or UTC" if zones else "install the package tzdata"
        raise ConfigurationError(
            f"no time zone {name!r} is known on this machine", hint=f"{did_you_mean(name, zones)}Use {hint}"
        ) from None


def run_id(tags: Mapping[str, str], invocation_id: str) -> str:
    """Return the id of a job's run: an Airflow run with all its tasks and retries, else one invocation.

    Airflow gives the run of every DAG with one schedule the same id, so the DAG's belongs to it.
    """
    run = tags.get("run_id")
    return invocation_id if run is None else " ".join(filter(None, (tags.get("dag_id"), run)))


def instant(wall_us: int) -> datetime:
    """Return a time of day in microseconds since 1970 as an instant (UTC), exactly."""
    return _EPOCH + timedelta(microseconds=wall_us)


def microseconds(at: datetime) -> int:
    """Return an instant in microseconds since 1970, exactly."""
    return (at - _EPOCH) // timedelta(microseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_DAY = timedelta(days=1)
_ANY_MONTH = timedelta(days=31)


def _first_of_month(day: date) -> date:
    return day.replace(day=1)


_Step = Callable[[date], date]
_STEPS: Mapping[str, tuple[_Step, _Step, _Step]] = {
    "day": (lambda day: day, lambda day: day + _ONE_DAY, lambda day: day - _ONE_DAY),
    "month": (
        _first_of_month,
        lambda first: _first_of_month(first + _ANY_MONTH),
        lambda first: _first_of_month(first - _ONE_DAY),
    ),
}
"""For each kind with a time zone: the first day of the period of a day, of the next period, and of the one before."""


def _start(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant when a day begins; the first midnight of two, and the change of clocks for a skipped one."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
