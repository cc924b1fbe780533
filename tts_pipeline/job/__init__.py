"""The doors to a job: ``run`` does it all; ``plan``, ``run_parts`` and ``publish`` are what any engine maps over.

The names below are loaded when they are first used: a DAG file, which says how a job is run, loads nothing that
runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_pipeline.lazy_imports import lazy_getattr

if TYPE_CHECKING:
    from tts_pipeline.dataset.active_part import Progress
    from tts_pipeline.job.api import plan, publish, run, run_job, run_parts, validate
    from tts_pipeline.job.execution import StartService
    from tts_pipeline.job.job import Job, RunOptions, Shard
    from tts_pipeline.job.report import Report
    from tts_pipeline.job.stop import CancelToken
else:
    __getattr__ = lazy_getattr(
        __name__,
        {
            "tts_pipeline.dataset.active_part": ("Progress",),
            "tts_pipeline.job.api": ("plan", "publish", "run", "run_job", "run_parts", "validate"),
            "tts_pipeline.job.execution": ("StartService",),
            "tts_pipeline.job.job": ("Job", "RunOptions", "Shard"),
            "tts_pipeline.job.report": ("Report",),
            "tts_pipeline.job.stop": ("CancelToken",),
        },
        renamed={"Running": "RunOptions", "Stop": "CancelToken"},
    )

__all__ = [
    "CancelToken",
    "Job",
    "Progress",
    "Report",
    "RunOptions",
    "Shard",
    "StartService",
    "plan",
    "publish",
    "run",
    "run_job",
    "run_parts",
    "validate",
]


def __dir__() -> list[str]:
    return __all__
