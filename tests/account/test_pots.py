"""Pots: who gets how much, who is refused, and when nothing can come back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest

from tests.account.workers import worker
from tests.postgres import AccountDatabase
from tts_pipeline.account import pots, worker_rows
from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.budgets import Terms, list_budgets, remove_budget, set_budget
from tts_pipeline.account.database import Database, Transaction
from tts_pipeline.account.pots import Draw, Spending, Want
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.worker_rows import LEASE_US
from tts_pipeline.periods import Period, period_of

EVER = Period("ever")
NOW_US = 10**15


class Store:
    """An account store with a budget of 100 characters, at a time of the test's own."""

    def __init__(self, database: Database) -> None:
        migrate(database)
        self.database = database
        self.now_us = NOW_US
        self.budget_id = self.set_budget("first", 100)

    def set_budget(self, name: str, characters: int) -> str:
        """Set a budget and return its id."""
        with self.database.transaction(durable=True) as transaction:
            set_budget(transaction, Terms(name, Amount(characters, None), "ever"))
            return next(one.budget_id for one in list_budgets(transaction) if one.terms.name == name)

    def start(self, *names: str) -> None:
        """Register workers, or renew their leases."""
        with self.database.transaction() as transaction:
            for name in names:
                worker_rows.register(transaction, worker(name), self.now_us, is_waiting=False)

    def draw(self, name: str, need: int, want: int = 0, *budget_ids: str) -> Draw:
        """Draw from the first budget, or from others."""
        wants = [Want(budget_id, EVER, need, want) for budget_id in budget_ids or (self.budget_id,)]
        with self.database.transaction(durable=True) as transaction:
            return pots.draw(transaction, name, wants, self.now_us)

    def size(self, name: str, need: int, want: int = 0) -> int:
        """Draw from the first budget, which grants; return the size of the slice."""
        return self.draw(name, need, want).granted[self.budget_id, "ever"]

    def spending(self, settled: int, confirmed: int = 0, open_bound: int = 0) -> list[Spending]:
        """Return the figures of a slice of the first budget."""
        return [Spending(self.budget_id, EVER, settled, confirmed, open_bound)]

    def report(self, name: str, settled: int, open_bound: int = 0) -> int:
        """Report; return the size of the slice."""
        with self.database.transaction() as transaction:
            (size,) = pots.report(transaction, name, self.spending(settled, 0, open_bound)).values()
            return size

    def give_back(self, name: str, settled: int, open_bound: int = 0) -> int:
        """Return what is not used; return the size of the slice."""
        with self.database.transaction(durable=True) as transaction:
            (size,) = pots.give_back(transaction, name, self.spending(settled, 0, open_bound)).values()
            return size

    @property
    def taken(self) -> int:
        """What the first budget's pot has given away."""
        return self.value("SELECT taken FROM tts_pot WHERE budget_id = ?", self.budget_id)

    def value(self, sql: str, *values: str) -> int:
        """Return the value of a query."""
        with self.database.transaction() as transaction:
            ((value,),) = transaction.execute(sql, values)
            return int(value)


@pytest.fixture
def store(account_database: AccountDatabase) -> Store:
    """A store of each kind."""
    return Store(account_database())


def test_each_worker_leaves_something_to_the_others(store: Store) -> None:
    """Beyond its need, a share of what is free for each living worker of the pot, halved."""
    store.start("a", "b", "c", "d")
    assert store.size("a", need=1, want=1000) == 1 + 50
    assert store.size("b", need=1, want=1000) == 1 + 49 // 4
    assert store.size("c", need=1, want=3) == 3
    assert store.size("c", need=2, want=0) == 5
    assert store.taken == 51 + 13 + 5
    store.now_us += LEASE_US
    store.start("d")  # the others are dead
    assert store.size("d", need=1, want=1000) == 1 + 31 // 2


def test_all_budgets_grant_or_none(store: Store) -> None:
    """A worker that waits for one budget holds nothing more of the others."""
    other = store.set_budget("other", 10)
    store.start("a")
    outcome = store.draw("a", 20, 0, store.budget_id, other)
    assert outcome.granted == {}
    (refusal,) = outcome.refusals
    assert (refusal.pot, refusal.amount, refusal.free, refusal.need) == ((other, "ever"), 10, 10, 20)
    assert refusal.is_final
    assert store.taken == 0
    assert store.draw("a", 10, 0, store.budget_id, other).granted == {
        (store.budget_id, "ever"): 10,
        (other, "ever"): 10,
    }


def test_a_refusal_is_final_when_nothing_can_come_back(store: Store) -> None:
    """As long as living workers may return enough, a worker waits; what dead ones hold counts as spent."""
    store.start("a", "b")
    assert store.size("a", need=60) == 60
    assert store.size("b", need=30) == 30
    (refusal,) = store.draw("b", 20).refusals
    assert not refusal.is_final
    assert store.value("SELECT SUM(is_waiting) FROM tts_slice") == 1
    store.report("a", settled=40, open_bound=20)  # those in flight may cost nothing
    assert not store.draw("b", 20).refusals[0].is_final
    store.report("a", settled=60)
    store.report("b", settled=20, open_bound=10)
    (refusal,) = store.draw("b", 20).refusals
    assert not refusal.is_final  # its own ones in flight, too
    store.report("b", settled=30)
    assert store.draw("b", 20).refusals[0].is_final
    assert store.size("b", need=10) == 40
    assert store.value("SELECT SUM(is_waiting) FROM tts_slice") == 0


def test_what_a_dead_worker_holds_does_not_come_back(store: Store) -> None:
    """Not by itself: a refusal is final though journals may later say that it spent less."""
    store.start("a", "b")
    store.size("a", need=90)
    assert not store.draw("b", 20).refusals[0].is_final
    store.now_us += LEASE_US
    store.start("b")
    assert store.draw("b", 20).refusals[0].is_final
    with store.database.transaction(durable=True) as transaction:
        assert pots.settle_dead(transaction, "a", store.spending(50, 40, 10), store.now_us)
    assert store.taken == 60
    assert store.size("b", need=20) == 20


def test_two_that_wait_return_their_rest(store: Store) -> None:
    """Else each would wait for the other's forever."""
    store.start("a", "b")
    store.size("a", need=50)
    store.size("b", need=50)
    store.report("a", settled=20)
    store.report("b", settled=30)
    assert not store.draw("a", 30 + 5).refusals[0].is_final
    assert not store.draw("b", 20 + 5).refusals[0].is_final
    assert store.give_back("a", settled=20) == 20
    assert store.give_back("b", settled=30) == 30
    assert store.size("a", need=35) == 55
    assert store.draw("b", 25).refusals[0].is_final is False
    store.report("a", settled=55)
    assert store.draw("b", 25).refusals[0].is_final


def test_what_is_granted_stays_until_it_is_returned(store: Store) -> None:
    """Attempts may be reserved in it: a report never makes a slice smaller."""
    store.start("a")
    assert store.size("a", need=50) == 50
    assert store.report("a", settled=10, open_bound=5) == 50
    assert store.give_back("a", settled=10, open_bound=5) == 15
    assert store.taken == 15


def test_a_service_that_charges_more_counts_in_full(store: Store) -> None:
    """What was spent is the truth, also beyond the slice and the budget: nothing more is granted."""
    store.start("a")
    store.size("a", need=90)
    assert store.report("a", settled=130) == 130
    assert store.taken == 130
    (refusal,) = store.draw("a", 1).refusals
    assert (refusal.free, refusal.is_final) == (-30, True)


def test_a_budget_is_lowered_and_raised(store: Store) -> None:
    """Below what is granted, nothing more is granted; who waits gets it when it is raised."""
    store.start("a", "b")
    store.size("a", need=60)
    store.set_budget("first", 50)
    assert store.draw("b", 1).refusals[0].free == -10
    store.set_budget("first", 70)
    assert store.size("b", need=10) == 10


def test_a_removed_budget_refuses_nobody_for_good(store: Store) -> None:
    """A job that did not learn of it yet waits, and is not stopped."""
    store.start("a")
    store.size("a", need=60)
    with store.database.transaction(durable=True) as transaction:
        remove_budget(transaction, "first")
    assert not store.draw("a", 60).refusals[0].is_final
    assert not store.draw("a", 10).refusals[0].is_final
    with store.database.transaction() as transaction:
        pots.close(transaction, "a", store.spending(20))
    assert store.taken == 20


def test_a_worker_ends(store: Store) -> None:
    """What it may have spent stays, the rest returns; a slice that it says nothing of counts in full."""
    other = store.set_budget("other", 100)
    store.start("a")
    store.draw("a", 40, 0, store.budget_id, other)
    with store.database.transaction(durable=True) as transaction:
        pots.close(transaction, "a", store.spending(20, 15, 5))
    assert store.taken == 25
    assert store.value("SELECT taken FROM tts_pot WHERE budget_id = ?", other) == 40
    assert store.value("SELECT COUNT(*) FROM tts_slice WHERE is_open = 1") == 0
    assert store.value("SELECT confirmed FROM tts_slice WHERE budget_id = ?", store.budget_id) == 15


def test_only_a_dead_worker_is_settled_or_forgotten(store: Store) -> None:
    """It still spends as long as its lease holds; forgotten, all of it counts as spent."""
    store.start("a")
    store.size("a", need=40)
    with store.database.transaction(durable=True) as transaction:
        assert not pots.settle_dead(transaction, "a", store.spending(10), store.now_us + LEASE_US - 1)
        assert pots.forget(transaction, "a", store.now_us + LEASE_US - 1) is None
        slices = pots.forget(transaction, "a", store.now_us + LEASE_US)
        assert slices is not None
        assert [(one.granted, one.settled, one.is_open) for one in slices] == [(40, 40, False)]
        assert not pots.settle_dead(transaction, "a", store.spending(10), store.now_us + LEASE_US)  # too late
        assert pots.forget(transaction, "a", store.now_us + LEASE_US) == []
    assert store.taken == 40


def test_journals_never_settle_more_than_was_granted(store: Store) -> None:
    """A worker cannot have reserved more; and a slice that they say nothing of stays as it is."""
    store.start("a")
    store.size("a", need=40)
    store.now_us += LEASE_US
    with store.database.transaction(durable=True) as transaction:
        assert pots.settle_dead(transaction, "a", [], store.now_us) == 0
        assert pots.settle_dead(transaction, "a", store.spending(1000, 1000), store.now_us) == 1
    assert store.taken == 40
    assert store.value("SELECT confirmed FROM tts_slice") == 40


def test_a_disk_that_knows_less_than_the_worker_said_settles_nothing(store: Store) -> None:
    """It is another machine's, with the same path; or the journals were deleted."""
    store.start("a")
    store.size("a", need=40)
    store.report("a", settled=30)
    store.now_us += LEASE_US
    with store.database.transaction(durable=True) as transaction:
        assert pots.settle_dead(transaction, "a", store.spending(29), store.now_us) == 0
    assert store.taken == 40


def test_a_worker_that_was_stopped_learns_that_its_slice_is_gone(store: Store) -> None:
    """Its slice is what it spent: it draws anew."""
    store.start("a", "b")
    store.size("a", need=40)
    store.now_us += LEASE_US
    with store.database.transaction(durable=True) as transaction:
        pots.settle_dead(transaction, "a", store.spending(10), store.now_us)
    store.start("a")
    assert store.report("a", settled=10, open_bound=2) == 12
    assert store.taken == 12
    assert store.size("a", need=5) == 17


def test_a_store_that_was_lost_learns_what_was_spent(store: Store) -> None:
    """From a worker that lives on: in a new store, its slice is what it spent."""
    budget_id = "of the lost store"
    store.start("a")
    with store.database.transaction() as transaction:
        spending = [Spending(budget_id, EVER, 30, 20, 5)]
        assert pots.report(transaction, "a", spending) == {(budget_id, "ever"): 35}
        assert not pots.draw(transaction, "a", [Want(budget_id, EVER, 1, 1)], store.now_us).refusals[0].is_final


def test_a_pot_knows_its_period(store: Store) -> None:
    """So that whoever looks at it later need not know the time zone."""
    period = period_of("month", "Asia/Shanghai", datetime(2026, 11, 30, tzinfo=UTC), "")
    with store.database.transaction(durable=True) as transaction:
        pots.draw(transaction, "a", [Want(store.budget_id, period, 1, 1)], store.now_us)
        rows = transaction.execute("SELECT period, start_us, end_us FROM tts_pot")
    assert rows == [("2026-11", 1_793_462_400_000_000, 1_796_054_400_000_000)]


def test_many_draw_at_the_same_time(account_database: AccountDatabase) -> None:
    """From two pots in any order: to the last unit, and not one more; nobody waits for another forever."""
    store = Store(account_database())
    other = store.set_budget("other", 250)
    store.set_budget("first", 250)
    names = [f"worker-{number}" for number in range(6)]
    store.start(*names)

    def spend(name: str) -> int:
        with closing(account_database()) as own:
            return _spend_all(own, name, [store.budget_id, other])

    with ThreadPoolExecutor(len(names)) as pool:
        assert sum(pool.map(spend, names)) == 250
    assert store.taken == 250


def _spend_all(database: Database, name: str, budget_ids: list[str]) -> int:
    """Spend all that is granted, until nothing can come back; return the sum."""
    spent, is_over = 0, False
    while not is_over:
        with database.transaction() as transaction:
            spent, is_over = _exchange(transaction, name, budget_ids, spent)
    with database.transaction() as transaction:
        pots.close(transaction, name, [Spending(budget_ids[-1], EVER, spent, spent)])
    return spent


def _exchange(transaction: Transaction, name: str, budget_ids: list[str], spent: int) -> tuple[int, bool]:
    pots.report(transaction, name, [Spending(budget_id, EVER, spent, spent) for budget_id in reversed(budget_ids)])
    outcome = pots.draw(transaction, name, [Want(budget_id, EVER, 1, 20) for budget_id in budget_ids], NOW_US)
    if outcome.refusals:
        return spent, all(refusal.is_final for refusal in outcome.refusals)
    return min(outcome.granted.values()), False
