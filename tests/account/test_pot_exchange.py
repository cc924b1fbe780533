"""The pots of one worker, whose store somebody dropped and another one made anew."""

from __future__ import annotations

import pytest

from tests.account.workers import worker
from tests.postgres import AccountDatabase
from tts_pipeline.account import budgets, pots
from tts_pipeline.account.amounts import parse_amount
from tts_pipeline.account.budgets import Terms
from tts_pipeline.account.database import StoreLostError
from tts_pipeline.account.exchange import HEARTBEAT_S, Exchange, Requests
from tts_pipeline.account.pots import CLOSED, Spending, Want
from tts_pipeline.account.schema import migrate, read_meta, recovery_end_us
from tts_pipeline.periods import EVER, Period


class _Worker:
    """A worker that knows the budget of a store, and beats when it is told to."""

    def __init__(self, account_database: AccountDatabase, name: str) -> None:
        self.now_s = 0.0
        self.exchange = Exchange(account_database(), worker(name), lambda: self.now_s)
        self.beat()

    def beat(self, *spending: Spending) -> list[str] | None:
        """Return the names of the budgets, if they changed."""
        self.now_s += HEARTBEAT_S
        found = self.exchange.run(Requests(), spending).budgets
        return None if found is None else [budget.terms.name for budget in found]

    def draw(self, budget_id: str) -> int:
        """Return the size of the slice; 0 if the draw is refused."""
        wants = [Want(budget_id, Period(EVER), 500, 500)]
        return self.exchange.run(Requests(wants=wants)).granted.get((budget_id, EVER), 0)


def _set_budget(account_database: AccountDatabase) -> str:
    database = account_database()
    migrate(database)
    with database.transaction(durable=True) as transaction:
        budgets.set_budget(transaction, Terms("radio", parse_amount("1000 characters"), "ever"))
        return budgets.list_budgets(transaction)[0].budget_id


def _replace(account_database: AccountDatabase) -> None:
    """Drop the tables, and make them anew, as a run does that begins before the others look."""
    tables = ("rate_clock", "worker", "budget", "pot", "slice", "meta", "machine_clock")
    with account_database().transaction() as transaction:
        for table in tables:
            transaction.execute(f"DROP TABLE tts_{table}")
    migrate(account_database())


def _sizes(account_database: AccountDatabase, budget_id: str) -> dict[str, int]:
    with account_database().transaction() as transaction:
        return pots.sizes(transaction, (budget_id, EVER))


def test_a_store_that_another_one_made_anew_is_lost(account_database: AccountDatabase) -> None:
    """Its tables are there, and their id is another one: the budgets and what was taken come back, to all."""
    budget_id = _set_budget(account_database)
    earlier = [_Worker(account_database, name) for name in ("one", "two")]
    assert earlier[0].draw(budget_id) == 500
    spending = Spending(budget_id, Period(EVER), 400, 400)
    _replace(account_database)
    later = _Worker(account_database, "later")
    with pytest.raises(StoreLostError, match="deleted or replaced"):
        earlier[0].beat(spending)
    assert _sizes(account_database, budget_id) == {CLOSED: 0}  # nothing of that beat counts
    earlier[0].exchange.forget()
    assert earlier[0].beat(spending) == ["radio"]
    with pytest.raises(StoreLostError):
        earlier[1].beat()
    earlier[1].exchange.forget()
    assert earlier[1].beat() == ["radio"]
    assert later.beat() == ["radio"]
    assert later.draw(budget_id) == 0  # until all others have surely been back
    for each in (*earlier, later):
        each.beat()
        assert each.beat() is None
    assert _sizes(account_database, budget_id) == {"one": 500, CLOSED: 0}


def test_a_draw_and_an_end_notice_it(account_database: AccountDatabase) -> None:
    """Before the next heartbeat: nothing is drawn from a store without budgets, and what was spent stays known."""
    budget_id = _set_budget(account_database)
    one = _Worker(account_database, "one")
    assert one.draw(budget_id) == 500
    _replace(account_database)
    with pytest.raises(StoreLostError):
        one.draw(budget_id)
    with pytest.raises(StoreLostError):
        one.exchange.end([Spending(budget_id, Period(EVER), 300, 200)])
    one.exchange.forget()
    one.exchange.end([Spending(budget_id, Period(EVER), 300, 200)])
    assert _sizes(account_database, budget_id) == {CLOSED: 300}


def test_budgets_come_back_under_a_recovery(account_database: AccountDatabase) -> None:
    """Also those of a worker that took nothing of them: others did."""
    _set_budget(account_database)
    one = _Worker(account_database, "one")
    _replace(account_database)
    with pytest.raises(StoreLostError):
        one.beat()
    one.exchange.forget()
    one.beat()
    with account_database().transaction() as transaction:
        assert recovery_end_us(read_meta(transaction)) > transaction.now_us()
