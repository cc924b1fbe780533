"""Workers that wait, for money or for a place, and what they keep from the others meanwhile, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.account import simulation
from tests.account.budgeted import Account, run
from tests.account.simulation import SimulatedService, SimulatedWorker
from tests.builders import FLASH, settlement_of
from tts_pipeline.account.exchange import Requests
from tts_pipeline.account.pots import Want
from tts_pipeline.account.shared_pots import JobFacts
from tts_pipeline.attempt import Attempt, Settlement
from tts_pipeline.config import Limits
from tts_pipeline.periods import EVER, Period

_TAGS: dict[str, Any] = {"team": "radio"}


@asynccontextmanager
async def _held(account: Account, budget_id: str, amount: int) -> AsyncIterator[None]:
    """Let a living worker hold a slice, and spend none of it."""
    session = account.worker().session
    session.exchange(Requests(wants=[Want(budget_id, Period(EVER), amount, amount)]))
    task = asyncio.create_task(session.run())
    try:
        yield
    finally:
        task.cancel()


def _worker(account: Account, name: str, limits: Limits, tags: Mapping[str, str]) -> SimulatedWorker:
    worker = SimulatedWorker(
        name,
        account.database,
        account.service,
        limits,
        job=name,
        facts=JobFacts(FLASH, "local", tags, (), name, limits.max_outage_s),
    )
    account.workers.append(worker)
    return worker


@pytest.mark.parametrize("waited_s", [1, 60])
def test_more_money_is_not_drawn_all_at_once(tmp_path: Path, waited_s: int) -> None:
    """However long workers waited for it; and they soon draw as rarely as ever."""

    async def main() -> None:
        account = Account(tmp_path)
        budget_id = account.set("radio", "1000 characters", **_TAGS)
        async with _held(account, budget_id, 1_000):
            workers = [account.worker(_TAGS, characters=10) for _ in range(2)]
            for worker in workers:
                worker.start()
            await asyncio.sleep(waited_s)
            account.set("radio", "2000000 characters", **_TAGS)
            await asyncio.sleep(3)
            assert account.charged() > 0
            assert account.status("radio").leased.value < 20_000
            await asyncio.sleep(20)
            draws = [worker.session.draws for worker in workers]
            await asyncio.sleep(20)
            for worker, before in zip(workers, draws, strict=True):
                assert worker.session.draws - before <= 20
                await worker.kill()

    run(main())


def test_one_without_a_place_gives_its_money_back(tmp_path: Path) -> None:
    """It may have no request in flight, because the account has none for it; another one waits for its money."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "3000 characters", **_TAGS)
        limits = Limits(max_concurrency=4, account_concurrency=1, max_outage_s=600.0)
        later = _worker(account, "worker-1", limits, _TAGS)
        later.start()
        await asyncio.sleep(10)
        first = _worker(account, "worker-0", limits, _TAGS)
        first.start()
        await asyncio.sleep(200)
        assert account.charged() == 3_000
        assert "budget" in account.stops()
        for worker in account.workers:
            await worker.kill()

    run(main())


@pytest.mark.parametrize("poor", [0, 3])
def test_those_that_wait_for_money_take_no_slots(tmp_path: Path, poor: int) -> None:
    """One with money has the whole rate."""

    async def main() -> None:
        account = Account(tmp_path)
        account.service = SimulatedService(600, 2.0)
        budget_id = account.set("radio", "1000 characters", **_TAGS)
        limits = Limits(max_concurrency=16, requests_per_minute=600, max_outage_s=600.0)
        async with _held(account, budget_id, 1_000):
            _worker(account, "rich", limits, {})
            for number in range(poor):
                _worker(account, f"poor-{number}", limits, _TAGS)
            for worker in account.workers[1:]:
                worker.start()
            begin_s = asyncio.get_running_loop().time()
            await asyncio.sleep(40)
            assert account.service.share(begin_s + 5, begin_s + 40) > 0.95
            for worker in account.workers[1:]:
                await worker.kill()

    run(main())


def test_a_service_that_counts_more_passes_no_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice what is reserved, which some do: a margin is kept for what is in flight, as for a cap of the job."""

    def charge_twice(attempt: Attempt, **facts: Any) -> Settlement:
        characters = 2 * attempt.characters_counted
        return settlement_of(attempt, characters_billed=characters, characters_upper_bound=characters, **facts)

    monkeypatch.setattr(simulation, "settlement_of", charge_twice)

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "20000 characters")
        worker = account.worker(characters=10, max_concurrency=64)
        async with asyncio.timeout(600):
            await worker.run_out()
        assert account.stops() == ["budget"]
        assert 19_900 <= account.status("radio").used.value <= 20_010

    run(main())


def test_one_without_a_rate_asks_no_more_once_the_others_have_gone(tmp_path: Path) -> None:
    """It took slots beside one with a rate; then it asks the store once a second, and waits for no slot."""

    async def main() -> None:
        account = Account(tmp_path)
        limited = _worker(account, "limited", Limits(max_concurrency=4, requests_per_minute=60), {})
        free = _worker(account, "free", Limits(max_concurrency=4), {})
        for worker in account.workers:
            worker.start()
        await asyncio.sleep(5)
        await limited.finish()
        await asyncio.sleep(2)
        before, charges = free.session.exchanges, len(account.service.charges)
        await asyncio.sleep(20)
        assert free.session.exchanges - before <= 21
        assert len(account.service.charges) - charges > 20 * 4
        await free.kill()

    run(main())
