"""Days, hours and months of any time zone, and tags."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.report.test_usage import a_request, write_dataset
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.report import usage_report


def _dataset(tmp_path: Path, *times: str) -> str:
    rows = [a_request(started_at=datetime.fromisoformat(time).replace(tzinfo=UTC)) for time in times]
    return write_dataset(str(tmp_path / "out"), tmp_path, *rows)


def test_a_month_ends_at_midnight_of_its_time_zone(tmp_path: Path) -> None:
    """A job over the end of a month in Shanghai is divided there, by day, by month and by --month."""
    out = _dataset(tmp_path, "2026-11-30T15:59:59.999999", "2026-11-30T16:00")
    there = {"timezone": "Asia/Shanghai"}
    assert usage_report([out], ["month", "day"], **there).select("month", "day").rows() == [
        ("2026-11", date(2026, 11, 30)),
        ("2026-12", date(2026, 12, 1)),
    ]
    assert usage_report([out], ["month"])["month"].to_list() == ["2026-11"]
    for month, requests in (("2026-11", 1), ("2026-12", 1), ("2026-10", 0)):
        assert usage_report([out], month=month, **there)["requests"].sum() == requests
    assert usage_report([out], month="2026-11")["requests"].sum() == 2


def test_hours_survive_a_change_of_clocks(tmp_path: Path) -> None:
    """Berlin's hour from two to three came twice on 2026-10-25: two hours, whose day has all requests."""
    out = _dataset(tmp_path, *(f"2026-10-25T0{hour}:30" for hour in range(3)))
    report = usage_report([out], ["day", "hour"], timezone="Europe/Berlin")
    assert set(report["day"]) == {date(2026, 10, 25)}
    assert [f"{hour:%H %z}" for hour in report["hour"]] == ["02 +0200", "02 +0100", "03 +0100"]
    half = usage_report([out], ["hour"], timezone="Asia/Kolkata")  # 5:30 ahead of UTC
    assert [f"{hour:%H:%M}" for hour in half["hour"]] == ["06:00", "07:00", "08:00"]


def test_what_has_no_tag_is_a_row_of_its_own(tmp_path: Path) -> None:
    """Teams and untagged spend add up to the bill; one tag of several is taken from all sets of tags."""
    tags = [[("team", "radio"), ("n", "1")], [("team", "radio"), ("n", "2")], [("team", "news")], []]
    out = write_dataset(str(tmp_path / "out"), tmp_path, *(a_request(tags=each) for each in tags))
    rows = usage_report([out], ["tag:team"]).select("tag:team", "requests").rows()
    assert rows == [("news", 1), ("radio", 2), (None, 1)]
    assert usage_report([out], ["tag:team", "tag:n", "tag:team"])["requests"].sum() == 4


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("tag:taem", "none of these requests has the tag 'taem'.*Did you mean 'team'"),
        ("tag:x", "Their tags are n, team"),
    ],
)
def test_a_tag_that_no_request_has_is_told(tmp_path: Path, by: str, message: str) -> None:
    """It is misspelt, or of another month."""
    out = write_dataset(str(tmp_path / "out"), tmp_path, a_request(tags=[("team", "radio"), ("n", "1")]), a_request())
    with pytest.raises(ConfigurationError, match=message):
        usage_report([out], ["voice", by])


def test_a_tag_is_told_where_there_are_none(tmp_path: Path) -> None:
    """Untagged spend has no line of its own then: nothing is tagged."""
    with pytest.raises(ConfigurationError, match="They have no tags at all"):
        usage_report([write_dataset(str(tmp_path / "out"), tmp_path, a_request())], ["tag:team"])
