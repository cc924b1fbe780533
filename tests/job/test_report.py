from __future__ import annotations

import json
from decimal import Decimal

import pytest

from tts_pipeline.dataset.totals import Totals
from tts_pipeline.errors import FatalError, StoppedError, StorageError, TtsPipelineError
from tts_pipeline.job.report import Report

REPORT = Report(
    Totals(rows=3, speech=2, rejects=1, attempts=4, cost=Decimal("0.000080000"), currency="CNY", audio_ms=1_800_000),
    Totals(rows=3, speech=1),
    elapsed_s=1.23456,
    invocation_id="i",
    destination="out",
)


@pytest.mark.parametrize(
    ("stopped", "stopped_by"),
    [
        (None, None),
        (StoppedError("x", stopped_by="budget"), "budget"),
        (StoppedError("x", stopped_by="outage"), "outage"),
        (StoppedError("x", stopped_by="rejects"), "rejects"),
        (StoppedError("x", stopped_by="interrupted"), "interrupted"),
        (StorageError("x"), "storage"),
        (FatalError("x", code="Arrearage"), "service"),
    ],
)
def test_every_stop_has_its_word(stopped: TtsPipelineError | None, stopped_by: str | None) -> None:
    """Scripts read this word."""
    report = Report(Totals(), Totals(), 0.0, "i", "out", stopped)
    assert report.stopped_by == stopped_by
    assert report.to_json()["stopped_by"] == stopped_by


def test_the_summary_has_the_promised_names() -> None:
    """Counts of the dataset, and in ``this_run`` those of this invocation; money is text."""
    counts = [
        *("rows", "speech", "rejects", "attempts", "unknown_attempts", "reused", "characters_billed"),
        *("characters_upper_bound", "cost", "cost_upper_bound", "currency"),
        *("implausible_attempts", "cost_in_question", "audio_hours"),
    ]
    summary = json.loads(json.dumps(REPORT.to_json()))
    own = ["elapsed_s", "invocation_id", "destination", "stopped_by", "this_run"]
    assert list(summary) == [*counts, *own]
    assert list(summary["this_run"]) == counts
    assert (summary["cost"], summary["audio_hours"], summary["elapsed_s"]) == ("0.000080000", 0.5, 1.235)
    assert summary["this_run"]["cost"] is None
