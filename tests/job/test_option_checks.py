"""Impossible options are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import job_of
from tts_pipeline.catalog import Service
from tts_pipeline.config import MAX_LEASE_S, Limits
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import RunOptions
from tts_pipeline.job.option_checks import check_run_options, refuse_unreachable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limits": Limits(max_concurrency=0)}, "max_concurrency is 0"),
        ({"limits": Limits(max_attempts=0)}, "max_attempts is 0"),
        ({"part_rows": 0}, "part_rows is 0"),
        ({"max_open_parts": -1}, "max_open_parts is -1"),
        ({"unspeakable": "drop"}, "unspeakable is 'drop'"),
        ({"ship_every_s": 0}, "ship_every_s is 0"),
        ({"lease_s": 0}, "lease_s is 0"),
        ({"lease_s": MAX_LEASE_S + 1}, "lease_s is"),
        ({"tags": {"day": 20260101}}, "the tag 'day' is 20260101"),
        ({"tags": {1: "one"}}, "the tag 1 is 'one'"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_with_its_range(options: dict[str, Any], message: str) -> None:
    """The error names the option and its range."""
    with pytest.raises(ConfigurationError, match=message) as exc_info:
        check_run_options(RunOptions(**options))
    assert exc_info.value.hint


def test_what_an_option_may_just_be_is_taken() -> None:
    """The ranges include their ends."""
    limits = Limits(max_concurrency=1, max_attempts=1)
    check_run_options(RunOptions(limits=limits, part_rows=1, max_open_parts=1, lease_s=MAX_LEASE_S, tags={"a": ""}))


@pytest.mark.parametrize("auth", ["bearer", "none"])
@pytest.mark.parametrize("host", ["voices.example", "127.0.0.1:9"])
def test_a_key_is_needed_where_one_is_sent_to_another_machine(tmp_path: Path, host: str, auth: Any) -> None:
    """A service on this machine, or one that uses no key, needs none."""
    service = Service(base_url=f"https://{host}", auth=auth)
    if (host, auth) != ("voices.example", "bearer"):
        refuse_unreachable(job_of(tmp_path, service=service))
        return
    with pytest.raises(ConfigurationError, match="needs a key"):
        refuse_unreachable(job_of(tmp_path, service=service))
