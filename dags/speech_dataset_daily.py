"""A day's articles, spoken every night.

Reads ``articles/<day>`` (Parquet with ``id`` and ``text``) and makes ``speech/<day>``, both below the Airflow variable
``speech_root``: a folder or a URL such as ``s3://my_connection@bucket/news``. The service and its key are the
connection ``speech_default``.

A day without articles becomes an empty dataset. A cleared run continues where it stopped: it adds late articles, and
of corrected articles it buys only the changed rows again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from airflow.sdk import DAG, Asset

from tts_pipeline import BudgetCap, RunOptions
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator

ROOT = "{{ var.value.speech_root }}"
# A run for a partition has a partition key, a scheduled or manual run a logical date, and a run by an asset neither.
DAY = "{{ partition_key or (dag_run.logical_date or dag_run.run_after) | ds }}"

with DAG(
    "speech_dataset_daily",
    schedule="0 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
):
    SpeechSynthesizeOperator(
        task_id="speak",
        source=f"{ROOT}/articles/{DAY}",
        destination=f"{ROOT}/speech/{DAY}",
        model="qwen3-tts-flash",
        parameters={"voice": "Cherry"},
        tags={"team": "newsroom"},
        options=RunOptions(rebuild=True, budget=BudgetCap(max_cost=Decimal(50), currency="CNY")),
        outlets=[Asset("news_speech")],
        execution_timeout=timedelta(hours=2),
    )
