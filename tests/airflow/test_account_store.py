"""The account store of a connection: every task that spends uses it, and its password is shown nowhere."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk", reason="apache-airflow is not installed (pip install 'tts-pipeline[airflow]')")

from airflow.sdk._shared.secrets_masker import redact
from airflow.sdk.exceptions import AirflowFailException

from tests.airflow.conftest import connection
from tests.airflow.home import Airflow
from tests.airflow.tasks import job_fields, run_task
from tests.builders import write_lines
from tests.postgres import PASSWORD, USER, PostgresServer
from tts_pipeline.account.database import Database
from tts_pipeline.account.store_thread import StoreThread
from tts_pipeline.airflow.account_store import read_store
from tts_pipeline.airflow.hook import SpeechHook
from tts_pipeline.airflow.operators.shards import (
    SpeechPlanOperator,
    SpeechPublishOperator,
    SpeechSynthesizeShardOperator,
)
from tts_pipeline.airflow.operators.synthesize import SpeechSynthesizeOperator
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError

_SPEECH = "AIRFLOW_CONN_SPEECH_DEFAULT"
_STORE = "AIRFLOW_CONN_OUR_STORE"


def _postgres_connection(**fields: Any) -> str:
    return json.dumps({"conn_type": "postgres", "host": "db.example", "schema": "speech", **fields})


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "postgresql://db.example/speech"),
        ({"login": "u", "password": "hunter2", "port": 5433}, "postgresql://u:hunter2@db.example:5433/speech"),
        ({"login": "a@b", "password": "/?%"}, "postgresql://a%40b:%2F%3F%25@db.example/speech"),
        ({"host": "::1", "schema": ""}, "postgresql://[::1]/"),
        (
            {"extra": {"sslmode": "require", "cursor": "dictcursor", "iam": True, "options": "-c a=b"}},
            "postgresql://db.example/speech?sslmode=require&options=-c%20a%3Db",
        ),
    ],
)
def test_a_connection_to_postgresql_becomes_a_url(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], url: str
) -> None:
    """With what libpq knows; fields of Airflow's own hook are left out."""
    monkeypatch.setenv(_STORE, _postgres_connection(**fields))
    assert read_store("our_store") == url


@pytest.mark.parametrize("setting", ["none", "./account.db", "/shared/account.db", "postgresql://u@h/d"])
def test_a_setting_is_taken_as_it_is(setting: str) -> None:
    """A path has a slash."""
    assert read_store(setting) == setting


def test_what_is_wrong_with_the_connection_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of this name; one to something else."""
    with pytest.raises(ConfigurationError, match=r"no connection 'our_store'.*a path has a slash"):
        read_store("our_store")
    monkeypatch.setenv(_STORE, json.dumps({"conn_type": "http", "host": "h", "password": "hunter2"}))
    with pytest.raises(ConfigurationError, match=r"'our_store' .*of type 'http'.*Postgres") as exc_info:
        read_store("our_store")
    assert "hunter2" not in str(exc_info.value)


def test_its_password_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the connection and from a URL, as it is and percent-encoded."""
    monkeypatch.setenv(_STORE, _postgres_connection(login="u", password="masked/from/a/connection"))
    read_store("our_store")
    read_store("postgresql://u:masked%2Ffrom%2Fa%2Furl@h/d")
    for secret in ("masked/from/a/connection", "masked%2Ffrom%2Fa%2Fconnection", "masked/from/a/url"):
        assert redact(f"it is {secret}!") == "it is ***!"


def test_a_hook_without_the_field_names_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's variable and its default hold; blanks of a form are nothing."""
    for empty in ({}, {"account_store": ""}, {"account_store": "  "}, {"account_store": None}):
        monkeypatch.setenv(_SPEECH, connection("modelstream", **empty))
        assert SpeechHook().account_store() is None


def _opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record which stores runs meet in from now on."""
    places: list[str] = []
    really_take = StoreThread.take

    def take(place: str, open_database: Callable[[], Database]) -> StoreThread:
        places.append(place)
        return really_take(place, open_database)

    monkeypatch.setattr(StoreThread, "take", take)
    return places


def test_every_task_that_spends_uses_it(
    tmp_path: Path, tone_service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, or as a shard; what is set in the DAG goes before it."""
    write_lines(tmp_path / "lines.parquet", 12)
    store, other = str(tmp_path / "store" / "account.db"), str(tmp_path / "other" / "account.db")
    monkeypatch.setenv(_SPEECH, connection(tone_service.url, account_store=store))
    opened = _opened(monkeypatch)
    run_task(SpeechSynthesizeOperator(task_id="speak", **job_fields(tmp_path, destination=str(tmp_path / "alone"))))
    assert opened == [store]
    (shard, *_) = run_task(SpeechPlanOperator(task_id="plan", **job_fields(tmp_path)))
    run_task(SpeechSynthesizeShardOperator(task_id="speak", shard=shard, **job_fields(tmp_path)))
    assert opened == [store, store]
    explicit = job_fields(tmp_path, destination=str(tmp_path / "explicit"), options={"account_store": other})
    run_task(SpeechSynthesizeOperator(task_id="speak", **explicit))
    assert opened == [store, store, other]
    without = job_fields(tmp_path, destination=str(tmp_path / "without"), options={"account_store": "none"})
    run_task(SpeechSynthesizeOperator(task_id="speak", **without))
    assert opened == [store, store, other]
    for folder in ("alone", "out", "explicit"):
        assert "account.db" not in (tmp_path / folder / "dataset.json").read_text()


def test_a_plan_and_a_publication_know_it(
    tmp_path: Path, tone_service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A field that cannot be right fails the first task, not the shards; no try more would help."""
    write_lines(tmp_path / "lines.parquet", 2)
    monkeypatch.setenv(_SPEECH, connection(tone_service.url, account_store="no_such_connection"))
    for operator in (SpeechPlanOperator, SpeechPublishOperator):
        with pytest.raises(AirflowFailException, match="no_such_connection"):
            run_task(operator(task_id="plan", **job_fields(tmp_path)))


def test_a_password_is_shown_nowhere(
    airflow: Airflow,
    tmp_path: Path,
    tone_service: LocalService,
    postgres: str,
    postgres_server: PostgresServer,
) -> None:
    """Neither by whole DAGs with a database, in logs, XCom and rendered templates, nor in a file of theirs."""
    import psycopg

    name = postgres.rpartition("/")[2]
    store = {"host": "127.0.0.1", "port": postgres_server.port, "schema": name, "login": USER, "password": PASSWORD}
    environ = {
        _SPEECH: connection(tone_service.url, account_store="our_store", requests_per_minute=6_000),
        _STORE: _postgres_connection(**store),
        "AIRFLOW_VAR_SPEECH_ROOT": str(tmp_path),
    }
    write_lines(tmp_path / "books" / "a.parquet", 12, narrator=["Cherry", "Aiden"] * 6)
    runs = [airflow.run("decorated", environ), airflow.run("speech_dataset_sharded", environ)]
    assert [run.state for run in runs] == ["success", "success"], [run.log for run in runs]
    assert all(run.result["rendered"] for run in runs)
    with psycopg.connect(postgres) as database:
        assert database.execute("SELECT sum(slots) FROM tts_rate_clock").fetchone()[0] >= 14  # type: ignore[index]
        assert database.execute("SELECT count(*) FROM tts_worker").fetchone() == (0,)
    shown = [run.log + json.dumps(run.result) for run in runs]
    shown += [path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert [text for text in shown if PASSWORD in text] == []


def test_testing_a_connection_opens_the_store(
    tmp_path: Path, tone_service: LocalService, monkeypatch: pytest.MonkeyPatch, postgres: str
) -> None:
    """It tells what it found, without the password; without the field it looks at nothing."""
    for setting in (postgres, str(tmp_path / "account.db")):
        monkeypatch.setenv(_SPEECH, connection(tone_service.url, account_store=setting))
        is_good, message = SpeechHook().test_connection()
        assert is_good, message
        assert "can be used, and 0 runs use it now" in message
        assert PASSWORD not in message
    monkeypatch.setenv(_SPEECH, connection(tone_service.url, account_store="none"))
    assert "account store" not in SpeechHook().test_connection()[1]
    assert tone_service.bill()["requests"] == 0


def test_testing_a_connection_tells_what_is_wrong_with_the_store(
    tmp_path: Path,
    tone_service: LocalService,
    monkeypatch: pytest.MonkeyPatch,
    postgres: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With a hint; no error of a driver leaves it."""
    (tmp_path / "file").write_text("no database" * 100)
    for setting, reason in (
        (f"{tmp_path}/file", "delete it"),
        (postgres.replace(PASSWORD, "hunter2-of-somebody"), "password authentication failed"),
        (postgres.replace("/of_a_test", "/no_such"), "does not exist"),
        ("mysql://u:hunter2@h/d", "give a path, postgresql://"),
        ("our_store", "Admin, Connections"),
    ):
        monkeypatch.setenv(_SPEECH, connection(tone_service.url, account_store=setting))
        with caplog.at_level(logging.DEBUG):
            is_good, message = SpeechHook().test_connection()
        assert (is_good, reason in message) == (False, True), message
        assert "hunter2" not in message + caplog.text
