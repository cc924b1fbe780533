"""Workers that draw, spend, die and return in any order never spend more than a budget has, and nothing leaks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.account.workers import worker
from tests.postgres import AccountDatabase
from tts_pipeline.account import pots, worker_rows
from tts_pipeline.account.amounts import Amount
from tts_pipeline.account.budgets import Terms, list_budgets, set_budget
from tts_pipeline.account.database import Database
from tts_pipeline.account.pots import Spending, Want
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.worker_rows import LEASE_US, Worker
from tts_pipeline.periods import Period

PERIOD = Period("ever")
AMOUNTS = st.integers(0, 200)


@dataclass
class Budgeted:
    """What a worker knows of its slice of one budget: the attempts in flight are in the worker."""

    granted: int = 0
    settled: int = 0
    confirmed: int = 0
    reported: int = 0
    """What the store knows of ``settled``."""


@dataclass
class Spender:
    """A worker of the model; ``open`` are the bounds of its attempts in flight, which count for all budgets."""

    worker: Worker
    slices: dict[str, Budgeted]
    open: list[int] = field(default_factory=list)
    is_living: bool = True
    is_closed: bool = False
    is_settled: bool = False
    is_forgotten: bool = False

    def spending(self) -> list[Spending]:
        """Return what it reports: all that it knows."""
        return [
            Spending(budget_id, PERIOD, slice_.settled, slice_.confirmed, sum(self.open))
            for budget_id, slice_ in self.slices.items()
        ]

    def possible(self, budget_id: str) -> int:
        """Return the most that it may have spent."""
        return self.slices[budget_id].settled + sum(self.open)

    def adopt(self, sizes: dict[tuple[str, str], int]) -> None:
        """Take the sizes of its slices from the store, which now knows what it spent."""
        for (budget_id, _), size in sizes.items():
            self.slices[budget_id].granted = size
            self.slices[budget_id].reported = self.slices[budget_id].settled


HAS_LIVING = precondition(lambda self: any(one.is_living for one in self.spenders))
HAS_DEAD = precondition(lambda self: any(not one.is_living and not one.is_closed for one in self.spenders))


class Pots(RuleBasedStateMachine):
    """Two budgets that count the same attempts, and their workers, beside a model of both."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.now_us = 10**15
        self.spenders: list[Spender] = []
        self.amounts: dict[str, int] = {}
        self.names: dict[str, str] = {}
        self.taken: dict[str, int] = {}
        self.ceilings: dict[str, int] = {}

    def teardown(self) -> None:
        """All end in good order, or are settled: what is taken is what was spent."""
        for spender in self.spenders:
            if spender.is_living:
                self._close(spender)
            elif not spender.is_settled:
                self._settle(spender)
        for budget_id in self.amounts:
            assert self._stored_taken(budget_id) == self.taken[budget_id]
            for spender in self.spenders:
                assert spender.is_forgotten or spender.slices[budget_id].granted == spender.possible(budget_id)

    def _set(self, name: str, amount: int) -> None:
        with self.database.transaction() as transaction:
            set_budget(transaction, Terms(name, Amount(amount, None), "ever"))

    @initialize(first=AMOUNTS, second=AMOUNTS)
    def set_budgets(self, first: int, second: int) -> None:
        """Two budgets."""
        for amount in (first, second):
            name = uuid.uuid4().hex
            self._set(name, amount)
            with self.database.transaction() as transaction:
                budget_id = next(one.budget_id for one in list_budgets(transaction) if one.terms.name == name)
            self.amounts[budget_id], self.names[budget_id], self.taken[budget_id] = amount, name, 0
            self.ceilings[budget_id] = amount
        for _ in range(3):
            self._start()

    @rule(data=st.data(), amount=AMOUNTS)
    def change_amount(self, data: st.DataObject, amount: int) -> None:
        """Raised or lowered, also below what is spent: then what is granted already may still be spent."""
        budget_id = data.draw(st.sampled_from(list(self.amounts)))
        self._set(self.names[budget_id], amount)
        self.amounts[budget_id] = amount
        self.ceilings[budget_id] = max(amount, self.taken[budget_id])

    @precondition(lambda self: len(self.spenders) < 6)
    @rule()
    def start_worker(self) -> None:
        """A worker begins."""
        self._start()

    def _start(self) -> None:
        spender = Spender(worker(), {budget_id: Budgeted() for budget_id in self.amounts})
        self.spenders.append(spender)
        with self.database.transaction() as transaction:
            worker_rows.register(transaction, spender.worker, self.now_us, is_waiting=False)

    def _any(self, data: st.DataObject, *, is_living: bool) -> Spender:
        """Return a living worker, or one that is dead or was stopped."""
        numbers = [
            number for number, one in enumerate(self.spenders) if one.is_living is is_living and not one.is_closed
        ]
        return self.spenders[data.draw(st.sampled_from(numbers))]

    @HAS_LIVING
    @rule(data=st.data(), need=st.integers(1, 60), want=st.integers(0, 100), reports=st.booleans())
    def draw_and_send(self, data: st.DataObject, need: int, want: int, reports: bool) -> None:
        """A worker draws what its next attempt needs, of both budgets, and sends it."""
        spender = self._any(data, is_living=True)
        rest = {key: slice_.granted - spender.possible(key) for key, slice_ in spender.slices.items()}
        wants = [Want(key, PERIOD, max(need - rest[key], 0), want) for key in rest if rest[key] < need]
        with self.database.transaction() as transaction:
            if reports:
                spender.adopt(pots.report(transaction, spender.worker.worker_id, spender.spending()))
            outcome = pots.draw(transaction, spender.worker.worker_id, reversed(wants), self.now_us)
        living = sum(one.is_living for one in self.spenders)
        for wanted in wants:
            free = self.amounts[wanted.budget_id] - self.taken[wanted.budget_id]
            refusal = next((one for one in outcome.refusals if one.pot == wanted.pot), None)
            assert (refusal is not None) == (free < wanted.need)
            if refusal is not None:
                assert refusal.free == free
                assert refusal.is_final == (free + self._returnable(wanted.budget_id, known=True) < wanted.need)
                assert not refusal.is_final or free + self._returnable(wanted.budget_id) < wanted.need
        if outcome.refusals:
            return
        for wanted in wants:
            slice_ = spender.slices[wanted.budget_id]
            free = self.amounts[wanted.budget_id] - self.taken[wanted.budget_id]
            size = outcome.granted[wanted.pot] - slice_.granted
            assert wanted.need <= size <= max(wanted.need, wanted.want)
            assert size - wanted.need <= free // 2
            assert living > 1 or size == min(max(wanted.want, wanted.need), free, wanted.need + free // 2)
            slice_.granted += size
            self.taken[wanted.budget_id] += size
        spender.open.append(need)

    def _returnable(self, budget_id: str, *, known: bool = False) -> int:
        """Return what living workers may still return, or what the store knows of it."""
        slices = [one.slices[budget_id] for one in self.spenders if one.is_living]
        return sum(slice_.granted - (slice_.reported if known else slice_.settled) for slice_ in slices)

    @HAS_LIVING
    @rule(data=st.data(), share=st.integers(0, 100))
    def settle_attempt(self, data: st.DataObject, share: int) -> None:
        """An attempt ends, and cost less than reserved, or nothing."""
        spender = self._any(data, is_living=True)
        if not spender.open:
            return
        bound = spender.open.pop(data.draw(st.integers(0, len(spender.open) - 1)))
        for slice_ in spender.slices.values():
            slice_.settled += bound * share // 100
            slice_.confirmed += bound * share // 200

    @HAS_LIVING
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A worker returns all that it does not use."""
        spender = self._any(data, is_living=True)
        with self.database.transaction() as transaction:
            sizes = pots.give_back(transaction, spender.worker.worker_id, spender.spending())
        assert sizes == {(budget_id, "ever"): spender.possible(budget_id) for budget_id in spender.slices}
        spender.adopt(sizes)
        self._recount()

    @HAS_LIVING
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        """A worker ends in good order, with attempts in flight abandoned."""
        spender = self._any(data, is_living=True)
        self._close(spender)

    def _close(self, spender: Spender) -> None:
        with self.database.transaction() as transaction:
            pots.close(transaction, spender.worker.worker_id, spender.spending())
            worker_rows.end(transaction, spender.worker.worker_id)
        for budget_id, slice_ in spender.slices.items():
            slice_.granted = spender.possible(budget_id)
        spender.is_living, spender.is_closed, spender.is_settled = False, True, True
        self._recount()

    @HAS_LIVING
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A worker is silent until its lease is over; all others renew theirs."""
        spender = self._any(data, is_living=True)
        spender.is_living = False
        self.now_us += LEASE_US
        self._renew()

    def _renew(self) -> None:
        with self.database.transaction() as transaction:
            for spender in self.spenders:
                if spender.is_living:
                    assert worker_rows.renew(transaction, spender.worker, self.now_us, is_waiting=False)

    @HAS_DEAD
    @rule(data=st.data(), is_forgotten=st.booleans())
    def settle_or_forget(self, data: st.DataObject, is_forgotten: bool) -> None:
        """The journals of a dead worker are read, or will never be."""
        spender = self._any(data, is_living=False)
        if spender.is_settled:
            return
        if not is_forgotten:
            self._settle(spender)
            return
        with self.database.transaction() as transaction:
            assert pots.forget(transaction, spender.worker.worker_id, self.now_us) is not None
        spender.is_settled = spender.is_forgotten = True

    def _settle(self, spender: Spender) -> None:
        with self.database.transaction() as transaction:
            pots.settle_dead(transaction, spender.worker.worker_id, spender.spending(), self.now_us)
        for budget_id, slice_ in spender.slices.items():
            slice_.granted = min(spender.possible(budget_id), slice_.granted)
        spender.is_settled = True
        self._recount()

    @HAS_DEAD
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """A worker that was stopped, and taken for dead, goes on; perhaps its slices were settled meanwhile."""
        spender = self._any(data, is_living=False)
        with self.database.transaction() as transaction:
            worker_rows.register(transaction, spender.worker, self.now_us, is_waiting=False)
            spender.adopt(pots.report(transaction, spender.worker.worker_id, spender.spending()))
        spender.is_living, spender.is_settled, spender.is_forgotten = True, False, False
        self._recount()

    @HAS_LIVING
    @rule(data=st.data())
    def no_living_worker_is_settled(self, data: st.DataObject) -> None:
        """Neither by journals, which it still writes, nor by people."""
        spender = self._any(data, is_living=True)
        with self.database.transaction() as transaction:
            assert not pots.settle_dead(transaction, spender.worker.worker_id, [], self.now_us)
            assert pots.forget(transaction, spender.worker.worker_id, self.now_us) is None

    def _recount(self) -> None:
        self.taken = {key: sum(one.slices[key].granted for one in self.spenders) for key in self.amounts}

    def _stored_taken(self, budget_id: str) -> int:
        with self.database.transaction() as transaction:
            rows = transaction.execute("SELECT taken FROM tts_pot WHERE budget_id = ?", (budget_id,))
            ((granted,),) = transaction.execute(
                "SELECT COALESCE(SUM(granted), 0) FROM tts_slice WHERE budget_id = ?", (budget_id,)
            )
        taken = rows[0][0] if rows else 0
        assert taken == granted
        return int(taken)

    @invariant()
    def nothing_passes_the_amount(self) -> None:
        """What was sent is within what is taken, and that within the amount, or what was taken when it was lowered."""
        for budget_id, ceiling in self.ceilings.items():
            sent = sum(spender.possible(budget_id) for spender in self.spenders)
            assert sent <= self._stored_taken(budget_id) == self.taken[budget_id] <= ceiling


def test_nothing_passes_a_budget_and_nothing_leaks(account_database: AccountDatabase) -> None:
    """Whatever workers do, and in whatever order."""
    database = account_database()
    migrate(database)
    run_state_machine_as_test(
        lambda: Pots(database),  # type: ignore[arg-type] # a function will do
        settings=settings(max_examples=60, stateful_step_count=50),
    )
