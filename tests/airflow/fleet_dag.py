"""A DAG of many shards, in a file of its own for a fleet of workers."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from tts_pipeline import Limits, RunOptions
from tts_pipeline.airflow.task_group import speech_dataset

ROOT = "{{ var.value.speech_root }}"
SHARDS, MAX_CONCURRENCY = 20, 16

with DAG("fleet", schedule=None, default_args={"retries": 3, "retry_delay": timedelta(seconds=1)}):
    speech_dataset(
        "spoken",
        source=f"{ROOT}/lines.parquet",
        destination=f"{ROOT}/out",
        model="qwen3-tts-flash",
        parameters={"voice": "Cherry"},
        options=RunOptions(limits=Limits(max_concurrency=MAX_CONCURRENCY), part_rows=100),
        max_shards=SHARDS,
    )
