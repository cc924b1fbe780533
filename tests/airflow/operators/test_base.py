"""What all tasks about a job have in common: whose requests they are, how they fail, how they wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from tests.airflow.conftest import KEY, connection
from tests.airflow.tasks import context_of, job_fields, run_task
from tests.builders import write_lines
from tests.datasets import check_bill, read_table
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.config import BudgetCap, InputColumns
from tts_pipeline.emulator.local_service import LocalService

WRONG_KEY = {"what": "error", "status": 401, "code": "InvalidApiKey", "message": "no such key", "after": 7}


def _speak(folder: Path, **changes: Any) -> SpeechSynthesizeOperator:
    return SpeechSynthesizeOperator(task_id="speak", **job_fields(folder, **changes))


def test_every_request_says_whose_it_was(tmp_path: Path, service: LocalService) -> None:
    """The task's place in Airflow and the user's own tags are in each usage row, and the connection's account."""
    write_lines(tmp_path / "lines.parquet", 6)
    run_task(_speak(tmp_path, tags={"team": "newsroom"}))
    tags = {"dag_id": "night", "task_id": "speak", "run_id": "manual__1", "map_index": "-1", "team": "newsroom"}
    assert [dict(row) for row in read_table(tmp_path / "out", "usage")["tags"].to_pylist()] == [tags] * 6


def test_a_tag_that_renders_as_a_number_is_text(tmp_path: Path, service: LocalService) -> None:
    """As a date does in a DAG that renders templates as native objects; the bill is published all the same."""
    write_lines(tmp_path / "lines.parquet", 2)
    task = _speak(tmp_path, tags={"day": 20260101})
    run_task(task)
    assert {dict(row)["day"] for row in read_table(tmp_path / "out", "usage")["tags"].to_pylist()} == {"20260101"}


def test_columns_are_a_mapping_or_the_whole_value(tmp_path: Path, service: LocalService) -> None:
    """Parameter -> column, as for ``tts_pipeline.run``; or also where id and text are."""
    write_lines(tmp_path / "lines.parquet", 2, narrator=["Cherry", "Aiden"])
    run_task(_speak(tmp_path, parameters=None, columns={"voice": "narrator"}))
    assert read_table(tmp_path / "out", "speech")["voice"].to_pylist() == ["Cherry", "Aiden"]
    columns = InputColumns(utterance_id="narrator")
    run_task(_speak(tmp_path, columns=columns, destination=str(tmp_path / "other")))
    assert read_table(tmp_path / "other", "speech")["utterance_id"].to_pylist() == ["Cherry", "Aiden"]


def test_folders_are_columns_unless_it_is_said(tmp_path: Path, service: LocalService) -> None:
    """As for a run: by a field of the task, or in the whole value."""
    write_lines(tmp_path / "in" / "night=1" / "lines.parquet", 2)
    cases: list[dict[str, Any]] = [{}, {"hive": False}, {"columns": InputColumns(hive=False)}]
    for number, changes in enumerate(cases):
        out = tmp_path / str(number)
        run_task(_speak(tmp_path, source=str(tmp_path / "in"), destination=str(out), **changes))
        assert ("night" in read_table(out, "speech").column_names) == (number == 0)


def test_a_fatal_error_fails_without_a_retry_and_keeps_what_is_done(tmp_path: Path, service: LocalService) -> None:
    """A wrong key is wrong in the next try too; when it is mended, nothing is bought again."""
    write_lines(tmp_path / "lines.parquet", 12)
    service.set_faults([WRONG_KEY])
    with pytest.raises(AirflowFailException, match=r"InvalidApiKey.*clear the task to continue") as exc_info:
        run_task(_speak(tmp_path, limits={"max_concurrency": 1}))
    assert KEY not in str(exc_info.value)
    service.clear_faults()
    assert run_task(_speak(tmp_path))["speech"] == 12
    assert service.bill()["charged"] == 12
    check_bill(tmp_path / "out", service)


def test_usage_is_cumulative_over_tries(tmp_path: Path, service: LocalService) -> None:
    """The result of the try that succeeds counts what earlier ones bought."""
    write_lines(tmp_path / "lines.parquet", 12)
    service.set_faults([WRONG_KEY])
    with pytest.raises(AirflowFailException):
        run_task(_speak(tmp_path, limits={"max_concurrency": 1}))
    service.clear_faults()
    result = run_task(_speak(tmp_path))
    assert result["attempts"] == read_table(tmp_path / "out", "usage").num_rows == service.bill()["received"]
    assert result["characters_billed"] == service.bill()["characters"]


def test_the_budget_stops_with_its_own_message(tmp_path: Path, service: LocalService) -> None:
    """And without a retry: the cap counts all tries."""
    write_lines(tmp_path / "lines.parquet", 12)
    budget = BudgetCap(max_cost=Decimal("0.004"), currency="CNY")
    with pytest.raises(AirflowFailException, match="CNY"):
        run_task(_speak(tmp_path, options={"budget": budget}))
    assert 0 < service.bill()["characters"] <= 50
    assert run_task(_speak(tmp_path))["speech"] == 12


def test_too_many_rejects_fail_with_their_own_message(tmp_path: Path, service: LocalService) -> None:
    """A few are a table, and no failure."""
    write_lines(tmp_path / "lines.parquet", 12)
    service.set_faults([{"what": "refuse", "text": text} for text in ("Line 3.", "Line 5.", "Line 7.")])
    with pytest.raises(AirflowFailException, match="more than 2 utterances were rejected"):
        run_task(_speak(tmp_path, options={"max_rejects": 2}))
    result = run_task(_speak(tmp_path))
    assert (result["speech"], result["rejects"]) == (9, 3)


def test_an_outage_is_retried(tmp_path: Path, service: LocalService) -> None:
    """It may be over by the next try."""
    write_lines(tmp_path / "lines.parquet", 3)
    service.set_faults([{"what": "error", "status": 503, "code": "Unavailable", "message": "down"}])
    with pytest.raises(AirflowException, match="clear the task to continue") as exc_info:
        run_task(_speak(tmp_path, limits={"max_outage_s": 0.2, "retry_wait_s": 0.01}))
    assert not isinstance(exc_info.value, AirflowFailException)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"model": "no-such-model", "parameters": {}, "columns": {"voice": "speaker"}}, "speaker"),
     ({"parameters": {"voice": "Nobody"}}, "Nobody"),
     ({"speech_conn_id": "speech_wrong"}, "names no service")],
)  # fmt: skip
def test_a_wrong_setting_is_never_retried(
    tmp_path: Path, service: LocalService, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    """It is said before anything is sent."""
    monkeypatch.setenv("AIRFLOW_CONN_SPEECH_WRONG", '{"conn_type": "speech", "password": "sk-unused"}')
    write_lines(tmp_path / "lines.parquet", 3)
    with pytest.raises(AirflowFailException, match=message):
        run_task(_speak(tmp_path, **changes))
    assert service.bill()["received"] == 0


def test_a_value_that_no_list_knows_is_let_through_when_asked(tmp_path: Path, service: LocalService) -> None:
    """As with ``--unchecked``; whether it is a voice is the service's to say."""
    write_lines(tmp_path / "lines.parquet", 1)
    run_task(_speak(tmp_path, parameters={"voice": "Nobody"}, unchecked=["voice"]))
    assert service.bill()["received"] == 1


def test_a_long_pause_is_waited_for_without_a_slot(tmp_path: Path, service: LocalService) -> None:
    """Beyond the bound the task is deferred until then, and goes on with what is left."""
    write_lines(tmp_path / "lines.parquet", 12)
    service.set_faults([{"what": "throttle", "retry_after_s": 600, "after": 5, "count": 1}])
    task = _speak(tmp_path, limits={"max_concurrency": 1})
    with pytest.raises(TaskDeferred) as exc_info:
        run_task(task)
    assert exc_info.value.method_name == "resume"
    wait = exc_info.value.trigger.serialize()[1]["moment"] - datetime.now(UTC)
    assert timedelta(seconds=590) < wait <= timedelta(seconds=600)
    result = task.resume(context_of(task), event=datetime.now(UTC))
    assert result["speech"] == 12
    assert service.bill()["charged"] == 12


def test_a_short_pause_is_waited_for_in_the_task(tmp_path: Path, service: LocalService) -> None:
    """Up to the bound, which is the user's."""
    write_lines(tmp_path / "lines.parquet", 6)
    service.set_faults([{"what": "throttle", "retry_after_s": 0.3, "after": 2, "count": 1}])
    assert run_task(_speak(tmp_path, defer_after=timedelta(seconds=1)))["speech"] == 6


def test_without_deferral_a_long_pause_is_a_failure_that_is_retried(tmp_path: Path, service: LocalService) -> None:
    """The message says until when; what is done is kept."""
    write_lines(tmp_path / "lines.parquet", 6)
    service.set_faults([{"what": "throttle", "retry_after_s": 7_200, "after": 2, "count": 1}])
    with pytest.raises(AirflowException, match="until") as exc_info:
        run_task(_speak(tmp_path, defer_after=None))
    assert not isinstance(exc_info.value, AirflowFailException)


def test_the_link_leads_to_the_dataset_or_to_its_page(
    tmp_path: Path, service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection may say where pages are served."""
    write_lines(tmp_path / "lines.parquet", 1)
    task = _speak(tmp_path)
    (link,) = task.operator_extra_links
    key: Any = None
    assert link.get_link(task, ti_key=key) == ""
    run_task(task)
    assert link.get_link(task, ti_key=key) == f"file://{tmp_path}/out/README.md"
    page = connection(service.url, report_url="https://speech.example/?of={dataset}")
    monkeypatch.setenv("AIRFLOW_CONN_SPEECH_DEFAULT", page)
    task = _speak(tmp_path)
    run_task(task)
    assert link.get_link(task, ti_key=key).startswith("https://speech.example/?of=%2F")


def test_fields_of_text_are_templates() -> None:
    """What may differ between runs; not the values that say how a job is run."""
    names = set(SpeechSynthesizeOperator.template_fields)
    assert {"source", "destination", "model", "parameters", "tags", "speech_conn_id"} <= names
    assert "options" not in names


def test_a_task_that_is_killed_before_it_began_sends_nothing(tmp_path: Path, service: LocalService) -> None:
    """As when the signal comes while the job is still being checked; the next try is another task."""
    write_lines(tmp_path / "lines.parquet", 6)
    task = _speak(tmp_path)
    task.on_kill()
    with pytest.raises(AirflowException, match="interrupted by Airflow"):
        run_task(task)
    assert service.bill()["received"] == 0
    assert run_task(_speak(tmp_path))["speech"] == 6
