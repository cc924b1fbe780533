"""Run a job with ``run``, or in steps for a workflow engine: ``plan``, ``run_parts`` and ``publish``.

The names below are loaded on first use, so that a DAG file, which only describes a job, loads none of the code that
runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tts_pipeline.lazy_imports import lazy_names

if TYPE_CHECKING:
    from tts_pipeline.dataset.active_part import Progress as Progress
    from tts_pipeline.job.api import plan as plan
    from tts_pipeline.job.api import publish as publish
    from tts_pipeline.job.api import run as run
    from tts_pipeline.job.api import run_job as run_job
    from tts_pipeline.job.api import run_parts as run_parts
    from tts_pipeline.job.api import validate as validate
    from tts_pipeline.job.execution import StartService as StartService
    from tts_pipeline.job.job import Job as Job
    from tts_pipeline.job.job import RunOptions as RunOptions
    from tts_pipeline.job.job import Shard as Shard
    from tts_pipeline.job.report import Report as Report
    from tts_pipeline.job.stop import CancelToken as CancelToken
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "tts_pipeline.dataset.active_part": "Progress",
            "tts_pipeline.job.api": "plan publish run run_job run_parts validate",
            "tts_pipeline.job.execution": "StartService",
            "tts_pipeline.job.job": "Job RunOptions Shard",
            "tts_pipeline.job.report": "Report",
            "tts_pipeline.job.stop": "CancelToken",
        },
        renamed={"Reach": "StartService", "Running": "RunOptions", "Stop": "CancelToken"},
    )
