"""The cost of speech by day, voice and team: one table each time that datasets are made.

Each table counts the usage that no earlier one has counted, so the tables add up to the bill. The datasets' assets
trigger the DAG; a manual run takes ``{"datasets": ["..."]}``. Writes ``reports/<time>.csv`` below the Airflow variable
``speech_root``.
"""

from __future__ import annotations

from airflow.sdk import DAG, Asset, Param

from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator

with DAG(
    "speech_usage_report",
    schedule=Asset("news_speech") | Asset("books_speech"),
    catchup=False,
    params={"datasets": Param([], type="array", description="Datasets; empty: those that triggered the run")},
    render_template_as_native_obj=True,
    doc_md=__doc__,
):
    SpeechUsageReportOperator(
        task_id="report",
        datasets="{{ params.datasets }}",
        by=["day", "voice", "tag:team"],
        destination="{{ var.value.speech_root }}/reports/{{ dag_run.run_after | ts_nodash }}.csv",
    )
