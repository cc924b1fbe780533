"""The operators take the same names for the same things as the Python functions."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk import DAG

from tests.airflow.tasks import MODEL, context_of, run_task
from tests.test_same_arguments import LINES, NAMES, arguments, outcome_of, write_catalog
from tts_pipeline.airflow.operators.base import SpeechJobOperator
from tts_pipeline.airflow.operators.shards import SpeechSynthesizeShardOperator
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.airflow.task_group import speech_dataset
from tts_pipeline.catalog import load_catalog
from tts_pipeline.config import BudgetCap
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.job import RunOptions

OPTIONS = RunOptions(budget=BudgetCap(max_characters=1))


def _fields(folder: Path) -> dict[str, Any]:
    return {"source": str(folder / "lines.parquet"), "destination": str(folder / "out"), "model": MODEL}


def test_the_same_arguments_make_the_same_speech(service: LocalService, tmp_path: Path) -> None:
    """As in Python."""
    assert inspect.signature(SpeechJobOperator.__init__).parameters.keys() >= NAMES
    LINES.write_parquet(tmp_path / "lines.parquet")
    fields = {**_fields(tmp_path), **arguments(tmp_path)}
    for catalog in (str(write_catalog(tmp_path)), load_catalog(write_catalog(tmp_path))):
        task = SpeechSynthesizeOperator(task_id="speak", catalog=catalog, **fields)
        task.render_template_fields(context_of(task))
        assert task.catalog is catalog or task.catalog == catalog
        run_task(task)
    assert service.bill()["received"] == 2
    assert outcome_of(tmp_path / "out") == (["a", "b"], len("One.Two, too."), 16_000)


def test_old_attributes_of_a_task_are_the_new_ones(tmp_path: Path) -> None:
    """Read by a program of its own, or by a subclass."""
    task = SpeechSynthesizeOperator(task_id="one", options=OPTIONS, **_fields(tmp_path))
    for old, new in (("running", task.options), ("named_columns", task.input_columns)):
        with pytest.warns(DeprecationWarning, match=rf"SpeechSynthesizeOperator\.{old} is now"):
            assert getattr(task, old) == new


def test_the_old_name_of_options_works_at_every_door_of_airflow(tmp_path: Path) -> None:
    """Also among a DAG's default arguments, where an unknown name is dropped in silence: a cap is kept."""
    fields: dict[str, Any] = {**_fields(tmp_path), "running": OPTIONS}
    with pytest.warns(DeprecationWarning, match="the argument running of SpeechJobOperator is now options"):
        assert SpeechSynthesizeOperator(task_id="one", **fields).options == OPTIONS
    with DAG("by_default", default_args={"running": OPTIONS}), pytest.warns(DeprecationWarning, match="now options"):
        assert SpeechSynthesizeOperator(task_id="one", **_fields(tmp_path)).options == OPTIONS
    with DAG("mapped"):
        mapped = SpeechSynthesizeShardOperator.partial(task_id="one", **fields).expand(shard=[{}])
    assert mapped.partial_kwargs["running"] == OPTIONS
    with DAG("sharded") as dag, pytest.warns(DeprecationWarning, match="the argument running of speech_dataset"):
        speech_dataset(**fields)
    assert getattr(dag.get_task("speech_dataset.plan"), "options", None) == OPTIONS
