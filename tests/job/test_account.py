"""A job and its account store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.account.workers import worker
from tests.builders import job_of, write_lines
from tests.conftest import StartEmulator
from tts_pipeline.account import budgets, pots
from tts_pipeline.account.amounts import parse_amount
from tts_pipeline.account.budgets import Terms
from tts_pipeline.account.database import Transaction
from tts_pipeline.account.exchange import HEARTBEAT_S
from tts_pipeline.account.identity import dataset_id
from tts_pipeline.account.location import NO_STORE, find_store
from tts_pipeline.account.pots import CLOSED, Spending, Want
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.session import AccountSession
from tts_pipeline.account.sqlite import SqliteDatabase
from tts_pipeline.account.worker_rows import LEASE_US, all_workers, register
from tts_pipeline.client.client import SpeechClient
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError
from tts_pipeline.job import Job, plan, run_job, run_parts
from tts_pipeline.job.account import covers_shards
from tts_pipeline.periods import EVER, Period

START_AND_END = 4
"""The tables are made or looked at, with a lock before that; the worker is registered, and removed."""


def test_one_job_alone_leaves_the_store_in_peace(
    emulator: StartEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without rates and budgets: a transaction a second, and a few at the start and the end, whatever it sends."""
    began_s: list[float] = []
    really_begin = SqliteDatabase.transaction

    @contextmanager
    def begin(database: SqliteDatabase, *, durable: bool = False) -> Iterator[Transaction]:
        began_s.append(time.monotonic())
        with really_begin(database, durable=durable) as transaction:
            yield transaction

    monkeypatch.setattr(SqliteDatabase, "transaction", begin)
    rows = 150
    write_lines(tmp_path / "lines.parquet", rows)
    service = emulator(voice_mode="tone", latency_ms=200)
    report = run_job(job_of(tmp_path, service.url, options={"account_store": str(tmp_path / "account.db")}))
    assert report.this_run.speech == rows
    span_s = began_s[-1] - began_s[0]
    print(f"{len(began_s)} transactions in {span_s:.1f} s")
    assert span_s > 3 * HEARTBEAT_S
    assert 3 < len(began_s) <= span_s / HEARTBEAT_S + START_AND_END
    gaps_s = [later - earlier for earlier, later in pairwise(began_s[START_AND_END - 1 : -1])]
    assert min(gaps_s) > 0.99 * HEARTBEAT_S


def _rate_job(folder: Path, url: str, **options: object) -> Job:
    return job_of(folder, url, options=options, limits={"requests_per_minute": 1_200})


def _note(job: Job) -> str:
    return " ".join(run_job(job).notes)


def test_limits_that_are_not_shared_are_told_once(tmp_path: Path, tone_service: LocalService) -> None:
    """In the report, if a limit is known and others may spend on the account without meeting this process."""
    write_lines(tmp_path / "lines.parquet", 2)
    store = str(tmp_path / "account.db")
    assert not run_job(_rate_job(tmp_path, tone_service.url, account_store=store)).notes
    told = {
        name: _note(replace(_rate_job(tmp_path, tone_service.url, **options), destination=destination))
        for name, destination, options in (
            ("none", tmp_path / "other", {"account_store": NO_STORE}),
            ("bucket", "memory://bucket/out", {"account_store": store}),
        )
    }
    assert "other processes do not share the account's limits" in told["none"]
    assert "only the processes of this machine share the account's limits" in told["bucket"]
    assert all("give `account_store` (or TTS_ACCOUNT_STORE) a PostgreSQL database" in note for note in told.values())
    assert not run_job(replace(_rate_job(tmp_path, tone_service.url), destination=tmp_path / "other")).notes, "no row"
    unlimited = job_of(tmp_path, tone_service.url, options={"account_store": NO_STORE})
    assert not run_job(replace(unlimited, destination=tmp_path / "unlimited")).notes


@pytest.mark.parametrize("setting", ["none", "unusable", "file"])
def test_shards_that_share_no_store_divide_the_limits(
    tmp_path: Path,
    tone_service: LocalService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    setting: str,
) -> None:
    """Also where the default store cannot be used; the plan says so, and each report."""
    write_lines(tmp_path / "lines.parquet", 40)
    options: dict[str, object] = {} if setting == "unusable" else {"account_store": NO_STORE}
    monkeypatch.delenv("TTS_ACCOUNT_STORE")
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    if setting == "file":
        options["account_store"] = str(tmp_path / "account.db")
    limits_seen: list[float | None] = []
    really_limit = SpeechClient.__init__

    def init(client: SpeechClient, *arguments: Any, **named: Any) -> None:
        limits_seen.append(arguments[2].requests_per_minute)
        really_limit(client, *arguments, **named)

    monkeypatch.setattr(SpeechClient, "__init__", init)
    job = _rate_job(tmp_path, tone_service.url, **options)
    shards = plan(job, 4)
    reports = [run_parts(job, shard) for shard in shards]
    is_shared = setting == "file"
    assert limits_seen == 4 * [1_200 if is_shared else 300]
    notes = [note for report in reports for note in report.notes]
    assert len(notes) == (0 if is_shared else 4)
    assert all("4 shards share no account store" in note for note in notes)
    assert ("4 shards share no account store" in caplog.text) != is_shared


def test_a_file_covers_the_shards_of_one_machine(tmp_path: Path) -> None:
    """Also one that was named: each machine has its own. A PostgreSQL database covers all."""
    for place, covers in ((str(tmp_path / "account.db"), False), ("postgresql://host/db", True)):
        local = job_of(tmp_path, options={"account_store": place})
        assert covers_shards(local)
        assert covers_shards(replace(local, destination="s3://bucket/out")) is covers


def test_a_store_that_may_hold_budgets_is_not_passed_by(
    tmp_path: Path, tone_service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default one, too, once it is there: damaged, or locked by a process that was stopped."""
    write_lines(tmp_path / "lines.parquet", 2)
    monkeypatch.delenv("TTS_ACCOUNT_STORE")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    location = find_store(None)
    assert location is not None
    Path(location.place).parent.mkdir(parents=True)
    Path(location.place).write_bytes(b"no database " * 1_000)
    with pytest.raises(ConfigurationError, match="not a database") as caught:
        run_job(job_of(tmp_path, tone_service.url))
    assert "give `account_store` none" in str(caught.value.hint)
    assert tone_service.bill()["requests"] == 0
    assert run_job(job_of(tmp_path, tone_service.url, options={"account_store": NO_STORE})).this_run.speech == 2


def test_an_interruption_while_the_store_is_asked_leaves_no_worker(
    tmp_path: Path, tone_service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would live on in a notebook, and hold its share."""
    write_lines(tmp_path / "lines.parquet", 2)
    store = SqliteDatabase(tmp_path / "account.db")
    really_start = AccountSession.start

    def start(session: AccountSession) -> None:
        really_start(session)
        raise KeyboardInterrupt

    monkeypatch.setattr(AccountSession, "start", start)
    with pytest.raises(KeyboardInterrupt):
        run_job(job_of(tmp_path, tone_service.url, options={"account_store": str(tmp_path / "account.db")}))
    with store.transaction() as transaction:
        assert all_workers(transaction) == []
    store.close()


def test_a_dataset_that_is_done_settles_its_dead(tmp_path: Path, tone_service: LocalService) -> None:
    """The run that ended just before it could give back its rest: nobody else would."""
    write_lines(tmp_path / "lines.parquet", 2)
    place = str(tmp_path / "account.db")
    store = SqliteDatabase(Path(place))
    migrate(store)
    with store.transaction(durable=True) as transaction:
        budgets.set_budget(transaction, Terms("radio", parse_amount("1000 characters"), "ever"))
        (budget,) = budgets.list_budgets(transaction)
    job = job_of(tmp_path, tone_service.url, options={"account_store": place})
    invocation_id = run_job(job).invocation_id
    with store.transaction(durable=True) as transaction:  # as if it had died at its very end
        (charged,) = pots.sizes(transaction, (budget.budget_id, EVER)).values()
        now_us = transaction.now_us()
        register(transaction, worker(invocation_id, dataset_id=dataset_id(job.destination)), now_us - LEASE_US)
        pots.report(transaction, invocation_id, [Spending(budget.budget_id, Period(EVER), charged, charged)])
        want = Want(budget.budget_id, Period(EVER), 500, 500)
        assert not pots.draw(transaction, invocation_id, [want], now_us - LEASE_US).refusals
        assert pots.sizes(transaction, (budget.budget_id, EVER))[invocation_id] >= 500
    assert run_job(job).this_run.attempts == 0
    with store.transaction() as transaction:
        assert pots.sizes(transaction, (budget.budget_id, EVER)) == {CLOSED: charged}
    store.close()
