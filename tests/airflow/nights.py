"""DAGs for nights that go wrong, in a file that imports everything at its top, as users' files do."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
from airflow.sdk import DAG, Asset, task

import tts_pipeline as tts
from tts_pipeline.airflow.hook import SpeechHook
from tts_pipeline.airflow.operators.shards import SpeechPlanOperator
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator
from tts_pipeline.airflow.task_group import speech_dataset

EVERYTHING = (tts.SpeechClient, tts.run_job, tts.estimate, SpeechHook, SpeechPlanOperator, speech_dataset, pl.DataFrame)
ROOT = "{{ var.value.speech_root }}"
JOB: dict[str, Any] = {
    "source": f"{ROOT}/lines.parquet",
    "destination": f"{ROOT}/out",
    "model": "qwen3-tts-flash",
    "parameters": {"voice": "Cherry"},
    "options": tts.RunOptions(limits=tts.Limits(max_concurrency=4, stop_grace_s=1.0), part_rows=5),
}

with DAG("interrupted", schedule=None):
    SpeechSynthesizeOperator(task_id="speak", retries=1, execution_timeout=timedelta(seconds=6), **JOB)

with DAG("killed", schedule=None):
    SpeechSynthesizeOperator(task_id="speak", **JOB)

with DAG("paused", schedule=None):
    SpeechSynthesizeOperator(task_id="speak", defer_after=timedelta(seconds=1), **JOB)

with DAG("decorated", schedule=None):

    @task.speech(
        destination=f"{ROOT}/out",
        model="qwen3-tts-flash",
        parameters={"voice": "Cherry"},
        outlets=[Asset("greetings")],
    )
    def greetings(names: list[str]) -> pl.DataFrame:
        return pl.DataFrame({"id": names, "text": [f"Good night, {name}." for name in names]})

    spoken = greetings(["Ada", "Bob"])
    report = SpeechUsageReportOperator(task_id="report", datasets=[f"{ROOT}/out"], destination=f"{ROOT}/bill.csv")
    spoken >> report
