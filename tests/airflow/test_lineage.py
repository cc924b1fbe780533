"""What OpenLineage is told, through its own provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")
pytest.importorskip("airflow.providers.openlineage", reason="apache-airflow-providers-openlineage is not installed")

from airflow.providers.openlineage.extractors.base import DefaultExtractor
from airflow.sdk import DAG, task

from tests.airflow.tasks import job_fields, run_task
from tests.builders import write_lines
from tts_pipeline.airflow.lineage import lineage_of
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator
from tts_pipeline.emulator.local_service import LocalService


def test_inputs_outputs_and_row_counts(tmp_path: Path, service: LocalService) -> None:
    """As the provider's own extractor takes them from a task that is done."""
    write_lines(tmp_path / "lines.parquet", 6)
    speak = SpeechSynthesizeOperator(task_id="speak", **job_fields(tmp_path))
    run_task(speak)
    lineage: Any = DefaultExtractor(speak).extract_on_complete(None)
    assert [(dataset.namespace, dataset.name) for dataset in lineage.inputs] == [("file", f"{tmp_path}/lines.parquet")]
    (output,) = lineage.outputs
    assert (output.namespace, output.name) == ("file", f"{tmp_path}/out")
    assert output.outputFacets["outputStatistics"].rowCount == 6
    report = SpeechUsageReportOperator(
        task_id="report", datasets=[f"{tmp_path}/out"], by=["outcome"], destination=f"{tmp_path}/bill.csv"
    )
    run_task(report)
    report_lineage: Any = DefaultExtractor(report).extract_on_complete(None)
    assert ([dataset.name for dataset in report_lineage.inputs], report_lineage.outputs[0].name) == (
        [output.name],
        f"{tmp_path}/bill.csv",
    )
    assert report_lineage.outputs[0].outputFacets["outputStatistics"].rowCount == 1


def _greeting() -> pa.Table:
    return pa.table({"id": ["a"], "text": ["Good night."]})


def test_a_function_is_no_input(tmp_path: Path, service: LocalService) -> None:
    """Where its rows lay meanwhile is nobody's dataset."""
    fields = job_fields(tmp_path)
    del fields["source"]
    with DAG("spoken", schedule=None):
        operator = task.speech(**fields)(_greeting)().operator
    run_task(operator)
    lineage: Any = DefaultExtractor(operator).extract_on_complete(None)
    assert (lineage.inputs, [dataset.name for dataset in lineage.outputs]) == ([], [f"{tmp_path}/out"])


@pytest.mark.parametrize(
    ("place", "identity"),
    [
        ("s3://bucket/a/b/", ("s3://bucket", "a/b")),
        ("gs://bucket", ("gs://bucket", "/")),
        ("/data/a", ("file", "/data/a")),
        ("file:///data/a", ("file", "/data/a")),
    ],
)
def test_places_are_named_as_openlineage_names_them(place: str, identity: tuple[str, str]) -> None:
    """So that other tools' tasks meet ours; a count that is not known is not told."""
    (output,) = lineage_of([], place, None).outputs
    assert (output.namespace, output.name, output.outputFacets) == (*identity, {})
