"""The check of a job against its account store, before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.builders import job_of, write_lines
from tests.machine import free_port
from tts_pipeline.account.amounts import parse_amount
from tts_pipeline.account.budgets import Condition, Terms, set_budget
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.sqlite import SqliteDatabase
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Job, run_job, validate


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a budget on the team radio."""
    path = tmp_path / "account.db"
    database = SqliteDatabase(path)
    migrate(database)
    with database.transaction(durable=True) as transaction:
        set_budget(transaction, Terms("radio", parse_amount("0CNY"), "ever", condition=Condition({"team": "radio"})))
        set_budget(transaction, Terms("euros", parse_amount("1EUR"), "ever", condition=Condition({"team": "tv"})))
    database.close()
    return path


def _job(folder: Path, store: Path | str, **options: Any) -> Job:
    write_lines(folder / "lines.parquet", 3, team=["radio"] * 3)
    return job_of(folder, options={"account_store": str(store), **options})


@pytest.mark.parametrize(
    "options", [{"tag_columns": {"team": "team"}}, {"tags": {"team": "tv"}}], ids=["by row", "currency"]
)
def test_a_budget_that_cannot_be_kept_is_refused(tmp_path: Path, store: Path, options: dict[str, Any]) -> None:
    """In the words of the run, and before a dataset is begun."""
    job = _job(tmp_path, store, **options)
    with pytest.raises(ConfigurationError, match=r"the budget '(radio|euros)'") as refusal:
        validate(job)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigurationError) as refusal_of_run:
        run_job(job)
    assert str(refusal.value) == str(refusal_of_run.value)


@pytest.mark.parametrize("tags", [{"team": "radio"}, {"team": "press"}])
def test_a_budget_that_can_be_kept_is_not(tmp_path: Path, store: Path, tags: dict[str, str]) -> None:
    """Neither if nothing is left of it: a run stops for that in good order; nor if it counts other jobs."""
    assert validate(_job(tmp_path, store, tags=tags)).descriptor.rows == 3


@pytest.mark.parametrize("store", ["mysql://host/database", "no database", "no server"])
def test_a_store_that_cannot_be_used_is_refused(tmp_path: Path, store: str) -> None:
    """As by the run, in the same words."""
    if store == "no database":
        store = str(tmp_path / "notes.txt")
        Path(store).write_text("not a database " * 100)
    elif store == "no server":
        pytest.importorskip("psycopg", reason="needs psycopg: pip install 'tts-pipeline[postgres]'")
        store = f"postgresql://user@127.0.0.1:{free_port()}/database"
    job = _job(tmp_path, store)
    with pytest.raises(ConfigurationError) as refusal:
        validate(job)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigurationError) as refusal_of_run:
        run_job(job)
    assert str(refusal.value) == str(refusal_of_run.value)


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A check writes nothing."""
    validate(_job(tmp_path, tmp_path / "state" / "account.db"))
    assert not (tmp_path / "state").exists()
