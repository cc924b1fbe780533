"""Workers of one account in virtual time: real limiters, pots and a real store; a service that enforces its rate."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random

from tests.builders import settlement_of
from tests.flow.virtual_time import virtual_clock
from tts_pipeline.account.budgets import Budget
from tts_pipeline.account.database import Transaction
from tts_pipeline.account.exchange import Exchange, Requests, Standing
from tts_pipeline.account.identity import Account
from tts_pipeline.account.pots import Spending, Want
from tts_pipeline.account.shared_pots import JobFacts, SharedPots
from tts_pipeline.account.shared_rates import SharedRates
from tts_pipeline.account.sqlite import SqliteDatabase
from tts_pipeline.account.worker_rows import Worker
from tts_pipeline.attempt import Attempt
from tts_pipeline.config import Limits
from tts_pipeline.emulator.server import RateLimit
from tts_pipeline.errors import ServiceError, StoppedError, ThrottledError
from tts_pipeline.flow.budget import Budget as SpendBudget
from tts_pipeline.flow.limiter import Limiter
from tts_pipeline.flow.retry_state import RetryState

ACCOUNT = Account("service", "account", "model")


class _VirtualClock:
    def now_us(self, _: Transaction) -> int:
        return round(asyncio.get_running_loop().time() * 1e6)


class VirtualDatabase(SqliteDatabase):
    """A file whose clock is that of the running loop."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._clock = _VirtualClock()  # type: ignore[assignment]
        self.transactions = 0


class VirtualSession:
    """An ``AccountSession`` whose exchanges are made by a task in place of a thread, each in ``round_trip_s``."""

    def __init__(self, database: VirtualDatabase, worker: Worker, *, round_trip_s: float = 0.001) -> None:
        self.worker = worker
        self.is_binding = True
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._lost_s: float | None = None
        self.on_standing: Callable[[Standing], None] = lambda _: None
        self.spending: Callable[[], Sequence[Spending]] = tuple
        self.budgets: Sequence[Budget] = ()
        self.held_in_flight: Callable[[], int] = int
        self.exchanges = self.draws = 0
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._exchange = Exchange(database, worker, loop.time)
        self._requests = Requests()
        self._wake = asyncio.Event()
        self._round_trip_s = round_trip_s

    def request_slots(self, count: int, *, lead_s: float, span_s: float) -> None:
        self._requests.slots, self._requests.lead_s = count, lead_s
        self._requests.span_us = round(span_s * 1e6)
        self._wake.set()

    def request_draw(self, wants: Sequence[Want], *, gives_back: bool) -> None:
        self._requests.wants, self._requests.gives_back = wants, gives_back
        self._wake.set()

    def report_throttle(self, sent_at_s: float, retry_after_s: float | None) -> None:
        self._requests.throttles.append((sent_at_s, retry_after_s))
        self._wake.set()

    def report_success(self, sent_at_s: float) -> None:
        self._requests.succeeded_s = max(self._requests.succeeded_s, sent_at_s)

    def register(self) -> None:
        """Look at the store for the first time, before anything is sent."""
        self.exchange(Requests())

    def exchange(self, requests: Requests) -> None:
        """Exchange once, by hand."""
        self.budgets = self._exchange.run(requests).budgets or self.budgets

    async def run(self) -> None:
        while True:
            wait_s = self._exchange.due_s(self._requests) - self._loop.time()
            if wait_s > 0:
                self._wake.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), wait_s)
                continue
            await self._may_run.wait()
            requests, self._requests = self._requests, Requests()
            requests.held_in_flight, spending = self.held_in_flight(), self.spending()
            await asyncio.sleep(self._round_trip_s / 2)
            self.exchanges += 1
            self.draws += requests.wants is not None
            if self._lost_s is not None:
                self._requests.add_earlier(requests)
                self.on_standing(Standing(away_s=self._loop.time() - self._lost_s))
                await asyncio.sleep(3)
                continue
            standing = self._exchange.run(requests, spending)
            await asyncio.sleep(self._round_trip_s / 2)
            self._requests.add_unmet(requests, standing)
            self.budgets = self.budgets if standing.budgets is None else standing.budgets
            self.on_standing(standing)

    def stop(self) -> None:
        """Let it run no more, as SIGSTOP does."""
        self._may_run.clear()

    def go_on(self) -> None:
        self._may_run.set()

    def lose_store(self) -> None:
        self._lost_s = self._loop.time()

    def find_store(self) -> None:
        self._lost_s = None

    def end(self) -> None:
        self._exchange.end(self.spending())


@dataclass
class SimulatedService:
    """A service that enforces its rate smoothly, and answers after ``latency_s``."""

    requests_per_minute: float
    tolerance_s: float
    latency_s: float = 0.3
    retry_after_s: float | None = None
    limit: RateLimit = field(init=False)
    in_flight: int = 0
    max_in_flight: int = 0
    arrivals: list[tuple[float, str, bool]] = field(default_factory=list)
    charges: list[tuple[str, Attempt]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit = RateLimit(self.requests_per_minute, self.tolerance_s, asyncio.get_running_loop().time)

    async def serve(self, who: str, attempt: Attempt) -> None:
        is_admitted = self.limit.try_acquire()
        self.arrivals.append((asyncio.get_running_loop().time(), who, is_admitted))
        if not is_admitted:
            await asyncio.sleep(0.002)
            raise ThrottledError(
                "slow down", code="Throttling", http_status=429, retry_after_s=self.retry_after_s, may_be_billed=False
            )
        self.charges.append((who, attempt))
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.in_flight -= 1

    def charged(self, since_s: float = 0.0, until_s: float = math.inf, *, who: str = "") -> int:
        """Return the characters that were charged for attempts which began in a span."""
        return sum(
            attempt.characters_upper_bound
            for name, attempt in self.charges
            if since_s <= attempt.started_at_us / 1e6 < until_s and who in ("", name)
        )

    def share(self, since_s: float = 0.0, until_s: float = math.inf) -> float:
        """Return the answered requests of a span as a share of those that the rate permits."""
        times_s = [time_s for time_s, _, is_admitted in self.arrivals if is_admitted and since_s <= time_s < until_s]
        end_s = times_s[-1] if until_s == math.inf else until_s
        return len(times_s) / ((end_s - max(since_s, times_s[0])) * self.requests_per_minute / 60 + 1)

    def throttled_share(self) -> float:
        return sum(not is_admitted for _, _, is_admitted in self.arrivals) / len(self.arrivals)


class SimulatedWorker:
    """A process with endless rows.

    ``jitter_s`` is the mean delay of a request between its slot and the service, and ``disk_s`` that of its record.
    With ``facts``, it draws from the budgets that count them, until one stops it: ``stop`` says why.
    """

    def __init__(
        self,
        name: str,
        database: VirtualDatabase,
        service: SimulatedService,
        limits: Limits,
        *,
        job: str = "job",
        characters: Callable[[], int] = lambda: 10,
        cost: Callable[[], Decimal | None] = lambda: None,
        facts: JobFacts | None = None,
        jitter_s: float = 0.0005,
        disk_s: float = 0.005,
        seed: int = 0,
    ) -> None:
        rate = limits.requests_per_minute
        interval_us = None if rate is None else round(60e6 / rate)
        if rate is None and limits.characters_per_minute is not None:
            interval_us = 0
        worker = Worker(name, ACCOUNT, job, job, "run", "host", 1, 0, interval_us, limits.account_concurrency)
        self.name = name
        self.session = VirtualSession(database, worker)
        self._service = service
        self._limits = limits
        self._characters = characters
        self._cost = cost
        self._attempts = 0
        self.stop: StoppedError | None = None
        self._jitter_s, self._disk_s = jitter_s, disk_s
        self._random = Random(seed)
        self._clock = virtual_clock()
        rates = SharedRates(self.session, limits, self._clock)  # type: ignore[arg-type]
        self.session.on_standing = rates.take_standing
        self.budget = SpendBudget()
        self.limiter = Limiter(limits, self._clock, self.budget, rates=rates)
        if facts is not None:
            self.session.register()
            pots = SharedPots(self.session, facts, self.budget, self._clock, self._settle)  # type: ignore[arg-type]

            def take_standing(standing: Standing) -> None:
                rates.take_standing(standing)
                pots.take_standing(standing)

            self.session.on_standing = take_standing
        self.settle_dead: Callable[[], bool] = bool
        self._tasks: list[asyncio.Task[None]] = []

    async def _settle(self, _: object) -> bool:
        return self.settle_dead()

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self.session.run())]
        self._tasks += [asyncio.create_task(self._rows()) for _ in range(self._limits.max_concurrency)]

    async def run_out(self) -> None:
        """Run until a budget, or the store, stops it; end in good order."""
        self.start()
        await asyncio.gather(*self._tasks[1:])
        await self.finish()

    async def finish(self) -> None:
        """End in good order."""
        await self.kill()
        self.session.end()

    async def kill(self) -> None:
        """End at once, as by SIGKILL: the store is not told."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.limiter.close()

    async def _rows(self) -> None:
        while self.stop is None:
            try:
                with self.limiter.admit() as row, suppress(ServiceError):
                    await self._row(row)
            except StoppedError as error:
                self.stop = error

    async def _row(self, row: RetryState) -> None:
        row.characters = characters = self._characters()

        def attempt() -> Attempt:
            self._attempts += 1
            name = f"{self.name}-{self._attempts}"
            return Attempt(name, "u", 0, 0, 1, None, self._clock.utc_us(), characters, characters, None, self._cost())

        permit = self.limiter.try_permit(row, attempt) or await self.limiter.wait_for_permit(row, attempt)
        with permit as permitted:
            await asyncio.sleep(self._random.expovariate(1 / self._disk_s))
            await self.limiter.rates.wait_to_send(characters)
            await asyncio.sleep(self._random.expovariate(1 / self._jitter_s))
            await self._service.serve(self.name, permitted)
            cost = permitted.cost_upper_bound
            permit.settlement = settlement_of(permitted, cost=cost, cost_upper_bound=cost)
