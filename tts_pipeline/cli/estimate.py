"""Run the command ``estimate``: print the cost and time of a job without sending anything."""

from __future__ import annotations

import argparse

from tts_pipeline.cli.build_job import build_job
from tts_pipeline.cli.flags import with_flags
from tts_pipeline.cli.settings import read_settings
from tts_pipeline.cli.status import OK
from tts_pipeline.cli.terminal import print_json, print_result
from tts_pipeline.estimates import estimate_rows


def show_estimate(arguments: argparse.Namespace) -> int:
    """Print the estimate of a run with these settings. Return the exit status."""
    settings = read_settings(arguments)
    estimate = estimate_rows(settings.source, build_job(settings, None), latency_s=arguments.latency_s)
    if settings.get("json"):
        print_json({**estimate.to_json(), "notes": list(map(with_flags, estimate.notes))})
    else:
        print_result(with_flags(str(estimate)))
    return OK
