"""The session of a worker: a thread, and a store that may be lost."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.account.workers import worker
from tests.machine import patience
from tts_pipeline.account import budgets, pots
from tts_pipeline.account import session as session_module
from tts_pipeline.account.amounts import parse_amount
from tts_pipeline.account.budgets import Terms
from tts_pipeline.account.database import StoreLostError
from tts_pipeline.account.exchange import Exchange, Requests, Standing
from tts_pipeline.account.pots import CLOSED, Spending, Want
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.session import AccountSession
from tts_pipeline.account.sqlite import SqliteDatabase
from tts_pipeline.account.status import read_status
from tts_pipeline.account.store_thread import StoreThread
from tts_pipeline.periods import EVER, Period


def _draw(session: AccountSession, budget_id: str, size: int) -> None:
    """Draw from a budget, and wait for it."""
    has_drawn = threading.Event()

    def take_standing(standing: Standing) -> None:
        if standing.has_drawn:
            has_drawn.set()

    session.on_standing = take_standing
    session.request_draw([Want(budget_id, Period(EVER), size, size)], gives_back=False)
    assert has_drawn.wait(patience(10))


def test_one_that_ends_brings_a_lost_store_back(tmp_path: Path) -> None:
    """What it spent is not forgotten with it, although it had not noticed the loss before its end."""
    path = tmp_path / "account.db"
    database = SqliteDatabase(path)
    migrate(database)
    with database.transaction(durable=True) as transaction:
        budgets.set_budget(transaction, Terms("radio", parse_amount("1000 characters"), "ever"))
        (budget,) = budgets.list_budgets(transaction)
    database.close()
    session = AccountSession(StoreThread.take(str(path), lambda: SqliteDatabase(path)), worker("one"))
    session.start()
    session.spending = lambda: [Spending(budget.budget_id, Period(EVER), 300, 200)]
    _draw(session, budget.budget_id, 500)
    path.unlink()
    session.close()
    database = SqliteDatabase(path)
    with database.transaction() as transaction:
        assert pots.sizes(transaction, (budget.budget_id, EVER)) == {CLOSED: 300}
        status = read_status(transaction)
    database.close()
    assert status.workers == []
    ((used, possible),) = [(one.used.value, one.possible.value) for one in status.budgets]
    assert (used, possible) == (200, 100)


def test_one_that_begins_after_a_loss_waits_for_the_others(tmp_path: Path) -> None:
    """It would else see no budget, and send what nobody reserved."""
    path = tmp_path / "account.db"
    earlier = SqliteDatabase(path)
    migrate(earlier)
    with earlier.transaction(durable=True) as transaction:
        budgets.set_budget(transaction, Terms("radio", parse_amount("1000 characters"), "ever"))
    exchange = Exchange(earlier, worker("earlier"))
    exchange.run(Requests())
    path.unlink()
    session = AccountSession(StoreThread.take(str(path), lambda: SqliteDatabase(path)), worker("later"))
    beginning = threading.Thread(target=session.start)
    beginning.start()
    end_s = time.monotonic() + patience(10)
    while not path.exists():
        assert time.monotonic() < end_s
        time.sleep(0.001)
    with pytest.raises(StoreLostError):
        exchange.run(Requests())
    exchange.forget()
    exchange.run(Requests())
    assert not session.budgets
    beginning.join(patience(30))
    assert [budget.terms.name for budget in session.budgets] == ["radio"]
    session.close()
    earlier.close()


def test_one_that_ends_waits_for_a_store_that_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it drew from a budget: nobody else would give back what it did not spend."""
    monkeypatch.setattr(session_module, "_CLOSE_S", 0.01)
    path = tmp_path / "account.db"
    database = SqliteDatabase(path)
    migrate(database)
    with database.transaction(durable=True) as transaction:
        budgets.set_budget(transaction, Terms("radio", parse_amount("1000 characters"), "ever"))
        (budget,) = budgets.list_budgets(transaction)
    session = AccountSession(StoreThread.take(str(path), lambda: SqliteDatabase(path)), worker("one"))
    session.start()
    session.spending = lambda: [Spending(budget.budget_id, Period(EVER), 100, 100)]
    _draw(session, budget.budget_id, 400)
    closing = threading.Thread(target=session.close)
    with database.transaction():
        closing.start()
        closing.join(0.3)
        assert closing.is_alive()
    closing.join(patience(30))
    with database.transaction() as transaction:
        assert pots.sizes(transaction, (budget.budget_id, EVER)) == {CLOSED: 100}
    database.close()
