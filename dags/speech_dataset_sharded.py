"""A library of books, spoken by several workers whenever its text changes.

Reads ``books`` (Parquet with ``id``, ``text`` and ``narrator``) and makes ``speech/books``, both below the Airflow
variable ``speech_root``. The slots of the pool ``speech`` limit the number of tasks that speak at the same time; create
the pool with ``airflow pools set speech 4 "requests to the speech service"``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset

from tts_pipeline import RunOptions
from tts_pipeline.airflow.task_group import speech_dataset

ROOT = "{{ var.value.speech_root }}"

with DAG(
    "speech_dataset_sharded",
    schedule=[Asset("books_text")],
    catchup=False,
    max_active_runs=1,  # two runs would wait for each other's parts
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
):
    speech_dataset(
        source=f"{ROOT}/books",
        destination=f"{ROOT}/speech/books",
        model="qwen3-tts-flash",
        columns={"voice": "narrator"},
        tags={"team": "audiobooks"},
        options=RunOptions(append=True),
        max_shards=8,
        shards={"pool": "speech", "at_a_time": 4},
        outlets=[Asset("books_speech")],
    )
