"""The commands ``account status`` and ``account forget``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.account.workers import worker
from tests.cli.conftest import Command
from tests.postgres import PASSWORD
from tts_pipeline.account import pots, rate_clock, worker_rows
from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.budgets import Terms, list_budgets, set_budget
from tts_pipeline.account.pots import Spending, Want
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.sqlite import SqliteDatabase
from tts_pipeline.periods import Period

EVER = Period("ever")
LONG_US = 3_600_000_000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a budget of 1 CNY, a worker that lives for an hour, and one that died; each was granted 0.4 CNY."""
    path = tmp_path / "account.db"
    monkeypatch.setenv("TTS_ACCOUNT_STORE", str(path))
    database = SqliteDatabase(path)
    migrate(database)
    with database.transaction() as transaction:
        set_budget(transaction, Terms("radio", Amount(10**9, "CNY"), "ever"))
        (budget,) = list_budgets(transaction)
        now_us = transaction.now_us()
        rate_clock.load(transaction, worker().account)
        for name, at_us in (("living-1", now_us + LONG_US), ("dead-1", now_us - LONG_US)):
            one = worker(name, destination=f"/data/{name}", account_concurrency=1_000)
            worker_rows.register(transaction, one, at_us, is_waiting=False)
            worker_rows.share_in_flight(transaction, one, at_us, held=0)
            pots.draw(transaction, name, [Want(budget.budget_id, EVER, 4 * 10**8, 0)], now_us)
            pots.report(transaction, name, [Spending(budget.budget_id, EVER, 10**8, 5 * 10**7)])
    database.close()
    return path


def test_people_see_rates_workers_and_budgets(command: Command, store: Path) -> None:
    """One line each, and what to do about a dead worker."""
    result = command("account", "status")
    assert (result.status, result.err) == (0, "")
    place, accounts, workers, budgets, note = result.out.rstrip("\n").split("\n\n")
    assert place == f"account store {store}"
    assert accounts.splitlines()[0].endswith("PAUSE UNTIL  MAX IN FLIGHT")
    assert accounts.splitlines()[1].split(maxsplit=9) == [
        *["local", "key", "model", "600", "0", "0", "0", "%", "-", "1,000: 1 x 1,000"]
    ]
    living, dead = workers.splitlines()[1:]
    assert living.split()[:5] == ["living-1", "lives", "host-1", "4711", "run"]
    assert living.split()[-5:] == ["0.35", "CNY", "of", "radio", "/data/living-1"]
    assert dead.split()[:2] == ["dead-1", "dead"]
    assert budgets.splitlines()[1].split() == [
        "radio",
        "ever",
        "1",
        "CNY",
        *["0.1", "0.4", "0.3", "0.2", "-", "every", "request"],
    ]
    assert "account forget WORKER" in note


def test_programs_see_the_same(command: Command, store: Path) -> None:
    """With stable names, exact amounts, and times in UTC."""
    status = command("account", "status", "--json").json
    assert status.keys() == {"store", "is_made", "at", "accounts", "workers", "budgets"}
    (account,) = status["accounts"]
    assert account == {
        "service": "local",
        "account": "key",
        "model": "model",
        "requests_per_minute": 600.0,
        "slots_given": 0,
        "throttles": 0,
        "slowdown_percent": 0.0,
        "pause_until": None,
        "account_concurrency": 1_000,
        "max_in_flight": [1_000],
    }
    living, dead = status["workers"]
    assert living.pop("lease_until") > status["at"] > dead["lease_until"]
    assert living == {
        "worker_id": "living-1",
        "is_living": True,
        "service": "local",
        "account": "key",
        "model": "model",
        "host": "host-1",
        "pid": 4711,
        "door": "run",
        "destination": "/data/living-1",
        "dataset_id": "dataset",
        "started_at": "2025-12-01T00:00:00+00:00",
        "slices": [
            {
                "budget": "radio",
                "period": "ever",
                "unit": "CNY",
                "used": "0.05",
                "possible": "0.05",
                "leased": "0.3",
                "is_waiting": False,
            }
        ],
    }
    (budget,) = status["budgets"]
    assert [budget[name] for name in ("used", "possible", "leased", "left")] == ["0.1", "0.4", "0.3", "0.2"]
    assert command("budget", "list", "--json").json["budgets"] == [budget]


def test_a_dead_worker_is_forgotten(command: Command, store: Path) -> None:
    """All that it was granted counts as spent, for good; what is left stays the same."""
    result = command("account", "forget", "dead-1")
    assert (result.status, result.err) == (0, "")
    assert "0.35 CNY of radio (ever) count as spent, beyond what is confirmed" in result.out
    status = command("account", "status", "--json").json
    assert [one["worker_id"] for one in status["workers"]] == ["living-1"]
    assert status["budgets"][0]["left"] == "0.2"
    assert "account forget" not in command("account", "status").out


@pytest.mark.parametrize(
    ("worker_id", "words"),
    [
        ("living-1", "process 4711 on host-1 makes /data/living-1"),
        ("dead-2", "Did you mean 'dead-1'?"),
        ("", "has no worker ''"),
    ],
)
def test_no_other_worker_is_forgotten(command: Command, store: Path, worker_id: str, words: str) -> None:
    """Not one that lives, and none that is unknown."""
    result = command("account", "forget", worker_id)
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert len(command("account", "status", "--json").json["workers"]) == 2


def test_a_password_in_the_environment_is_shown_nowhere(
    command: Command, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no table, no object and no error; the store is named without it."""
    monkeypatch.setenv("TTS_ACCOUNT_STORE", postgres)
    assert PASSWORD in postgres
    results = [
        command(*arguments)
        for arguments in (
            ("account", "status"),
            ("account", "status", "--json"),
            ("budget", "set", "radio", "1CNY", "--per", "ever"),
            ("account", "status"),
            ("budget", "list", "--json"),
            ("account", "forget", "nobody"),
        )
    ]
    assert [result.status for result in results] == [0, 0, 0, 0, 0, 2]
    assert results[1].json["is_made"] is False
    assert results[4].json["is_made"] is True
    for result in results:
        assert "of_a_test" in result.out + result.err
        assert PASSWORD not in result.out + result.err


@pytest.mark.parametrize("url", ["postgresql://u:of_a/test@host/db", "postgresql://u:of_a#test@host:12x/db"])
def test_a_url_that_cannot_be_read_is_refused(command: Command, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The hint says where the password goes, and is whole, although passwords are cut out of URLs."""
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'tts-pipeline[postgres]'")
    monkeypatch.setenv("TTS_ACCOUNT_STORE", url)
    result = command("account", "status")
    assert (result.status, result.out) == (2, "")
    assert "as %2F" in result.err
    assert "of_a" not in result.err
