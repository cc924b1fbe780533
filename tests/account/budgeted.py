"""An account with budgets in virtual time: its store, its service, and the workers that spend there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.account.simulation import SimulatedService, SimulatedWorker, VirtualDatabase
from tests.builders import FLASH
from tests.flow.virtual_time import run_virtually
from tts_pipeline.account import budgets
from tts_pipeline.account.amounts import parse_amount
from tts_pipeline.account.budgets import Condition, Terms
from tts_pipeline.account.schema import migrate
from tts_pipeline.account.shared_pots import JobFacts
from tts_pipeline.account.status import BudgetStatus, read_status
from tts_pipeline.account.worker_rows import LEASE_US
from tts_pipeline.config import Limits
from tts_pipeline.periods import PeriodKind

LIMITS = Limits(max_concurrency=16, max_outage_s=60.0)
LEASE_S = LEASE_US / 1e6
TICK_S = 2e-5
BEGIN_S = 1_000.0
"""When virtual time begins."""


@dataclass
class Account:
    """A store with budgets, a service without a rate, and the workers that spend there."""

    folder: Path
    database: VirtualDatabase = field(init=False)
    service: SimulatedService = field(init=False)
    workers: list[SimulatedWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database = VirtualDatabase(self.folder / "account.db")
        self.service = SimulatedService(1e9, 1e9)
        migrate(self.database)

    def set(self, name: str, amount: str, *, per: PeriodKind = "ever", timezone: str | None = None, **tags: Any) -> str:
        """Set a budget; return its id."""
        with self.database.transaction(durable=True) as transaction:
            budgets.set_budget(transaction, Terms(name, parse_amount(amount), per, timezone, Condition(tags)))
            return next(each.budget_id for each in budgets.list_budgets(transaction) if each.terms.name == name)

    def remove(self, name: str) -> None:
        """Remove a budget."""
        with self.database.transaction(durable=True) as transaction:
            budgets.remove_budget(transaction, name)

    def worker(
        self,
        tags: Mapping[str, str] | None = None,
        *,
        characters: Callable[[], int] | int | None = None,
        max_concurrency: int = 16,
        **options: Any,
    ) -> SimulatedWorker:
        """Make a worker, with short texts of different lengths."""
        number = len(self.workers)
        lengths = Random(number)
        if isinstance(characters, int):
            characters = lambda length=characters: length  # noqa: E731
        worker = SimulatedWorker(
            f"worker-{number}",
            self.database,
            self.service,
            Limits(max_concurrency=max_concurrency, max_outage_s=LIMITS.max_outage_s),
            job=f"{number}",
            characters=characters or (lambda: lengths.randint(5, 20)),
            facts=JobFacts(FLASH, "local", tags or {}, (), f"run-{number}", LIMITS.max_outage_s),
            seed=number,
            **options,
        )
        self.workers.append(worker)
        return worker

    def status(self, name: str) -> BudgetStatus:
        """Return what the store says of a budget."""
        with self.database.transaction() as transaction:
            return next(one for one in read_status(transaction).budgets if one.budget.terms.name == name)

    def charged(self, *workers: SimulatedWorker) -> int:
        """Return the characters that were charged; of some workers, if given."""
        return sum(self.service.charged(who=worker.name) for worker in workers or self.workers)

    def stops(self) -> list[str]:
        """Return why each worker was stopped."""
        return ["" if worker.stop is None else worker.stop.stopped_by for worker in self.workers]


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test in virtual time."""
    run_virtually(main, tick_s=TICK_S)


async def run_out(workers: Sequence[SimulatedWorker], *, within_s: float = 600.0) -> None:
    """Run workers until a budget stops them, or they take too long."""
    async with asyncio.timeout(within_s):
        await asyncio.gather(*(worker.run_out() for worker in workers))


def check_exact(account: Account, name: str) -> None:
    """The store's figures are the service's, and nothing is leased."""
    status = account.status(name)
    assert (status.used.value, status.possible.value, status.leased.value) == (account.charged(), 0, 0)
