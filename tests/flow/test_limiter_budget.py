"""Attempts under a cap, in virtual time: each waits for the money that others give back, or the run stops."""

from __future__ import annotations

import asyncio

import pytest

from tests.flow.test_limiter import make_attempt, permitted, with_limiter
from tests.flow.virtual_time import run_virtually, virtual_clock
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.errors import StoppedError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.limiter import Limiter
from tts_pipeline.models import Usage
from tts_pipeline.money import SpendBound


def settlement_of(name: str, characters: int) -> Settlement:
    return Settlement(name, Outcome.SUCCEEDED, 0, 0, 200, None, None, Usage(), characters, characters, None, None)


async def buy(limiter: Limiter, name: str, *, took: int | None = None) -> None:
    """Make one attempt of a second that reserves 10 characters, and settles at ``took``; None is never settled."""
    with limiter.admit() as row:
        async with permitted(limiter, row, lambda: make_attempt(name, 10)) as permit:
            await asyncio.sleep(1)
            if took is not None:
                permit.settlement = settlement_of(name, took)


def test_an_attempt_waits_for_what_others_give_back() -> None:
    """First come, first served; the run goes on as long as a reservation may be freed."""

    async def main(limiter: Limiter) -> list[float]:
        began_s, ended_s = asyncio.get_running_loop().time(), list[float]()

        async def attempt(number: int) -> None:
            await buy(limiter, str(number), took=2)
            ended_s.append(asyncio.get_running_loop().time() - began_s)

        await asyncio.gather(*map(attempt, range(6)))
        return ended_s

    # 20 characters: one reserves 10 and settles at 2. Then 18 are free, for one; after it 16, and so on.
    assert with_limiter(Limits(max_concurrency=8), main, max_characters=20) == pytest.approx([1, 2, 3, 4, 5, 6])


def test_a_service_that_begins_to_count_more_passes_a_cap_by_one_attempt_at_most() -> None:
    """Side by side is only what the cap has room for at four times its count, also when all went well before."""

    async def main(limiter: Limiter) -> list[int]:
        spent = list[int]()

        async def attempt(number: int) -> None:
            took = 10 if number < 7 else 40
            await buy(limiter, str(number), took=took)
            spent.append(took)

        await asyncio.gather(*map(attempt, range(40)), return_exceptions=True)
        return spent

    spent = with_limiter(Limits(max_concurrency=32), main, max_characters=300)
    assert 300 < sum(spent) + 10 <= 300 + 40


def test_when_nothing_can_come_back_the_run_stops() -> None:
    """Waiting rows get the reason; nothing is sent, and the reservations never exceeded the cap."""

    async def main(limiter: Limiter) -> list[object]:
        buying = [buy(limiter, str(number), took=10) for number in range(8)]
        return list(await asyncio.gather(*buying, return_exceptions=True))

    results = with_limiter(Limits(max_concurrency=8), main, max_characters=35)
    assert results[:3] == [None] * 3
    assert [getattr(result, "stopped_by", None) for result in results[3:]] == ["budget"] * 5
    assert "30 characters are spent at most (30 characters confirmed)" in str(results[3])


def test_a_cap_that_is_used_up_stops_before_anything_is_sent() -> None:
    """Even if no row waits yet."""

    async def main(limiter: Limiter) -> list[object]:
        return list(await asyncio.gather(buy(limiter, "a"), return_exceptions=True))

    assert [type(result) for result in with_limiter(Limits(), main, max_characters=9)] == [StoppedError]


def test_what_was_never_settled_is_not_given_back() -> None:
    """A cancelled attempt may have been billed; if its turn came together with the cancellation, it was not sent."""

    async def main(limiter: Limiter) -> None:
        tasks = [asyncio.create_task(buy(limiter, name, took=10)) for name in "abc"]
        await asyncio.sleep(0.5)
        tasks[0].cancel()
        await asyncio.sleep(0)  # the second's turn has come ...
        tasks[1].cancel()  # ... and is not taken
        await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(StoppedError, match="20 characters are spent at most"):
            await buy(limiter, "d")

    with_limiter(Limits(max_concurrency=1), main, max_characters=20)


def test_an_attempt_that_cannot_be_described_fails_for_its_row_only() -> None:
    """Even if its turn comes while it waits; other rows go on."""

    async def main(limiter: Limiter) -> list[object]:
        def indescribable() -> Attempt:
            raise LookupError

        async def run_mistaken() -> None:
            with limiter.admit() as row:
                async with permitted(limiter, row, indescribable):
                    pass

        return list(await asyncio.gather(buy(limiter, "a"), run_mistaken(), buy(limiter, "b"), return_exceptions=True))

    first, mistake, last = with_limiter(Limits(max_concurrency=1), main)
    assert (first, type(mistake), last) == (None, LookupError, None)


class Pot:
    """A source that covers so many characters, and answers a request after a second."""

    def __init__(self, budget: Budget, covered: int, *, gets: int = 0) -> None:
        self.budget = budget
        self.covered = covered
        self.gets = gets
        self.reserved: dict[str, int] = {}
        self.requests: list[tuple[str, bool]] = []
        self.times_given_back = 0
        self.is_empty = self.is_drawing = False
        budget.sources.append(self)

    def try_reserve(self, attempt: Attempt, margin: SpendBound) -> bool:
        fits = sum(self.reserved.values()) + attempt.characters_upper_bound <= self.covered
        if fits:
            self.reserved[attempt.attempt_id] = attempt.characters_upper_bound
        return fits

    def release(self, attempt: Attempt) -> None:
        del self.reserved[attempt.attempt_id]

    def settle(self, attempt: Attempt, settlement: Settlement) -> None:
        self.reserved[attempt.attempt_id] = settlement.characters_upper_bound

    def request(self, attempt: Attempt, *, is_idle: bool) -> StoppedError | None:
        self.requests.append((attempt.attempt_id, is_idle))
        if self.is_empty and is_idle:
            return StoppedError("the pot is empty", stopped_by="budget")
        if not self.is_drawing:
            self.is_drawing = True
            asyncio.get_running_loop().call_later(1, self._answer)
        return None

    def give_back(self) -> None:
        self.times_given_back += 1

    def close(self) -> None:
        """There is nothing to end."""

    def _answer(self) -> None:
        self.covered, self.gets, self.is_empty = self.covered + self.gets, 0, self.gets == 0
        self.is_drawing = False
        self.budget.on_change()


def test_rows_wait_for_what_a_source_draws() -> None:
    """First come, first served; when nothing can come back, the run stops with the source's reason."""

    async def main() -> tuple[list[object], Pot, float]:
        budget = Budget(BudgetCap(max_characters=1_000))
        pot = Pot(budget, 10, gets=10)
        limiter = Limiter(Limits(max_concurrency=8), virtual_clock(), budget)
        began_s = asyncio.get_running_loop().time()
        ends = await asyncio.gather(*(buy(limiter, name, took=10) for name in "abc"), return_exceptions=True)
        return list(ends), pot, asyncio.get_running_loop().time() - began_s

    ends, pot, elapsed_s = run_virtually(main())
    assert ends[:2] == [None, None]
    assert "the pot is empty" in str(ends[2])
    assert pot.reserved == {"a": 10, "b": 10}
    assert list(dict.fromkeys(pot.requests)) == [("b", True), ("c", False), ("c", True)], "c asks while b is in flight"
    assert elapsed_s == pytest.approx(3)


def test_an_attempt_is_reserved_in_every_source_or_in_none() -> None:
    """What one pot covers and another does not is given back to the first."""

    async def main() -> tuple[Pot, Pot]:
        budget = Budget(BudgetCap(max_characters=1_000))
        large, small = Pot(budget, 100), Pot(budget, 10)
        assert budget.reserve(make_attempt("a", 10))
        assert not budget.reserve(make_attempt("b", 10))
        assert budget.refusal(make_attempt("b", 10)) is None
        budget.release(make_attempt("a", 10))
        return large, small

    large, small = run_virtually(main())
    assert large.reserved == small.reserved == {}
    assert (large.requests, small.requests) == ([], [("b", False)])


def test_who_waits_for_one_pot_gives_the_others_back() -> None:
    """Those whom it waits for may wait for that; but nothing is given back for an attempt in flight."""

    async def main() -> None:
        budget = Budget(BudgetCap(max_characters=1_000))
        full, short = Pot(budget, 100), Pot(budget, 5, gets=10)
        assert not budget.reserve(make_attempt("a", 10))
        assert budget.refusal(make_attempt("a", 10)) is None
        budget.give_back_others(short)
        assert (full.times_given_back, short.times_given_back) == (1, 0)
        await asyncio.sleep(1)
        assert budget.reserve(make_attempt("a", 10))
        budget.give_back_others(short)
        assert (full.times_given_back, short.times_given_back) == (1, 0)

    run_virtually(main())


def test_while_a_pot_is_short_nothing_is_drawn_from_the_others() -> None:
    """It is asked first: what others would draw again, this process would only keep from them."""

    async def main() -> None:
        budget = Budget(BudgetCap(max_characters=1_000))
        first, short = Pot(budget, 100), Pot(budget, 5)
        for _ in range(2):
            assert not budget.reserve(make_attempt("a", 10))
            assert budget.refusal(make_attempt("a", 10)) is None
            first.covered = 0
        assert (first.requests, short.requests) == ([], [("a", True)] * 2)

    run_virtually(main())
