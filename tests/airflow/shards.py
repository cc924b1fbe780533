"""DAGs whose mapped tasks are killed, or stopped by a budget, in a file for an Airflow that really runs."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from tts_pipeline import Limits, RunOptions
from tts_pipeline.airflow.task_group import speech_dataset

ROOT = "{{ var.value.speech_root }}"

with DAG("killed_shards", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(seconds=1)}):
    speech_dataset(
        "spoken",
        source=f"{ROOT}/lines.parquet",
        destination=f"{ROOT}/out",
        model="qwen3-tts-flash",
        parameters={"voice": "Cherry"},
        options=RunOptions(limits=Limits(max_concurrency=4, stop_grace_s=1.0), part_rows=10),
        max_shards=2,
    )

with DAG("on_a_budget", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(seconds=1)}):
    speech_dataset(
        "spoken",
        source=f"{ROOT}/lines.parquet",
        destination=f"{ROOT}/out",
        model="qwen3-tts-flash",
        parameters={"voice": "Cherry"},
        tags={"team": "radio"},
        options=RunOptions(limits=Limits(max_concurrency=8, stop_grace_s=1.0), part_rows=50),
        max_shards=3,
    )
