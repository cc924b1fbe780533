"""Workers that draw from the same budgets, in virtual time."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.account.budgeted import BEGIN_S, LEASE_S, LIMITS, Account, check_exact, run, run_out
from tests.builders import cost_of
from tts_pipeline.account import pots
from tts_pipeline.account.exchange import Standing
from tts_pipeline.account.shared_pots import SharedPots
from tts_pipeline.account.status import read_status
from tts_pipeline.attempt import Attempt
from tts_pipeline.money import SpendBound
from tts_pipeline.periods import EVER, Period


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_one_budget(tmp_path: Path, workers: int) -> None:
    """It is used but for less than the next text, whoever spends; all are stopped by it."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "20000 characters")
        await run_out([account.worker() for _ in range(workers)])
        assert 20_000 - 20 < account.charged() <= 20_000
        assert account.stops() == workers * ["budget"]
        check_exact(account, "radio")

    run(main())


@pytest.mark.parametrize("seed", range(4))
def test_several_budgets(tmp_path: Path, seed: int) -> None:
    """Each attempt is reserved in all that count it; workers that wait for each other's rest both end."""

    async def main() -> None:
        account, chance = Account(tmp_path), Random(seed)
        amounts = {name: chance.randint(2_000, 20_000) for name in ("a", "b", "both")}
        for name, amount in amounts.items():
            tags: dict[str, Any] = {} if name == "both" else {name: "yes"}
            account.set(name, f"{amount} characters", **tags)
        only_a, only_b, both = ({"a": "yes"}, {"b": "yes"}, {"a": "yes", "b": "yes"})
        workers = [account.worker(tags) for tags in (only_a, only_b, both, both)]
        await run_out(workers)
        first, second, *others = workers
        of_a, of_b = account.charged(first, *others), account.charged(second, *others)
        assert of_a <= amounts["a"]
        assert of_b <= amounts["b"]
        assert account.charged() <= amounts["both"]
        is_spent = {"a": of_a > amounts["a"] - 20, "b": of_b > amounts["b"] - 20}
        assert account.charged() > amounts["both"] - 20 or all(is_spent.values())
        assert account.stops() == 4 * ["budget"]
        check_exact(account, "both")

    run(main())


def test_the_same_two_budgets(tmp_path: Path) -> None:
    """With one of them nearly used up, and long texts: each worker may hold what the other one waits for."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("characters", "5000 characters")
        account.set("money", "0.4 CNY")  # 5,000 characters, too
        workers = [
            account.worker(characters=length, cost=lambda length=length: cost_of(length), max_concurrency=2)
            for length in (150, 70)
        ]
        await run_out(workers)
        assert 5_000 - 70 < account.charged() <= 5_000
        assert account.stops() == ["budget", "budget"]
        check_exact(account, "characters")

    run(main())


def test_one_that_was_stopped_looks_before_it_spends(tmp_path: Path) -> None:
    """After its lease its slice may have been settled, and be another's."""

    async def main() -> None:
        account = Account(tmp_path)
        budget_id = account.set("radio", "20000 characters")
        stopped, other = account.worker(), account.worker(max_concurrency=64)
        stopped.start()
        await asyncio.sleep(3)
        stopped.session.stop()
        account.service.latency_s = LEASE_S + 2  # so that it does not use up its slice before its lease ends
        await asyncio.sleep(LEASE_S + 1)
        account.service.latency_s = 0.3
        spent = account.charged(stopped)
        with account.database.transaction(durable=True) as transaction:
            figures = pots.Spending(budget_id, Period(EVER), spent, spent)
            assert pots.settle_dead(transaction, stopped.name, [figures], transaction.now_us())
        await run_out([other])
        assert account.charged(stopped) == spent
        assert 20_000 - 20 < account.charged() <= 20_000
        stopped.session.go_on()
        await asyncio.sleep(10)
        assert account.stops() == ["budget", "budget"]
        assert 20_000 - 20 < account.charged() <= 20_000
        await stopped.finish()
        check_exact(account, "radio")

    run(main())


def test_one_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """With its old slice, if nobody has settled it."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "20000 characters")
        worker = account.worker()
        worker.start()
        await asyncio.sleep(3)
        worker.session.stop()
        account.service.latency_s = LEASE_S + 2  # so that it does not use up its slice before its lease ends
        await asyncio.sleep(1)
        account.service.latency_s = 0.3
        await asyncio.sleep(59)
        now_s = asyncio.get_running_loop().time()
        assert account.service.charged(since_s=now_s - 60 + LEASE_S) == 0
        assert account.status("radio").leased.value == 0
        worker.session.go_on()
        await asyncio.sleep(120)
        assert account.stops() == ["budget"]
        await worker.finish()
        assert 20_000 - 20 < account.charged() <= 20_000
        check_exact(account, "radio")

    run(main())


def test_a_store_that_is_away(tmp_path: Path) -> None:
    """What is leased goes on for the lease; then all wait; after ``max_outage_s`` they stop."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "1000000 characters")
        worker = account.worker(characters=10)
        worker.start()
        await asyncio.sleep(10)
        worker.session.lose_store()
        lost_s = asyncio.get_running_loop().time()
        await asyncio.sleep(LIMITS.max_outage_s - 5)
        assert account.stops() == [""]
        await asyncio.sleep(15)
        assert account.stops() == ["storage"]
        assert account.service.charged(since_s=lost_s + 0.5) > 0
        assert account.service.charged(since_s=lost_s + LEASE_S) == 0
        worker.session.find_store()
        await worker.finish()
        check_exact(account, "radio")

    run(main())


def test_a_store_that_is_back(tmp_path: Path) -> None:
    """The run goes on."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "20000 characters")
        worker = account.worker(characters=10)
        worker.start()
        await asyncio.sleep(5)
        worker.session.lose_store()
        await asyncio.sleep(LIMITS.max_outage_s - 10)
        worker.session.find_store()
        await asyncio.sleep(120)
        assert account.stops() == ["budget"]
        assert account.charged() == 20_000
        await worker.finish()
        check_exact(account, "radio")

    run(main())


@pytest.mark.parametrize("end", ["in good order", "killed"])
def test_a_refusal_is_final_when_nothing_can_come_back(tmp_path: Path, end: str) -> None:
    """A worker waits for what a living one may return; what a dead one was granted counts, and is not waited for."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "1000 characters")
        slow, quick = account.worker(characters=600, max_concurrency=1), account.worker(characters=100)
        account.service.latency_s = 30.0
        slow.start()
        await asyncio.sleep(2)
        account.service.latency_s = 0.3
        quick.start()
        await asyncio.sleep(20)
        assert account.charged(slow) == 600
        assert account.stops() == ["", ""]
        await (slow.kill() if end == "killed" else asyncio.sleep(0))
        await asyncio.sleep(15)
        assert account.stops() == (["", "budget"] if end == "killed" else ["budget", "budget"])
        assert account.charged(quick) == (0 if end == "killed" else 400)
        await quick.finish()

    run(main())


def test_what_a_dead_worker_did_not_spend_comes_back(tmp_path: Path) -> None:
    """One that goes on with the same dataset at once settles it, as soon as nothing else is left: before it stops."""

    async def main() -> None:
        account = Account(tmp_path)
        budget_id = account.set("radio", "1000 characters")
        killed, other = account.worker(characters=100, max_concurrency=1), account.worker(characters=100)
        killed.start()
        await asyncio.sleep(2)
        await killed.kill()
        spent = 100 * len(account.service.charges)

        def settle_dead() -> bool:
            with account.database.transaction(durable=True) as transaction:
                now_us = transaction.now_us()
                is_open = bool(pots.open_slices_of_dead(transaction, killed.session.worker.dataset_id, now_us))
                figures = pots.Spending(budget_id, Period(EVER), spent, spent)
                return pots.settle_dead(transaction, killed.name, [figures], now_us) > 0 and is_open

        other.settle_dead = settle_dead
        await run_out([other])
        assert account.stops() == ["", "budget"]
        assert 0 < spent < account.charged() == 1_000

    run(main())


def test_only_a_refusal_of_its_own_stops_an_attempt(tmp_path: Path) -> None:
    """Not one of another pot, such as yesterday's, nor one of a longer text, nor one before the budget was changed."""

    async def main() -> None:
        account = Account(tmp_path)
        budget_id = account.set("radio", "1000 characters", per="day", timezone="UTC")
        session = account.worker(characters=300).session
        (source,) = account.workers[0].budget.sources
        assert isinstance(source, SharedPots)
        attempt = Attempt("a", "u", 0, 0, 1, None, 1, 300, 300, None, None)

        async def is_stopped_by(day: str, need: int) -> bool:
            refusal = pots.Refusal((budget_id, day), 1_000, 0, need, is_final=True)
            now_s = asyncio.get_running_loop().time()
            source.take_standing(Standing(renewed_s=now_s, refusals=[refusal], has_drawn=True))
            source.request(attempt, is_idle=True)
            await asyncio.sleep(0.01)  # virtual time: it first looks for what dead workers did not spend
            return source.request(attempt, is_idle=True) is not None

        assert not source.try_reserve(attempt, SpendBound())
        assert await is_stopped_by("1970-01-01", 300)
        assert not await is_stopped_by("1969-12-31", 300)
        assert not await is_stopped_by("1970-01-01", 301)
        assert await is_stopped_by("1970-01-01", 300)
        session.budgets = tuple(session.budgets)  # others, by what they are
        source.take_standing(Standing())
        assert source.request(attempt, is_idle=True) is None

    run(main())


def test_an_attempt_without_an_end_is_not_waited_for(tmp_path: Path) -> None:
    """Its caller was cancelled, so it counts at its upper bound for good: a budget with nothing more is used up."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "1000 characters")
        worker = account.worker(characters=300, max_concurrency=1)
        attempt = Attempt("a", "u", 0, 0, 1, None, 1, 300, 300, None, None)
        session = asyncio.create_task(worker.session.run())
        while not worker.budget.reserve(attempt):  # virtual time
            worker.budget.refusal(attempt)
            await asyncio.sleep(0.1)
        worker.budget.abandon(attempt)
        session.cancel()
        async with asyncio.timeout(60):
            await worker.run_out()
        assert account.stops() == ["budget"]
        assert account.charged() == 600
        status = account.status("radio")
        assert (status.used.value, status.possible.value) == (600, 300)

    run(main())


def test_a_price_that_ends(tmp_path: Path) -> None:
    """A budget of money stops the run, which cannot say what the next attempt costs; one of characters goes on."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("money", "1000 CNY", team="radio")
        account.set("characters", "20000 characters")
        loop = asyncio.get_running_loop()

        def cost() -> Decimal | None:
            return cost_of(20) if loop.time() < BEGIN_S + 5 else None

        workers = [account.worker({"team": team}, cost=cost) for team in ("radio", "news")]
        await run_out(workers)
        assert account.stops() == ["budget", "budget"]
        assert ["no price applies now" in str(worker.stop) for worker in workers] == [True, False]
        assert account.service.charged(since_s=BEGIN_S + 5, who=workers[0].name) == 0
        assert 20_000 - 20 < account.charged() <= 20_000

    run(main())


def test_the_store_is_asked_rarely(tmp_path: Path) -> None:
    """Once a second without a budget that matches; with one, it is drawn from every few seconds."""

    async def main() -> None:
        account = Account(tmp_path)
        account.set("radio", "100000000 characters", team="radio")
        workers = [account.worker({"team": team}, max_concurrency=8) for team in ("radio", "news")]
        for worker in workers:
            worker.start()
        await asyncio.sleep(20)
        radio, news = (worker.session for worker in workers)
        before = radio.exchanges, news.exchanges, radio.draws
        await asyncio.sleep(60)
        assert news.draws == 0
        assert news.exchanges - before[1] <= 61
        assert 60 / 8 <= radio.draws - before[2] <= 60 / 2
        assert radio.exchanges - before[0] <= 61 + radio.draws - before[2]
        for worker in workers:
            await worker.finish()
        with account.database.transaction() as transaction:
            assert read_status(transaction).workers == []
        status = account.status("radio")
        used, possible = status.used.value, status.possible.value  # of the attempts that the end interrupts
        assert used <= account.charged(workers[0]) <= used + possible

    run(main())
