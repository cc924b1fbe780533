"""Conditions on usage rows, with tags as columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.report.test_usage import a_request, write_dataset
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.report import usage, usage_report
from tts_pipeline.report.where import read_where


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """Four requests: two of radio, one of news with an odd key, one without tags."""
    return write_dataset(
        str(tmp_path / "out"),
        tmp_path,
        a_request(utterance_id="a", voice="Cherry", tags=[("team", "radio"), ("night", "7")], latency_ms=100),
        a_request(utterance_id="b", voice="Stella", tags=[("team", "radio")], latency_ms=900, outcome="failed"),
        a_request(utterance_id="c", voice="Cherry", tags=[("team", "news"), ("cost centre", "7'")], latency_ms=500),
        a_request(utterance_id="d", voice="Cherry", latency_ms=700),
    )


CONDITIONS = [
    ("tag:team = 'radio'", "ab"),
    ("tag:team <> 'radio'", "c"),
    ("tag:team IS NULL", "d"),
    ("tag:team IN ('radio', 'news') AND voice = 'Cherry'", "ac"),
    ("tag:team = 'radio' AND NOT outcome = 'failed'", "a"),
    ("tag:night = '7' OR latency_ms > 600", "abd"),
    ("\"tag:cost centre\" = '7'''", "c"),
    ("voice = 'Cherry'", "acd"),
    ("voice = 'tag:team'", ""),
    ("latency_ms < 600", "ac"),
    ("started_at >= '2026-03-01' AND tag:team = 'news'", "c"),
    ("utterance_id = 'a' AND tag:team = 'radio'", "a"),
    ("is_open OR voice = 'Stella'", "b"),
    ("NOT (is_open OR is_correction OR is_settlement)", "abcd"),
]


@pytest.mark.parametrize(("text", "chosen"), CONDITIONS)
def test_rows_and_sums_meet_the_same_conditions(dataset: str, text: str, chosen: str) -> None:
    """Whether it is decided by row or by group."""
    assert "".join(sorted(usage([dataset], where=text).collect()["utterance_id"])) == chosen
    assert usage_report([dataset], where=text)["requests"].sum() == len(chosen)
    by_voice = usage_report([dataset], ["voice", "day"], where=text)
    assert by_voice["requests"].sum() == len(chosen)
    assert by_voice.columns[:3] == ["voice", "day", "requests"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tag:taem = 'radio'", "none of these requests has the tag 'taem' (Did you mean 'team'?"),
        ("tag:taem = 'radio' AND latency_ms > 1", "Did you mean 'team'?"),
        ("vioce = 'Cherry'", "the usage table has no column 'vioce' to filter by (Did you mean 'voice'?"),
        ("cost > avg(cost)", "reads more than one row"),
        ("tag:team", "neither true nor false"),
        ("tag:team =", "tag:team = 'radio'"),
        ("tags IS NULL", "no column 'tags'"),
        ("", "cannot be used"),
    ],
)
def test_what_is_no_condition_is_told(dataset: str, text: str, message: str) -> None:
    """By rows and by sums: nobody takes a misspelt team for one that spent nothing."""
    for read in (usage, usage_report):
        with pytest.raises(ConfigurationError, match=re.escape(message)):
            read([dataset], where=text)


def test_without_requests_no_tag_is_misspelt(tmp_path: Path) -> None:
    """A month may be empty."""
    empty = write_dataset(str(tmp_path / "empty"), tmp_path)
    assert usage_report([empty], ["tag:team"], where="tag:team = 'radio'").is_empty()
    assert usage([empty], where="tag:team = 'radio'").collect().is_empty()


def test_a_condition_knows_whether_groups_can_meet_it() -> None:
    """Only what is the same in all rows of a group."""
    texts = ("tag:a = 'x' AND voice = 'y'", "cost > 1", "started_at > '2026-01-01'")
    assert [read_where(text).is_of_groups for text in texts] == [True, False, False]
