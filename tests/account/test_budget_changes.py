"""Budgets that change while jobs draw from them, in virtual time: by hand, and at midnight."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.account.budgeted import BEGIN_S, Account, check_exact, run, run_out


def test_a_budget_that_is_raised(tmp_path: Path) -> None:
    """A job that waits for others' rest goes on; one that was stopped by it is over."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "5000 characters")
        workers = [account.worker() for _ in range(2)]
        holder = account.worker(max_concurrency=1, characters=400)
        holder_task = asyncio.create_task(holder.run_out())
        tasks = [asyncio.create_task(worker.run_out()) for worker in workers]
        while account.charged() < 4_000:  # noqa: ASYNC110 # virtual time
            await asyncio.sleep(0.1)
        account.set("radio", "50000 characters")
        async with asyncio.timeout(600):
            await asyncio.gather(holder_task, *tasks)
        assert 50_000 - 20 < account.charged() <= 50_000
        check_exact(account, "radio")

    run(main())


def test_a_budget_that_is_lowered(tmp_path: Path) -> None:
    """Nothing is drawn any more; what was leased may still be spent."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "1000000 characters")
        workers = [account.worker() for _ in range(3)]
        tasks = [asyncio.create_task(worker.run_out()) for worker in workers]
        await asyncio.sleep(10)
        status = account.status("radio")
        taken = status.budget.terms.amount.value - status.left.value
        account.set("radio", "100 characters")
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks)
        assert 1_000 < account.charged() <= taken
        assert account.stops() == 3 * ["budget"]
        check_exact(account, "radio")

    run(main())


def test_a_budget_that_is_set_in_the_middle(tmp_path: Path) -> None:
    """It counts what is sent from the next heartbeat on, of a job that ran without one."""

    async def main() -> None:
        account = Account(tmp_path)
        workers = [account.worker({"team": "radio"}), account.worker({"team": "news"})]
        for worker in workers:
            worker.start()
        await asyncio.sleep(5)
        set_s = asyncio.get_running_loop().time()
        account.set("radio", "5000 characters", team="radio")
        await asyncio.sleep(60)
        assert account.stops() == ["budget", ""]
        heard = account.service.charged(since_s=set_s + 1.0, who=workers[0].name)
        assert heard <= 5_000 < account.service.charged(since_s=set_s, who=workers[0].name) + 20
        assert 5_000 - 20 < account.status("radio").used.value <= 5_000
        for worker in workers:
            await worker.finish()

    run(main())


def test_a_budget_that_is_removed(tmp_path: Path) -> None:
    """Whoever waits for it goes on, also if another one refuses at the same time."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "5000 characters")
        account.set("all", "40000 characters")
        workers = [account.worker() for _ in range(2)]
        tasks = [asyncio.create_task(worker.run_out()) for worker in workers]
        while account.charged() < 4_000:  # noqa: ASYNC110 # virtual time
            await asyncio.sleep(0.05)
        account.remove("radio")
        async with asyncio.timeout(600):
            await asyncio.gather(*tasks)
        assert 40_000 - 20 < account.charged() <= 40_000
        assert all("'all'" in str(worker.stop) for worker in workers)
        check_exact(account, "all")

    run(main())


def test_a_budget_that_cannot_be_kept(tmp_path: Path) -> None:
    """One in another currency stops the run at once, unless it was mended by the run's next look."""

    async def main() -> None:
        account = Account(tmp_path)
        workers = [account.worker({"team": team}) for team in ("radio", "news")]
        tasks = [asyncio.create_task(worker.run_out()) for worker in workers]
        await asyncio.sleep(3)
        account.set("news", "5 EUR", team="news")
        account.remove("news")
        account.set("radio", "5 EUR", team="radio")
        account.set("all", "20000 characters")
        async with asyncio.timeout(600):
            await asyncio.gather(*tasks)
        assert account.stops() == ["budget", "budget"]
        assert "is in CNY" in str(workers[0].stop)
        assert "'all'" in str(workers[1].stop)

    run(main())


def test_a_day_that_ends(tmp_path: Path) -> None:
    """An attempt counts on the day on which it was reserved; the next day has the whole amount."""
    midnight_s = 3_600.0  # in Etc/GMT+1

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "20000 characters", per="day", timezone="Etc/GMT+1")
        await asyncio.sleep(midnight_s - BEGIN_S - 10)
        workers = [account.worker() for _ in range(3)]
        await run_out(workers)
        before, after = account.service.charged(until_s=midnight_s), account.service.charged(since_s=midnight_s)
        assert 0 < before < 20_000
        assert 20_000 - 20 < after <= 20_000
        assert account.stops() == 3 * ["budget"]
        budget_id = account.status("radio").budget.budget_id
        with account.database.transaction() as transaction:
            figures: dict[str, int] = dict(
                transaction.execute("SELECT period, taken FROM tts_pot WHERE budget_id = ?", (budget_id,))
            )
        assert figures == {"1969-12-31": before, "1970-01-01": after}

    run(main())


def test_a_day_that_ends_while_the_last_is_in_flight(tmp_path: Path) -> None:
    """A refusal of the old day says nothing about the new one."""
    midnight_s = 3_600.0

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "2000 characters", per="day", timezone="Etc/GMT+1")
        await asyncio.sleep(midnight_s - BEGIN_S - 20)
        worker = account.worker(characters=100)
        account.service.latency_s = 0.5
        task = asyncio.create_task(worker.run_out())
        while account.charged() < 1_900:  # noqa: ASYNC110 # virtual time
            await asyncio.sleep(0.01)
        account.service.latency_s = midnight_s - asyncio.get_running_loop().time() + 0.01
        async with asyncio.timeout(600):
            await task
        assert account.service.charged(until_s=midnight_s) == 2_000
        assert account.service.charged(since_s=midnight_s) == 2_000

    run(main())
