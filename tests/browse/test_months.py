"""The months to choose from."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tts_pipeline.browse.months import (
    ALL,
    MAX_MONTHS,
    Selection,
    frozen_timezone,
    month_choices,
    month_of,
    timezone_choices,
)
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.ledger.compaction import Month
from tts_pipeline.ledger.manifest import Manifest

NOW = datetime(2026, 11, 30, 20, tzinfo=UTC)


def _frozen(name: str, timezone: str) -> Manifest:
    start_us, end_us = Month.of(name, timezone).interval
    return Manifest(
        month=name,
        timezone=timezone,
        start_us=start_us,
        end_us=end_us,
        frozen_at_us=end_us,
        compaction="c",
        files=(),
        tables=(),
        totals={},
    )


def test_months_reach_back_to_the_first_request() -> None:
    """The newest first; in Shanghai it is December already."""
    first = datetime(2026, 8, 31, 20, tzinfo=UTC)
    names = {zone: [one["month"] for one in month_choices(first, NOW, zone)] for zone in ("UTC", "Asia/Shanghai")}
    assert names["UTC"] == ["2026-11", "2026-10", "2026-09", "2026-08"]
    assert names["Asia/Shanghai"] == ["2026-12", "2026-11", "2026-10", "2026-09"]
    assert month_of(NOW, "Asia/Shanghai") == "2026-12"


def test_a_frozen_month_is_marked_in_its_time_zone() -> None:
    """In another zone it is another period, of which a part is frozen: that is no frozen month."""
    frozen = [_frozen("2026-10", "Asia/Shanghai")]
    assert frozen_timezone(frozen) == "Asia/Shanghai"
    assert frozen_timezone([]) == "UTC"
    for zone, marked in (("Asia/Shanghai", ["2026-10"]), ("UTC", [])):
        months = month_choices(datetime(2026, 9, 5, tzinfo=UTC), NOW, zone, frozen)
        assert [one["month"] for one in months if one["frozen_at"]] == marked


def test_a_clock_that_was_wrong_makes_no_endless_list() -> None:
    """A file may say that it is of 1970."""
    assert len(month_choices(datetime(1970, 1, 1, tzinfo=UTC), NOW, "UTC")) == MAX_MONTHS
    later = datetime(2030, 1, 1, tzinfo=UTC)
    assert [one["month"] for one in month_choices(later, NOW, "UTC")] == ["2026-11"]
    assert [one["month"] for one in month_choices(None, NOW, "UTC")] == ["2026-11"]


def test_a_selection_is_a_period() -> None:
    """A month of its zone, or all time."""
    assert Selection("2026-11", "Asia/Shanghai").period.since == datetime(2026, 10, 31, 16, tzinfo=UTC)
    assert Selection(ALL, "UTC").period.since is None
    with pytest.raises(ConfigurationError, match="no month"):
        _ = Selection("2026-11'", "UTC").period


def test_time_zones_are_given_once() -> None:
    """UTC is always among them."""
    assert timezone_choices(["Asia/Shanghai"], ["Asia/Shanghai", "UTC"]) == ["Asia/Shanghai", "UTC"]
    assert timezone_choices([]) == ["UTC"]
