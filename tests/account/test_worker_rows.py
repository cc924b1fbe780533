"""Workers share an account while they live: a lease that ended takes its worker out, and a heartbeat brings it back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.postgres import AccountDatabase
from tts_pipeline.account.database import Transaction
from tts_pipeline.account.identity import Account
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.worker_rows import LEASE_US, PRUNE_US, Crowd, Worker, crowd_of, end, register, renew

_NOW_US = 1_800_000_000_000_000
_ACCOUNT = Account("modelstream", "newsroom", "m")


@pytest.fixture
def transaction(account_database: AccountDatabase) -> Iterator[Transaction]:
    """A transaction in a store without workers."""
    database = account_database()
    migrate(database)
    with database.transaction() as transaction:
        yield transaction


def _worker(worker_id: str, dataset_id: str = "d", interval_us: int | None = 50_000) -> Worker:
    return Worker(worker_id, _ACCOUNT, dataset_id, "/out/é", "run", "host", 4_194_304, _NOW_US, interval_us)


def _register(transaction: Transaction, *workers: Worker, now_us: int = _NOW_US, is_waiting: bool = True) -> None:
    for worker in workers:
        register(transaction, worker, now_us)
        assert renew(transaction, worker, now_us, is_waiting=is_waiting)


def test_one_alone_is_a_crowd_of_one(transaction: Transaction) -> None:
    """As a session takes it to be before its first look."""
    for interval_us in (50_000, 0):
        worker = _worker(f"w{interval_us}", interval_us=interval_us)
        _register(transaction, worker)
        assert crowd_of(transaction, worker, _NOW_US) == Crowd.of_one(worker)
        end(transaction, worker.worker_id)


def test_those_who_wait_share_by_jobs_and_by_workers(transaction: Transaction) -> None:
    """Three shards of one job and a job of one: two jobs; who does not wait has no share."""
    shards = [_worker(f"w{number}", "sharded") for number in range(3)]
    alone, idle = _worker("alone", "alone"), _worker("idle", "idle")
    _register(transaction, *shards, alone)
    _register(transaction, idle, is_waiting=False)
    assert crowd_of(transaction, shards[0], _NOW_US) == Crowd(6, 50_000, 1)
    assert crowd_of(transaction, alone, _NOW_US) == Crowd(2, 50_000, 1)
    assert crowd_of(transaction, idle, _NOW_US) == Crowd(3, 50_000, 1)  # about to wait


def test_the_lowest_rate_is_that_of_the_account(transaction: Transaction) -> None:
    """How many different ones there are is told; a worker without a rate has none."""
    workers = [_worker("a"), _worker("b", interval_us=70_000), _worker("c", interval_us=None)]
    _register(transaction, *workers)
    crowd = crowd_of(transaction, workers[2], _NOW_US)
    assert (crowd.interval_us, crowd.rates) == (70_000, 2)


def test_another_account_is_another_crowd(transaction: Transaction) -> None:
    """Another service, key or model."""
    worker = _worker("w")
    others = [
        replace(_worker(f"{number}"), account=account)
        for number, account in enumerate(
            (replace(_ACCOUNT, service="baze"), replace(_ACCOUNT, name="radio"), replace(_ACCOUNT, model="n"))
        )
    ]
    _register(transaction, worker, *others)
    assert crowd_of(transaction, worker, _NOW_US).sharers == 1


def test_a_worker_that_falls_silent_loses_its_share(transaction: Transaction) -> None:
    """When its lease has ended; its next heartbeat brings it back, and its end removes it at once."""
    silent, other = _worker("silent", "one"), _worker("other", "two")
    _register(transaction, silent, other)
    later_us = _NOW_US + LEASE_US
    assert renew(transaction, other, later_us, is_waiting=True)
    assert crowd_of(transaction, other, later_us - 1).sharers == 2
    assert crowd_of(transaction, other, later_us).sharers == 1
    assert renew(transaction, silent, later_us, is_waiting=True)
    assert crowd_of(transaction, other, later_us).sharers == 2
    end(transaction, "silent")
    assert crowd_of(transaction, other, later_us).sharers == 1
    assert not renew(transaction, silent, later_us, is_waiting=True)


def test_registering_again_changes_nothing(transaction: Transaction) -> None:
    """A commit whose answer was lost is done once more."""
    worker = _worker("w")
    _register(transaction, worker, worker)
    assert crowd_of(transaction, worker, _NOW_US).sharers == 1


def test_the_long_dead_are_forgotten(transaction: Transaction) -> None:
    """When somebody registers; those of this week are kept, to be looked at."""
    _register(transaction, _worker("of last month"), now_us=_NOW_US - PRUNE_US - LEASE_US - 1)
    _register(transaction, _worker("of this week"), now_us=_NOW_US - PRUNE_US // 2)
    _register(transaction, _worker("new"))
    rows = transaction.execute("SELECT worker_id FROM tts_worker ORDER BY worker_id")
    assert rows == [("new",), ("of this week",)]
