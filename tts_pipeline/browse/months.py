"""The months of a bill: which ones there are, which are frozen, and the one to show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tts_pipeline.ledger.manifest import Manifest
from tts_pipeline.periods import Period, instant, period_of
from tts_pipeline.report.keys import UTC_NAME
from tts_pipeline.report.period import ReportPeriod, read_period

ALL = "all"
"""The name of the whole time in place of a month."""

MAX_MONTHS = 240
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Selection:
    """What the page asks for: a month such as ``2026-11`` or ``ALL``, and the time zone of months and days."""

    month: str
    timezone: str

    @property
    def period(self) -> ReportPeriod:
        """The time of the bill.

        Raises:
            ConfigurationError: The month does not exist, or the time zone is unknown.
        """
        return read_period(month=None if self.month == ALL else self.month, timezone=self.timezone)


def month_of(at: datetime, timezone: str) -> str:
    """Return the month of an instant, such as ``2026-11``."""
    return period_of("month", timezone, at, "").key


def frozen_timezone(manifests: Sequence[Manifest]) -> str:
    """Return the time zone of the latest frozen month; UTC without one."""
    latest = max(manifests, key=lambda manifest: manifest.start_us, default=None)
    return UTC_NAME if latest is None else latest.timezone


def month_choices(
    first: datetime | None, now: datetime, timezone: str, manifests: Sequence[Manifest] = ()
) -> list[dict[str, Any]]:
    """Return the months from ``first`` (None: only this month) to ``now``, the newest first, with what froze them."""
    known: dict[tuple[int | None, int | None], Manifest] = {
        (manifest.start_us, manifest.end_us): manifest for manifest in manifests
    }
    return [
        {
            "month": period.key,
            "is_current": number == 0,
            "frozen_at": instant(manifest.frozen_at_us).isoformat() if manifest is not None else None,
        }
        for number, period in enumerate(_months(first or now, now, timezone))
        for manifest in [known.get((period.start_us, period.end_us))]
    ]


def _months(first: datetime, now: datetime, timezone: str) -> Iterator[Period]:
    at = now
    for _ in range(MAX_MONTHS):
        period = period_of("month", timezone, at, "")
        yield period
        if period.start is None or period.start <= first:
            return
        at = period.start - _DAY


def timezone_choices(*timezones: Iterable[str]) -> list[str]:
    """Return time zones, each once, in order; UTC is always among them."""
    return list(dict.fromkeys([*(zone for zones in timezones for zone in zones), UTC_NAME]))
