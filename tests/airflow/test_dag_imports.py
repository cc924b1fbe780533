"""What a DAG file pays for: it is parsed over and over, and speaks no sooner than its tasks run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

DAGS = Path(__file__).parents[2] / "dags"
HEAVY = {"aiohttp", "httpx", "numpy", "orjson", "polars", "pyarrow", "sentencex", "soundfile", "soxr"}
EVERYTHING = """
from tts_pipeline import (
    AudioSettings, BudgetCap, Catalog, InputColumns, Job, Limits, RunOptions, Selection, Service, Shard, load_catalog
)
from tts_pipeline.airflow import get_provider_info
from tts_pipeline.airflow.decorator import speech_task
from tts_pipeline.airflow.hook import SpeechHook
from tts_pipeline.airflow.links import SpeechReportLink
from tts_pipeline.airflow.operators.shards import (
    SpeechPlanOperator, SpeechPublishOperator, SpeechSynthesizeShardOperator
)
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator
from tts_pipeline.airflow.task_group import speech_dataset
"""


def _heavy(code: str) -> set[str]:
    """Return the heavy libraries that code loads in a process of its own."""
    script = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return HEAVY & set(result.stdout.split())


@pytest.fixture(scope="module")
def airflows_own() -> set[str]:
    """What Airflow brings itself; its client of the API server is httpx."""
    return _heavy("import airflow.sdk")


def test_what_a_dag_file_names_loads_nothing_heavy(airflows_own: set[str]) -> None:
    """The operators, the task group, the decorator and all values that they take load no library that works."""
    assert _heavy(EVERYTHING) <= airflows_own


@pytest.mark.parametrize("dag", sorted(DAGS.glob("*.py")), ids=lambda path: path.stem)
def test_parsing_a_dag_loads_nothing_heavy(dag: Path, airflows_own: set[str]) -> None:
    """Nor does making a DAG's tasks."""
    assert _heavy(f"import runpy\nrunpy.run_path({str(dag)!r})") <= airflows_own
