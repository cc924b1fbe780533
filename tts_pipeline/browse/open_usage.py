"""What is open on the page's bill: runs of a ledger and parts of a dataset whose usage is not published yet."""

from __future__ import annotations

from typing import Any

from tts_pipeline.dataset.names import part_name
from tts_pipeline.ledger.runs import RunStart
from tts_pipeline.periods import instant
from tts_pipeline.report.bill import OpenPart


def run_facts(run: RunStart) -> dict[str, Any]:
    """Return an open run; a bound that is null is none: nothing limits the run."""
    return {
        "what": run.invocation_id,
        "makes": run.destination,
        "door": run.door,
        "model": run.model,
        "who": f"process {run.pid} of {run.user} on {run.host}",
        "since": instant(run.started_at_us).isoformat(timespec="seconds"),
        "tags": dict(run.tags),
        "characters_upper_bound": run.characters_upper_bound,
        "cost_upper_bound": run.cost_upper_bound,
        "currency": run.currency,
    }


def part_facts(part: OpenPart) -> dict[str, Any]:
    """Return an open part in the form of ``run_facts``; its bounds are in the sums of the bill."""
    claim = part.claim
    return {
        "what": part_name(part.part),
        "makes": part.dataset,
        "door": claim.door or None,
        "model": claim.model,
        "who": f"process {claim.process} on {claim.host}",
        "since": instant(claim.opened_at_us).isoformat(timespec="seconds"),
        "tags": dict(claim.tags),
        "characters_upper_bound": claim.characters_upper_bound,
        "cost_upper_bound": claim.cost_upper_bound,
        "currency": claim.currency,
    }
