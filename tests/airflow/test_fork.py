"""Airflow forks: what a DAG file imports must not break the tasks of a forked child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from tests.airflow.home import ROOT
from tests.builders import write_lines
from tests.datasets import read_table
from tests.machine import patience
from tts_pipeline.emulator.local_service import LocalService

_FORK = """
import os, sys
from pathlib import Path
from tests.airflow.nights import EVERYTHING
from tests.airflow.tasks import job_fields, run_task
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.operators.usage_report import SpeechUsageReportOperator
import tts_pipeline.frames, tts_pipeline.report.usage, pyarrow.parquet

folder = Path(sys.argv[1])
child = os.fork()
if child == 0:
    dataset = run_task(SpeechSynthesizeOperator(task_id="speak", **job_fields(folder)))["dataset"]
    run_task(SpeechUsageReportOperator(task_id="report", datasets=[dataset], destination=str(folder / "bill.parquet")))
    sys.exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_runs_its_tasks(tmp_path: Path, service: LocalService) -> None:
    """The parent imported everything, as a DAG file at its top does; the child speaks, and queries with Polars."""
    write_lines(tmp_path / "lines.parquet", 12)
    command = [sys.executable, "-c", _FORK, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience(90), check=False)
    assert done.returncode == 0, done.stderr
    assert read_table(tmp_path / "out", "speech").num_rows == 12
    assert (tmp_path / "bill.parquet").exists()
