"""One dataset by many tasks: the plan's shards, run in any order, published once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from tests.airflow.tasks import context_of, job_fields, run_task
from tests.builders import write_lines
from tests.datasets import check_bill, read_table
from tts_pipeline.airflow.operators.shards import (
    SpeechPlanOperator,
    SpeechPublishOperator,
    SpeechSynthesizeShardOperator,
)
from tts_pipeline.config import BudgetCap
from tts_pipeline.emulator.local_service import LocalService


def _plan(folder: Path, max_shards: int = 3, **changes: Any) -> Any:
    return run_task(SpeechPlanOperator(task_id="plan", max_shards=max_shards, **job_fields(folder, **changes)))


def _shard(folder: Path, shard: Any, **changes: Any) -> SpeechSynthesizeShardOperator:
    return SpeechSynthesizeShardOperator(task_id="synthesize", shard=shard, **job_fields(folder, **changes))


def _publish(folder: Path, **changes: Any) -> Any:
    outlets = changes.pop("outlets", [])
    return SpeechPublishOperator(task_id="publish", outlets=outlets, **job_fields(folder, **changes))


def test_plan_shards_publish(tmp_path: Path, service: LocalService) -> None:
    """In any order; the result and the asset event are the whole dataset's."""
    write_lines(tmp_path / "lines.parquet", 23)
    shards = _plan(tmp_path)
    for shard in reversed(shards):
        run_task(_shard(tmp_path, shard))
    asset = Asset("spoken")
    task = _publish(tmp_path, outlets=[asset])
    context = context_of(task)
    result = run_task(task, outlet_events=context["outlet_events"])
    assert (len(shards), result["rows"], result["speech"]) == (3, 23, 23)
    assert context["outlet_events"][asset].extra["rows"] == 23
    assert read_table(tmp_path / "out", "speech")["utterance_id"].to_pylist() == [f"r{n}" for n in range(23)]
    check_bill(tmp_path / "out", service)


def test_the_plan_is_the_same_whatever_is_done(tmp_path: Path, service: LocalService) -> None:
    """So a cleared mapped task finds its own parts."""
    write_lines(tmp_path / "lines.parquet", 23)
    shards = _plan(tmp_path)
    run_task(_shard(tmp_path, shards[1]))
    assert _plan(tmp_path) == shards
    run_task(_shard(tmp_path, shards[1]))
    assert service.bill()["received"] == 10


def test_a_plan_of_nothing_is_one_shard(tmp_path: Path, service: LocalService) -> None:
    """A mapped task needs something to map over; publishing gives an empty dataset."""
    (shard,) = _plan(tmp_path)
    task = _shard(tmp_path, shard)
    assert (task.shard_label, run_task(task)["rows"]) == ("no parts", 0)
    assert run_task(_publish(tmp_path))["rows"] == 0


def test_a_plan_of_nothing_can_be_skipped(tmp_path: Path, service: LocalService) -> None:
    """The whole group is, then."""
    with pytest.raises(AirflowSkipException):
        run_task(SpeechPlanOperator(task_id="plan", on_empty="skip", **job_fields(tmp_path)))


def test_a_plan_takes_little_of_airflows_database(tmp_path: Path, service: LocalService) -> None:
    """Also one of as many shards as there may be."""
    write_lines(tmp_path / "lines.parquet", 1_200)
    shards = _plan(tmp_path, 1_000, options={"part_rows": 1})
    assert len(shards) == 1_000
    assert len(json.dumps(shards)) < 50_000
    assert len(json.dumps(_plan(tmp_path, 8, options={"part_rows": 1}))) < 400


@pytest.mark.parametrize("max_shards", [0, 1_001])
def test_there_are_1_to_1000_shards(tmp_path: Path, max_shards: int) -> None:
    """Airflow maps over 1,024 at most."""
    with pytest.raises(ValueError, match="max_shards"):
        SpeechPlanOperator(task_id="plan", max_shards=max_shards, **job_fields(tmp_path))


def test_assets_are_given_out_where_the_dataset_is_whole(tmp_path: Path) -> None:
    """A shard that gave one out would announce a dataset with holes."""
    fields = {"outlets": [Asset("spoken")], **job_fields(tmp_path)}
    with pytest.raises(ValueError, match="SpeechPublishOperator"):
        SpeechPlanOperator(task_id="plan", **fields)
    with pytest.raises(ValueError, match="SpeechPublishOperator"):
        SpeechSynthesizeShardOperator(task_id="synthesize", shard={}, **fields)


def test_publishing_too_early_is_told_and_retried(tmp_path: Path, service: LocalService) -> None:
    """Parts are named."""
    write_lines(tmp_path / "lines.parquet", 23)
    shards = _plan(tmp_path)
    run_task(_shard(tmp_path, shards[0]))
    with pytest.raises(AirflowException, match=r"4 of 5 parts are not done: part-00001"):
        run_task(_publish(tmp_path))


def test_all_shards_draw_from_one_cap(tmp_path: Path, service: LocalService) -> None:
    """A shard may spend all of it; once it is spent, every further shard fails immediately, and no retry is in vain."""
    write_lines(tmp_path / "lines.parquet", 60)
    changes = {"options": {"budget": BudgetCap(max_characters=200)}}
    first, *others = _plan(tmp_path, 4, **changes)
    assert run_task(_shard(tmp_path, first, **changes))["speech"] == 15
    for shard in [*others, *others]:
        with pytest.raises(AirflowFailException, match="the budget of 200 characters is used up"):
            run_task(_shard(tmp_path, shard, **changes))
    assert 190 < service.bill()["characters"] <= 200


def test_a_shard_is_named_by_its_parts(tmp_path: Path) -> None:
    """In Airflow's grid; the template is there without being asked for."""
    shards = [{"index": index, "shards": 3, "parts": 5} for index in range(3)]
    assert [_shard(tmp_path, shard).shard_label for shard in shards] == ["part 0", "parts 1-2", "parts 3-4"]
    mapped = SpeechSynthesizeShardOperator.partial(task_id="mapped", **job_fields(tmp_path)).expand(shard=shards)
    assert mapped.map_index_template == "{{ task.shard_label }}"
