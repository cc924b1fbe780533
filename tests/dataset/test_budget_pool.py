"""A cap is one pot: processes draw claims from it, give back while they wait, and stop once nothing can come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import FLASH_PRICE, NOW_US, descriptor_of, settlement_of
from tests.machine import patience
from tts_pipeline.attempt import Attempt
from tts_pipeline.config import BudgetCap, Limits
from tts_pipeline.dataset.budget_pool import BudgetPool, OtherSpend
from tts_pipeline.dataset.claim_high_water import ClaimHighWater, ClaimStep
from tts_pipeline.dataset.claims import Claim, claim_name, read_claim
from tts_pipeline.dataset.spending import DatasetSpend
from tts_pipeline.errors import StoppedError, StorageError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.clock import Clock
from tts_pipeline.flow.limiter import Limiter
from tts_pipeline.money import Cost
from tts_pipeline.storage.local_store import LocalStore

CLAIM = Claim("j", "i", NOW_US, 0, None, "CNY", "local", "m", None)
CAP = BudgetCap(max_characters=100)
POLL_S = (0.001, 0.005)
NOTHING = OtherSpend(lambda _: Cost(), lambda: False)


def _attempt(name: str, characters: int, part: int = 0) -> Attempt:
    """Describe a request for the only row of a part, with a bound that covers whatever the service may count."""
    return Attempt(name, f"r{part}", 0, 0, 1, "Cherry", NOW_US, 1, characters, "p", None)


class Process:
    """One process at work on some parts of one row, with a claim of the part's number as its journal's id."""

    def __init__(
        self, folder: Path, others: OtherSpend = NOTHING, *, cap: BudgetCap = CAP, poll_s: tuple[float, float] = POLL_S
    ) -> None:
        self.store = LocalStore(folder)
        self.budget = Budget(cap)
        self.pool = BudgetPool(cap, self.budget, others, poll_s)
        self.budget.sources.append(self.pool)
        self.members: dict[int, ClaimHighWater] = {}

    def open(self, part: int = 0, characters: int = 80, invocation: str = "i") -> ClaimHighWater:
        """Open a part whose rows have so many characters."""
        claim = replace(CLAIM, journal_id=f"j{part}", invocation_id=invocation)
        member = self.members[part] = ClaimHighWater(self.store, part, claim, ClaimStep(characters, [FLASH_PRICE]))
        self.pool.open(member, [(f"r{part}", 0)])
        return member

    def claim(self, part: int = 0) -> tuple[int, bool]:
        """Return the characters of a part's claim, and its mark."""
        claim = read_claim(self.store, claim_name(part, f"j{part}"))
        assert claim is not None
        return claim.characters_upper_bound, claim.is_waiting

    def run(self, main: Callable[[Limiter], Coroutine[Any, Any, Any]]) -> Any:
        """Run a coroutine with a limiter under the cap, and close it."""

        async def run() -> Any:
            limiter = Limiter(Limits(max_concurrency=8), Clock(), self.budget)
            try:
                return await asyncio.wait_for(main(limiter), patience(20))
            finally:
                limiter.close()

        return asyncio.run(run())


async def _buy(limiter: Limiter, attempt: Attempt, *, took: int | None = None) -> None:
    """Reserve an attempt, and settle it; ``took`` None is what was reserved."""
    with limiter.admit() as row:
        permit = limiter.try_permit(row, lambda: attempt) or await limiter.wait_for_permit(row, lambda: attempt)
        with permit:
            characters = attempt.characters_upper_bound if took is None else took
            permit.settlement = settlement_of(attempt, characters_upper_bound=characters, cost_upper_bound=None)


async def _claimed(process: Process, characters: int, *, is_waiting: bool) -> None:
    """Wait until the claim is so in its file."""
    while process.claim() != (characters, is_waiting):  # noqa: ASYNC110 (a file tells nobody)
        await asyncio.sleep(0.001)


def test_others_are_counted_after_the_claim_is_written(tmp_path: Path) -> None:
    """Of two concurrent claims one sees the other; an attempt that does not fit is not sent; the claim is lowered."""
    others, claims = [40], list[int]()

    def count(own: Collection[str]) -> Cost:
        assert set(own) == {"j0"}
        claims.append(process.claim()[0])
        return Cost(characters_upper_bound=others[0])

    process = Process(tmp_path, OtherSpend(count, lambda: False))
    member = process.open()
    assert claims == [1], "a part of the cap, as nothing is known of others yet"
    assert process.claim() == (0, False), "a part of what others leave"

    async def main(limiter: Limiter) -> None:
        await _buy(limiter, _attempt("a", 45))
        assert (claims[-1], process.claim()) == (46, (46, False))
        others[0] = 60  # another process has raised its claim
        with pytest.raises(StoppedError, match="the budget of 100 characters is used up: 105 characters are spent"):
            await _buy(limiter, _attempt("b", 15))

    process.run(main)
    assert (claims[-1], process.claim()) == (60, (45, True))
    assert member.spend.characters == 45


def test_parts_of_one_process_give_each_other_what_they_do_not_need(tmp_path: Path) -> None:
    """Each part can spend the whole cap."""
    process = Process(tmp_path)
    for part in range(3):
        process.open(part)

    async def main(limiter: Limiter) -> None:
        for number in range(10):
            await _buy(limiter, _attempt(f"a{number}", 10, number % 2))
        with pytest.raises(StoppedError):
            await _buy(limiter, _attempt("b", 1, 2))

    process.run(main)
    assert [process.claim(part) for part in range(3)] == [(50, True), (50, True), (0, True)]


def test_an_attempt_waits_until_another_process_gives_back(tmp_path: Path) -> None:
    """It polls, without a claim in vain, and goes on once the other's claim is lower."""
    others, counts = [90], list[tuple[int, bool]]()

    def count(_: Collection[str]) -> Cost:
        counts.append(process.claim())
        if len(counts) == 6:
            others[0] = 60
        return Cost(characters_upper_bound=others[0])

    process = Process(tmp_path, OtherSpend(count, lambda: True))
    process.open()
    process.run(lambda limiter: _buy(limiter, _attempt("a", 40)))
    assert counts[1:] == [(40, False), *[(0, True)] * 4, (40, False)], "marked while it waits, and not when it claims"
    assert process.claim() == (40, False)


def test_an_open_attempt_may_give_back_what_a_claim_lacks(tmp_path: Path) -> None:
    """While an attempt is in flight nothing is final, and the claim is lowered, but not marked."""
    others = [0]
    process = Process(tmp_path, OtherSpend(lambda _: Cost(characters_upper_bound=others[0]), lambda: False))
    process.open()

    async def main(limiter: Limiter) -> None:
        with limiter.admit() as row:
            await _buy(limiter, _attempt("known", 10))
            first = _attempt("a", 60)
            permit = limiter.try_permit(row, lambda: first) or await limiter.wait_for_permit(row, lambda: first)
            with permit:
                others[0] = 25
                second = asyncio.create_task(_buy(limiter, _attempt("b", 20)))
                await _claimed(process, 70, is_waiting=False)
                assert not second.done()
                permit.settlement = settlement_of(first, characters_upper_bound=20, cost_upper_bound=None)
            await second

    process.run(main)
    assert process.members[0].spend.characters == 50


def test_a_stop_ends_the_wait_at_once(tmp_path: Path) -> None:
    """Even if the next look would be in an hour."""
    process = Process(
        tmp_path, OtherSpend(lambda _: Cost(characters_upper_bound=90), lambda: True), poll_s=(3_600, 3_600)
    )
    process.open()

    async def main(limiter: Limiter) -> None:
        row = asyncio.create_task(_buy(limiter, _attempt("a", 40)))
        await _claimed(process, 0, is_waiting=True)
        limiter.stop(StoppedError("enough", stopped_by="interrupted"))
        with pytest.raises(StoppedError, match="enough"):
            await row

    process.run(main)


def test_a_pot_that_cannot_be_read_fails_the_row_that_waits(tmp_path: Path) -> None:
    """Nothing is sent on an unknown spending."""

    def count(own: Collection[str]) -> Cost:
        if is_away:
            raise StorageError("the destination is away")
        return Cost()

    is_away = False
    process = Process(tmp_path, OtherSpend(count, lambda: True))
    process.open()
    is_away = True
    with pytest.raises(StorageError, match="away"):
        process.run(lambda limiter: _buy(limiter, _attempt("a", 40)))


def test_a_claim_is_written_no_more_once_its_part_has_left(tmp_path: Path) -> None:
    """A draw that is under way ends first: a claim that came after the part's usage would count twice."""
    is_counting, may_go_on = threading.Event(), threading.Event()

    def count(_: Collection[str]) -> Cost:
        if process.members[0].spend.characters:
            is_counting.set()
            may_go_on.wait()
        return Cost()

    process = Process(tmp_path, OtherSpend(count, lambda: True))
    member = process.open()

    async def main(limiter: Limiter) -> None:
        await _buy(limiter, _attempt("a", 12))
        row = asyncio.create_task(_buy(limiter, _attempt("b", 40)))
        await asyncio.to_thread(is_counting.wait)
        leaving = asyncio.create_task(asyncio.to_thread(process.pool.leave, member))
        may_go_on.set()
        await leaving
        process.store.remove(claim_name(0, "j0"))
        await asyncio.gather(row, return_exceptions=True)
        limiter.close()

    process.run(main)
    assert process.store.names("claims") == []


def test_processes_that_wait_for_each_others_pots_both_go_on(tmp_path: Path) -> None:
    """Each holds a claim in the pot that the other waits for: while it waits, it gives that back."""

    class Two:
        """A process that draws from two pots, of which it has claimed most of one."""

        def __init__(self, part: int, held: str) -> None:
            self.part = part
            self.budget = Budget(CAP)
            self.members = list[ClaimHighWater]()
            for name in ("x", "y"):
                store, locks = LocalStore(tmp_path / name), tmp_path / "locks"
                spend = DatasetSpend(store, descriptor_of(9, 1, {}), tmp_path / "journals", locks)
                others = OtherSpend(spend.refresh, partial(spend.may_shrink, lambda *_: False))
                cap = BudgetCap(max_characters=9_000) if name == held else CAP
                pool = BudgetPool(cap, self.budget, others, POLL_S)
                self.budget.sources.append(pool)
                claim = replace(CLAIM, journal_id=f"j{part}")
                size = 60 if name == held else 1
                self.members.append(ClaimHighWater(store, part, claim, ClaimStep(size, [])))
                pool.open(self.members[-1], [(f"r{part}", 0)])

        async def work(self) -> None:
            limiter = Limiter(Limits(), Clock(), self.budget)
            await _buy(limiter, _attempt("a", 50, self.part))
            limiter.close()
            for member in self.members:
                await asyncio.to_thread(member.lower)  # as its usage would tell

    async def main() -> None:
        first, second = Two(0, "x"), Two(1, "y")
        await asyncio.wait_for(asyncio.gather(first.work(), second.work()), patience(20))

    asyncio.run(main())


@dataclass
class Dataset:
    """Processes that draw from one cap, each with one part, at the same time."""

    folder: Path
    cap: int
    dead: set[str] = field(default_factory=set)
    spent: int = 0

    async def work(self, number: int, attempts: list[tuple[int, int]]) -> int | None:
        """Buy texts at one time, of which each may take less than reserved; return the first that was refused."""
        store, locks = LocalStore(self.folder), self.folder / "locks"
        spend = DatasetSpend(store, descriptor_of(9, 1, {}), self.folder / "journals", locks)
        others = OtherSpend(spend.refresh, lambda: spend.may_shrink(lambda _, invocation: invocation in self.dead))
        process = Process(self.folder, others, cap=BudgetCap(max_characters=self.cap))
        await asyncio.to_thread(process.open, number, sum(size for size, _ in attempts), str(number))
        limiter = Limiter(Limits(max_concurrency=3), Clock(), process.budget)

        async def buy(index: int, size: int, took: int) -> None:
            attempt = _attempt(f"{number}-{index}", size, number)
            with limiter.admit() as row:
                permit = limiter.try_permit(row, lambda: attempt) or await limiter.wait_for_permit(row, lambda: attempt)
                with permit:
                    self.spent += size
                    assert self.spent <= self.cap
                    await asyncio.sleep(0.001)
                    self.spent += took - size
                    permit.settlement = settlement_of(attempt, characters_upper_bound=took, cost_upper_bound=None)

        buying = [buy(index, size, min(size, took)) for index, (size, took) in enumerate(attempts)]
        ends = await asyncio.gather(*buying, return_exceptions=True)
        limiter.close()
        await asyncio.to_thread(process.members[number].lower)  # as its usage would tell
        sizes = [size for (size, _), end in zip(attempts, ends, strict=True) if isinstance(end, StoppedError)]
        assert len(sizes) == sum(end is not None for end in ends), ends
        return sizes[0] if sizes else None


@settings(max_examples=25, deadline=None)
@given(
    cap=st.integers(1, 120),
    plans=st.lists(
        st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), min_size=1, max_size=6), min_size=1, max_size=4
    ),
)
def test_whatever_processes_buy_they_spend_the_cap_and_all_end(cap: int, plans: list[list[tuple[int, int]]]) -> None:
    """Together never more than the cap at any time, and none stops while what is left is enough for it."""

    async def run(dataset: Dataset) -> list[int | None]:
        working = [dataset.work(number, attempts) for number, attempts in enumerate(plans)]
        return list(await asyncio.wait_for(asyncio.gather(*working), patience(60)))

    with TemporaryDirectory() as folder:
        dataset = Dataset(Path(folder), cap)
        refused = asyncio.run(run(dataset))
        assert all(size is None or dataset.spent + size > cap for size in refused)


@pytest.mark.parametrize("is_dead", [False, True])
def test_the_claim_of_a_dead_process_never_comes_back(tmp_path: Path, is_dead: bool) -> None:
    """It counts as spent, and nobody waits for it; for that of a living process, as long as it lives."""
    dataset = Dataset(tmp_path, 100, {"7"} if is_dead else set())
    Process(tmp_path, cap=BudgetCap(max_characters=9_000)).open(7, 90, "7")

    async def main() -> None:
        working = asyncio.create_task(dataset.work(0, [(20, 20)]))
        if not is_dead:
            done, _ = await asyncio.wait([working], timeout=0.3)
            assert not done
            dataset.dead.add("7")
        assert await working == 20

    asyncio.run(main())
