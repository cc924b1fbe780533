"""Exit statuses: one for each way in which a command ends."""

from __future__ import annotations

import pytest

from tts_pipeline.cli.status import status_of, status_of_run
from tts_pipeline.errors import ConfigurationError, FatalError, StoppedError, StorageError, TtsPipelineError


@pytest.mark.parametrize(
    ("stopped_by", "rejects", "status"),
    [
        (None, 0, 0),
        (None, 1, 3),
        ("budget", 0, 4),
        ("service", 1, 5),
        ("outage", 0, 5),
        ("rejects", 9, 5),
        ("storage", 0, 6),
        ("interrupted", 1, 130),
    ],
)
def test_a_run_ends_with_the_documented_status(stopped_by: str | None, rejects: int, status: int) -> None:
    """What stopped a run goes before its rejects."""
    assert status_of_run(stopped_by, rejects) == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigurationError("c"), 2),
        (StorageError("s"), 6),
        (FatalError("f", code="InvalidApiKey"), 5),
        (StoppedError("s", stopped_by="outage"), 5),
    ],
)
def test_an_error_without_a_report_has_a_status_too(error: TtsPipelineError, status: int) -> None:
    """By its type, never by its message."""
    assert status_of(error) == status
