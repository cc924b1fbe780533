"""The status of an account store: who lives, at what rate, and what is left of the budgets."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.account.workers import worker
from tests.postgres import AccountDatabase
from tts_pipeline.account import pots, rate_clock, worker_rows
from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.budgets import Terms, list_budgets, set_budget
from tts_pipeline.account.database import Database, Transaction
from tts_pipeline.account.identity import Account
from tts_pipeline.account.pots import Spending, Want
from tts_pipeline.account.rate_clock import RateClock
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.status import BudgetStatus, StoreStatus, forecast, read_status
from tts_pipeline.account.worker_rows import LEASE_US
from tts_pipeline.periods import Period, PeriodKind, instant, period_of


@pytest.fixture
def database(account_database: AccountDatabase) -> Database:
    """An empty account store of each kind."""
    database = account_database()
    migrate(database)
    return database


def _set(transaction: Transaction, kind: PeriodKind, characters: int, timezone: str | None = None) -> str:
    set_budget(transaction, Terms(kind, Amount(characters, None), kind, timezone))
    return next(one.budget_id for one in list_budgets(transaction) if one.terms.name == kind)


def _start(transaction: Transaction, name: str, *, is_living: bool = True, **changes: object) -> None:
    at_us = transaction.now_us() - (0 if is_living else LEASE_US)
    worker_rows.register(transaction, worker(name, **changes), at_us, is_waiting=False)


def _read(database: Database) -> StoreStatus:
    with database.transaction() as transaction:
        return read_status(transaction)


def _amounts(status: BudgetStatus) -> tuple[int, int, int, int]:
    return status.used.value, status.possible.value, status.leased.value, status.left.value


def test_an_empty_store_has_nothing(database: Database) -> None:
    """No accounts, no workers, no budgets."""
    status = _read(database)
    assert (status.accounts, status.workers, status.budgets) == ([], [], [])


def test_an_account_has_a_rate_and_a_pause(database: Database) -> None:
    """The lowest rate of its living workers, with what it learned from 429s."""
    slow = worker("slow", interval_us=200_000)
    with database.transaction() as transaction:
        now_us = transaction.now_us()
        for one in (slow, worker("quick")):
            worker_rows.register(transaction, one, now_us, is_waiting=False)
        _start(transaction, "dead", is_living=False, interval_us=60_000_000)
        rate_clock.load(transaction, slow.account)
        pause_until_us = now_us + 60_000_000
        clock = RateClock(pause_until_us=pause_until_us, slowdown=200, slots=1_000, throttles=3)
        rate_clock.store(transaction, slow.account, clock)
    status = _read(database)
    (account,) = status.accounts
    assert account.account == slow.account
    assert account.requests_per_minute == pytest.approx(300 / 1.02, abs=0.001)
    assert (account.slots_given, account.throttles, account.slowdown_percent) == (1_000, 3, 2)
    assert account.pause_until is not None
    assert timedelta(seconds=0) < account.pause_until - status.at <= timedelta(seconds=60)


def test_a_rate_is_of_the_living(database: Database) -> None:
    """Without them, nobody knows it; a pause that is over is none; and after a day, the account is shown no more."""
    with database.transaction() as transaction:
        _start(transaction, "dead", is_living=False)
        clock = rate_clock.load(transaction, worker().account)
        clock.look(transaction.now_us())
        rate_clock.store(transaction, worker().account, clock)
    (account,) = _read(database).accounts
    assert (account.requests_per_minute, account.pause_until) == (None, None)
    with database.transaction() as transaction:
        clock.seen_us -= 2 * 86_400_000_000
        rate_clock.store(transaction, worker().account, clock)
    assert _read(database).accounts == []


def test_an_account_has_a_number_of_requests_in_flight(database: Database) -> None:
    """The lowest limit of its living workers, and what each of them may have, one without a limit too."""
    workers = [worker("a", account_concurrency=9), worker("b", account_concurrency=5), worker("c")]
    other = Account("local", "another key", "model")
    with database.transaction() as transaction:
        _start(transaction, "dead", is_living=False, account_concurrency=1)
        _start(transaction, "other", account=other)
        now_us = transaction.now_us()
        for one in workers:
            worker_rows.register(transaction, one, now_us, is_waiting=False)
        for one in workers:
            worker_rows.share_in_flight(transaction, one, now_us, held=0)
        for account in (workers[0].account, other):
            rate_clock.load(transaction, account)
    unlimited, limited = _read(database).accounts
    assert (limited.account_concurrency, limited.max_in_flight) == (5, [2, 2, 1])
    assert (unlimited.account_concurrency, unlimited.max_in_flight) == (None, None)


def test_workers_live_or_are_dead(database: Database) -> None:
    """With what they hold; what a dead one was granted is possible."""
    with database.transaction() as transaction:
        budget_id = _set(transaction, "ever", 1_000)
        _start(transaction, "dead", is_living=False)
        _start(transaction, "living", started_wall_us=0)
        now_us, ever = transaction.now_us(), Period("ever")
        for name in ("living", "dead", "unknown"):
            pots.draw(transaction, name, [Want(budget_id, ever, 100, 0)], now_us)
            pots.report(transaction, name, [Spending(budget_id, ever, 30, 20, 10)])
        pots.draw(transaction, "living", [Want(budget_id, ever, 10_000, 0)], now_us)
    status = _read(database)
    living, unknown_or_dead = status.workers[0], {one.worker_id: one for one in status.workers[1:]}
    assert living.worker == worker("living", started_wall_us=0)
    assert living.started_at == instant(0)
    assert living.is_living
    assert living.lease_until is not None
    assert status.at < living.lease_until <= status.at + timedelta(microseconds=LEASE_US)
    (share,) = living.shares
    assert (share.used.value, share.possible.value, share.leased.value, share.is_waiting) == (20, 20, 60, True)
    assert unknown_or_dead.keys() == {"dead", "unknown"}
    assert unknown_or_dead["unknown"].worker is None
    for one in unknown_or_dead.values():
        assert not one.is_living
        assert [(share.used.value, share.possible.value, share.leased.value) for share in one.shares] == [(20, 80, 0)]
    (budget,) = status.budgets
    assert _amounts(budget) == (60, 180, 60, 700)
    assert budget.waiting_workers == 1
    assert budget.forecast is None


def test_a_budget_shows_its_present_period(database: Database) -> None:
    """What was spent in an earlier one is over, also if a worker still holds some of it."""
    with database.transaction() as transaction:
        budget_id = _set(transaction, "day", 1_000, "UTC")
        today = instant(transaction.wall_us())
        _start(transaction, "a")
        for at, settled in ((today - timedelta(days=1), 50), (today, 70)):
            period = period_of("day", "UTC", at, "")
            pots.draw(transaction, "a", [Want(budget_id, period, 100, 0)], transaction.now_us())
            pots.report(transaction, "a", [Spending(budget_id, period, settled, settled)])
    (budget,) = _read(database).budgets
    assert budget.period == period_of("day", "UTC", today, "")
    assert _amounts(budget) == (70, 0, 30, 900)


def test_a_budget_per_run_shows_the_runs_that_go_on(database: Database) -> None:
    """Each has its own amount; a run that ended shows nothing."""
    with database.transaction() as transaction:
        budget_id = _set(transaction, "run", 1_000)
        for name in ("a", "b"):
            _start(transaction, name)
    (budget,) = _read(database).budgets
    assert budget.period is None
    assert _amounts(budget) == (0, 0, 0, 1_000)
    with database.transaction() as transaction:
        for name, run in (("a", "run-1"), ("b", "run-1"), ("b", "run-2")):
            wants = [Want(budget_id, Period(run), 10, 0)]
            pots.draw(transaction, name, wants, transaction.now_us())
        pots.close(transaction, "a", [Spending(budget_id, Period("run-1"), 5, 5)])
    budgets = _read(database).budgets
    assert [budget.period for budget in budgets] == [Period("run-1"), Period("run-2")]
    assert [_amounts(budget) for budget in budgets] == [(5, 0, 10, 985), (0, 0, 10, 990)]


@pytest.mark.parametrize(
    ("at_day", "created_day", "expected"),
    [(10, -5, 300), (10, 0, 300), (10, 5, 500), (10, 9, None), (1.5, -5, 2_000), (1, -5, None)],
)
def test_a_forecast_goes_on_at_the_pace_so_far(at_day: float, created_day: float, expected: int | None) -> None:
    """Since the period or the budget began; not in the first twentieth of the period."""
    start = datetime.fromisoformat("2026-11-01T00:00:00+00:00")
    at, created_at = start + timedelta(days=at_day), start + timedelta(days=created_day)
    period = Period("2026-11", start, start + timedelta(days=30))
    assert forecast(100, period, created_at, at) == expected
    assert forecast(100, Period("ever"), created_at, at) is None
