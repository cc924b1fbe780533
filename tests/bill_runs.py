"""Runs of a job without a service: every keeper of the bill is compared at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

import orjson

from tests.bills import (
    NOTHING,
    TWO_CURRENCIES,
    Job,
    Sent,
    cost_of_attempts,
    excess_of,
    total_of,
)
from tests.builders import audio_of, make_speech
from tests.datasets import keep
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.dataset.active_part import ActivePart, Progress
from tts_pipeline.dataset.budget_pool import BudgetPool, OtherSpend
from tts_pipeline.dataset.claim_high_water import ClaimHighWater
from tts_pipeline.dataset.claims import claim_name, read_claim
from tts_pipeline.dataset.part_journals import journal_cost, journal_paths
from tts_pipeline.dataset.spending import DatasetSpend
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import usage_cost, usage_name
from tts_pipeline.errors import StorageError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.models import Answer, Usage, Utterance, UtteranceKey
from tts_pipeline.money import Cost, SpendBound
from tts_pipeline.text import billed_characters
from tts_pipeline.wal.journal import remove_journal


def cost_in(totals: Cost) -> Cost:
    """Return what totals tell of the cost."""
    return Cost(**{field.name: getattr(totals, field.name) for field in fields(Cost)})


class _Pool(BudgetPool):
    """Knows its parts."""

    parts: dict[str, ClaimHighWater]

    def open(self, member: ClaimHighWater, keys: Iterable[UtteranceKey]) -> None:
        self.parts[member.journal_id] = member
        super().open(member, keys)


class Run:
    """One process at work on some parts of a job, until it is stopped or killed."""

    def __init__(self, job: Job, numbers: Collection[int]) -> None:
        self.job = job
        self.parts: dict[int, ActivePart] = {}
        self.progress = Progress()
        self._reserved: dict[str, Attempt] = {}
        self._numbers = sorted(numbers)
        self._resources: dict[int, AsyncExitStack] = {}
        self._unfinished: dict[int, list[Utterance]] = {}
        self._durable: dict[str, tuple[Path, int]] = {}
        self._not_durable: dict[str, list[str]] = {}
        self._journals: list[str] = []
        self._foreign = {job.sent[journal_id].part for journal_id in job.live}
        bench = job.bench
        self._spend = DatasetSpend(bench.store, job.descriptor, bench.journals, bench.folder / "locks")
        self._others = self._check_others(self._spend.total())
        self._lone_budget = Budget(job.cap, self.progress.tally)
        self._lone_budget.set_external_spend(self._others)
        self.budget, self._pool = Budget(), None
        if job.is_tight:
            self.budget = Budget(job.cap, self.progress.tally)
            self._pool = _Pool(job.cap, self.budget, OtherSpend(self._count_others, lambda: False), (0, 0))
            self._pool.parts = {}
            self.budget.sources.append(self._pool)

    budget: Budget
    """Draws from a pool if little may be spent; else there is no cap, and the parts raise their claims themselves."""
    _pool: _Pool | None

    def _count_others(self, own_journals: Collection[str]) -> Cost:
        self._others = self._check_others(self._spend.refresh(own_journals))
        self._lone_budget.set_external_spend(self._others)
        return self._others

    def _check_others(self, counted: Cost) -> Cost:
        """Compare what is counted of all other journals, which is returned.

        Which of two currencies it is in depends on the order of counting, which is not the order of the journals.
        """
        others = total_of(self._counted(journal_id) for journal_id in self.job.sent if journal_id not in self._journals)
        if self.job.prices == TWO_CURRENCIES:
            assert counted.attempts == others.attempts, "others"
            assert counted.characters_upper_bound == others.characters_upper_bound, "others"
        else:
            assert counted == others, "others"
        return counted

    def _counted(self, journal_id: str) -> Cost:
        """Return what is counted of a journal: all that it claims, while another process has its part."""
        sent = self.job.sent[journal_id]
        is_foreign = journal_id in self.job.live or sent.part in self._foreign
        claimed = self.job.claimed(journal_id) if is_foreign else None
        return sent.bill if claimed is None else claimed

    async def open(self) -> None:
        """Open the parts; what earlier runs finished and did not commit is committed."""
        for number in self._numbers:
            self.job.bench.committer.account_for_lost_journals(number, self.job.bench.replays(number))
            resources = self._resources[number] = AsyncExitStack()
            part = self.job.bench.part(number, self.progress, pool=self._pool)
            self.parts[number] = opened = await resources.enter_async_context(part)
            if not opened.remaining:
                await self._commit(number)
                continue
            self.job.sent[opened.journal_id] = Sent(number, self.job.currency)
            self.job.live.add(opened.journal_id)
            self._journals.append(opened.journal_id)
            self._unfinished[number] = list(opened.todo)
            self._mark_durable(opened)

    def new_attempt(self, number: int, quarters: int, busy: Collection[str]) -> Attempt | None:
        """Describe a request for a row that is neither done nor busy; None where there is none.

        One of which the service reports our count, 4 quarters, is bounded by that, as nearly all requests are.
        """
        free = [utterance for utterance in self._unfinished[number] if utterance.utterance_id not in busy]
        if not free:
            return None
        counted = billed_characters(free[0].text, "han_double")
        return self.job.attempt(free[0], counted if quarters == 4 else 3 + 2 * quarters)

    async def reserve(self, attempt: Attempt) -> bool:
        """Ask the budget, which allows exactly what the cap has left; without a cap, everything."""
        if self._pool is None:
            return True
        fits = self.budget.reserve(attempt)
        if not fits:
            answered = asyncio.Event()
            self.budget.on_change = answered.set
            assert self.budget.refusal(attempt) is None
            await answered.wait()
            self._pool.close()
            fits = self.budget.reserve(attempt)
        assert fits == self._room().covers(SpendBound.of(attempt)), "budget"
        if fits:
            self._reserved[attempt.attempt_id] = attempt
        return fits

    def give_back(self, attempt: Attempt) -> None:
        """Release what was reserved for an attempt that is not sent."""
        if self._pool is not None:
            self.budget.release(attempt)
            del self._reserved[attempt.attempt_id]

    async def intend_without_lease(self, number: int, attempt: Attempt) -> None:
        """Try to write an attempt down when the part is held no longer."""
        part = self.parts[number]
        part.hold(ExitStack(), _refuse)
        with suppress(StorageError):
            await part.intend(attempt, None)
        part.hold(ExitStack(), lambda: None)
        self.budget.abandon(attempt)
        self._reserved.pop(attempt.attempt_id, None)

    async def intend(self, number: int, attempt: Attempt) -> None:
        """Write an attempt down, which may then be sent."""
        part = self.parts[number]
        self._reserved.pop(attempt.attempt_id, None)
        await part.intend(attempt, None)
        sent = self.job.sent[part.journal_id]
        sent.excess = NOTHING
        sent.attempts[attempt.attempt_id] = attempt, None
        self._mark_durable(part)

    async def settle(self, number: int, settlement: Settlement, *, is_budget_first: bool) -> None:
        """Tell the budget and the part how an attempt ended; whoever hears of it first tells the progress."""
        part = self.parts[number]
        sent = self.job.sent[part.journal_id]
        attempt, _ = sent.attempts[settlement.attempt_id]
        sent.attempts[settlement.attempt_id] = attempt, settlement
        self._not_durable[part.journal_id].append(settlement.attempt_id)
        excess = excess_of(SpendBound.of(settlement), SpendBound.of(attempt))
        sent.excess, self.job.beyond = sent.excess.plus(excess), self.job.beyond.plus(excess)
        is_budget_first = is_budget_first and self._pool is not None
        if is_budget_first:
            self.budget.settle(settlement)
            self.check()
        utterance = next(
            utterance for utterance in self._unfinished[number] if utterance.utterance_id == attempt.utterance_id
        )
        audio, is_speech = audio_of(utterance.text), settlement.outcome is Outcome.SUCCEEDED
        part.settle(settlement, Answer(0, audio, usage=Usage(attempt.characters_counted)) if is_speech else None)
        if not is_budget_first:
            self.check()
            self.budget.settle(settlement)
        if is_speech:
            self._unfinished[number].remove(utterance)
            await keep(part, make_speech(utterance, audio, settlement.characters_billed))

    async def finish(self, number: int, attempt: Attempt) -> None:
        """Give the place of an attempt to the next one; commit a part whose rows are all done."""
        self.budget.abandon(attempt)
        if number in self.parts and self.parts[number].remaining == 0:
            await self._commit(number)

    def _spent(self) -> Cost:
        sent = [pair for journal_id in self._journals for pair in self.job.sent[journal_id].attempts.values()]
        return cost_of_attempts([*sent, *((attempt, None) for attempt in self._reserved.values())], self.job.currency)

    def _limit(self) -> SpendBound:
        return SpendBound.of_cap(self.job.cap).minus(self._others.bound)

    def _room(self) -> SpendBound:
        return self._limit().minus(self._spent().bound)

    def check(self) -> None:
        """Compare the keepers of a process that is at work."""
        spent, progress = self._spent(), cost_in(self.progress.totals)
        if not spent.attempts and not progress.cost_upper_bound:  # what was given back has a currency all the same
            progress.cost = progress.cost_upper_bound = progress.currency = None
        assert progress == spent, "progress"
        room = self._room()
        has_room = room.covers(NOTHING)
        assert self._fits(NOTHING) == has_room, "budget"
        if has_room:
            assert self._fits(SpendBound(room.characters)), "budget"
            assert not self._fits(SpendBound(room.characters + 1)), "budget"
        if has_room and self.job.cap.max_cost is not None:
            assert self._fits(SpendBound(0, room.cost)), "budget"
            assert not self._fits(SpendBound(0, room.cost + Decimal("1e-9"))), "budget"
        for part in self.parts.values():
            sent = self.job.sent[part.journal_id]
            assert self._claim(part).plus(sent.excess).covers(sent.bill.bound), "claim"
        self.job.check_cap()

    def _fits(self, bound: SpendBound) -> bool:
        cost = None if self.job.cap.max_cost is None else bound.cost
        probe = Attempt("probe", "r", 0, 0, 1, None, 0, bound.characters, bound.characters, "p", cost)
        fits = self._lone_budget.reserve(probe)
        if fits:
            self._lone_budget.release(probe)
        return fits

    def lower_claims(self) -> None:
        """Lower the claims to what may have been spent, which they then tell exactly, and whether that is final."""
        for part in self.parts.values() if self._pool is not None else ():
            assert self._pool is not None
            self._pool.parts[part.journal_id].lower()
            assert self._claim(part) == self.job.bill([part.journal_id]).bound, "lowered claim"
            claim = read_claim(self.job.bench.store, claim_name(part.rows.number, part.journal_id))
            assert claim is not None
            ends = [end for _, end in self.job.sent[part.journal_id].attempts.values()]
            assert claim.is_waiting == (None not in ends), "mark"

    def _claim(self, part: ActivePart) -> SpendBound:
        claimed = self.job.claimed(part.journal_id)
        assert claimed is not None, "claim"
        return claimed.bound

    async def end(self, ending: str) -> None:
        """Stop, or die: with all that was written, with what had to be on the disk, or with the disk."""
        for number in self.parts:
            await self._resources[number].aclose()
        if ending == "power cut":
            for journal_id, (path, size) in self._durable.items():
                self._cut(journal_id, path, size)
        self.job.live -= set(self._journals)
        for number in self.parts:
            self._check_journals(number)
            if ending == "stop":
                self.job.bench.committer.suspend_part(self.job.bench.rows(number), self.job.bench.replays(number))
                self._check_usage(number)
            elif ending == "disk lost":
                self._lose_journals(number)

    def _cut(self, journal_id: str, path: Path, size: int) -> None:
        if path.exists():
            path.write_bytes(path.read_bytes()[:size] + b"torn")
            sent = self.job.sent[journal_id]
            for attempt_id in self._not_durable[journal_id]:
                attempt, settlement = sent.attempts[attempt_id]
                assert settlement is not None
                sent.attempts[attempt_id], sent.forgotten[attempt_id] = (attempt, None), settlement
                self.job.beyond = self.job.beyond.plus(excess_of(SpendBound.of(attempt), SpendBound.of(settlement)))

    def _lose_journals(self, number: int) -> None:
        for path in journal_paths(self.job.bench.journals, number):
            remove_journal(path)
        for journal_id in self.job.journals_of(number):
            sent, claimed = self.job.sent[journal_id], self.job.claimed(journal_id)
            if claimed is not None:
                assert claimed.bound.plus(sent.excess).covers(sent.spent), "claim"
                if journal_id not in self._journals:  # later sessions counted what it had spent, not its whole claim
                    self.job.beyond = self.job.beyond.plus(excess_of(claimed.bound, sent.bill.bound))
                sent.claim = claimed

    def _mark_durable(self, part: ActivePart) -> None:
        path = self.job.bench.journal_path(part)
        self._durable[part.journal_id] = path, path.stat().st_size
        self._not_durable[part.journal_id] = []

    async def _commit(self, number: int) -> None:
        part = self.parts.pop(number)
        part.sync()
        self._check_journals(number)
        self.job.bench.publish(number)
        await self._resources.pop(number).aclose()
        self.job.live.discard(part.journal_id)
        self.job.done.add(number)
        self._check_usage(number)
        marker = orjson.loads(self.job.bench.store.read(f"done/part-{number:05}.json") or b"")
        assert cost_in(Totals.from_json(marker["totals"])) == self.job.bill(self.job.journals_of(number)), "marker"

    def _check_journals(self, number: int) -> None:
        for replay in self.job.bench.replays(number):
            assert journal_cost(replay) == self.job.bill([replay.journal_id]), "replay"

    def _check_usage(self, number: int) -> None:
        for journal_id in self.job.journals_of(number):
            data = self.job.bench.store.read(usage_name(number, journal_id))
            spent = Cost() if data is None else usage_cost(data)
            assert spent == self.job.bill([journal_id]), "usage"


def _refuse() -> None:
    raise StorageError("the lease is lost")
