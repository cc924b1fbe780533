"""What ``docs/airflow.md`` repeats of the code is what the code says; ``test_standalone.py`` does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from tests.airflow.standalone import PAGE, ROOT
from tests.docs.pages import blocks
from tts_pipeline.airflow import get_provider_info
from tts_pipeline.airflow.operators.export import SpeechExportOperator
from tts_pipeline.airflow.operators.shards import (
    SpeechPlanOperator,
    SpeechPublishOperator,
    SpeechSynthesizeShardOperator,
)
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator

OPERATORS = (
    SpeechSynthesizeOperator,
    SpeechPlanOperator,
    SpeechSynthesizeShardOperator,
    SpeechPublishOperator,
    SpeechUsageReportOperator,
    SpeechExportOperator,
)


@pytest.mark.parametrize("example", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.stem)
def test_the_dags_of_the_page_are_the_examples(example: Path) -> None:
    """Letter by letter."""
    code_blocks = [block.text for block in blocks(PAGE.read_text())]
    assert f"# dags/{example.name}\n{example.read_text()}" in code_blocks


def test_every_field_of_the_connection_is_explained() -> None:
    """In the order of the form."""
    (form,) = get_provider_info()["connection-types"]
    labels = [
        *form["ui-field-behaviour"]["relabeling"].values(),
        *(field["label"] for field in form["conn-fields"].values()),
    ]
    assert [row[0] for row in _table("field")] == labels


def test_the_templates_of_every_operator() -> None:
    """``the same`` is as the first operator."""
    cells = {row[0].strip("`"): row[2] for row in _table("operator")}
    first = ", ".join(f"`{name}`" for name in SpeechSynthesizeOperator.template_fields)
    for operator in OPERATORS:
        fields = re.findall(r"`(\w+)`", cells.pop(operator.__name__).replace("the same", first))
        assert fields == list(operator.template_fields), operator
    assert not cells


def _table(first_column: str) -> list[list[str]]:
    """Return the cells of the table whose first column is called so."""
    (rows,) = re.findall(rf"^\| {first_column} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text(), re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
