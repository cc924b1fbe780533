"""The bill is one bill: whoever keeps it, in memory or in files, and whatever happens to requests and processes."""

from __future__ import annotations
import __future__

import asyncio
import inspect
import tempfile
import textwrap
from collections.abc import Collection, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import fields
from decimal import Decimal
from functools import reduce
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bills import (
    BY_CHARACTER,
    NOTHING,
    OUTCOMES,
    PART_ROWS,
    PARTS,
    PRICES,
    TWO_CURRENCIES,
    Job,
    Sent,
    cost_of_attempts,
    excess_of,
    money_of,
    total_of,
)
from tests.builders import audio_of, make_speech
from tests.datasets import Bench
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.dataset import claim_high_water
from tts_pipeline.dataset.active_part import ActivePart, Progress
from tts_pipeline.dataset.claim_high_water import BudgetPool, ClaimHighWater
from tts_pipeline.dataset.commit import PartCommitter
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, MANIFEST_FILE
from tts_pipeline.dataset.finalize import _sum_totals, costs_by_part, dataset_totals, finalize
from tts_pipeline.dataset.part_journals import journal_cost, journal_paths
from tts_pipeline.dataset.spending import DatasetSpend, total_spend
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import _column_sums, _usage_rows, account_for_claims, usage_cost, usage_name
from tts_pipeline.errors import StoppedError, StorageError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.models import Answer, Usage, Utterance
from tts_pipeline.money import Cost, SpendBound, sum_of
from tts_pipeline.report.usage import sum_usage, usage_report
from tts_pipeline.schema import usage_values
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.wal.journal import remove_journal
from tts_pipeline.wal.replay import _apply_settlement

REPORTED = {
    "requests": "attempts",
    "unknown": "unknown_attempts",
    "implausible": "implausible_attempts",
    "characters_billed": "characters_billed",
    "characters_upper_bound": "characters_upper_bound",
}
"""Counts of a usage report, by its columns."""

NOT_SENT = ("given back", "not held")
"""Endings of what is reserved and not written down; the second, because the lease is lost."""


class Request(NamedTuple):
    """A request for a row of a part: how it ends, and how many quarters of our count the service reports."""

    part: int
    ending: str = "succeeded"
    quarters: int = 4


class Step(NamedTuple):
    """Requests in flight side by side; whether the budget or the part hears first; whether claims are then lowered."""

    requests: Sequence[Request]
    is_budget_first: bool = True
    is_lowered: bool = False


class Session(NamedTuple):
    """What one process does, or two that share the parts, until they are stopped or die."""

    steps: Sequence[Step]
    ending: str = "stop"
    is_shared: bool = False


class Plan(NamedTuple):
    """The sessions of a job, one after another; a last one, with an ample cap, buys what is then left."""

    prices: str
    is_tight: bool
    sessions: Sequence[Session]


_ENDINGS = st.sampled_from([*OUTCOMES, "lost", *NOT_SENT])
_REQUESTS = st.lists(
    st.builds(Request, st.integers(0, PARTS - 1), _ENDINGS, st.integers(0, 40)), min_size=1, max_size=3
)
_STEPS = st.lists(st.builds(Step, _REQUESTS, st.booleans(), st.booleans()), max_size=5)
_SESSIONS = st.builds(Session, _STEPS, st.sampled_from(["stop", "kill", "power cut", "disk lost"]), st.booleans())
PLANS = st.builds(Plan, st.sampled_from(sorted(PRICES)), st.booleans(), st.lists(_SESSIONS, max_size=3))


def _cost_in(totals: Cost) -> Cost:
    return Cost(**{one.name: getattr(totals, one.name) for one in fields(Cost)})


class _Pool(BudgetPool):
    """Knows its parts."""

    parts: dict[str, ClaimHighWater]

    def join(self, member: ClaimHighWater) -> None:
        self.parts[member.journal_id] = member
        super().join(member)


class Run:
    """One process at work on some parts of a job, until it is stopped or killed."""

    def __init__(self, job: Job, numbers: Collection[int]) -> None:
        self.job = job
        self.parts: dict[int, ActivePart] = {}
        self.is_stopped = False
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
        self._others = self._check_others(self._spend.by_part())
        self.budget = Budget(job.cap, self.progress.tally)
        self.budget.set_external_spend(self._others)
        self._pool = _Pool(job.cap, self._count_others, self.budget.set_external_spend)
        self._pool.parts = {}

    def _count_others(self, own_journals: Collection[str]) -> Cost:
        self._others = self._check_others(self._spend.refresh(own_journals))
        return self._others

    def _check_others(self, counted: dict[int, Cost]) -> Cost:
        """Compare what is counted of all other journals; return their sum."""
        for number in range(PARTS):
            others = [self._counted(one) for one in self.job.journals_of(number) if one not in self._journals]
            assert counted.get(number, Cost()) == total_of(others), "others"
        return sum_of(counted.values())

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

    def new_attempt(self, request: Request, busy: Collection[str]) -> Attempt | None:
        """Describe a request for a row that is neither done nor busy; None where there is none."""
        if self.is_stopped:
            return None
        free = [one for one in self._unfinished[request.part] if one.utterance_id not in busy]
        return self.job.attempt(free[0], 3 + 2 * request.quarters) if free else None

    def reserve(self, attempt: Attempt) -> bool:
        """Ask the budget, which allows exactly what the cap has left."""
        fits = self.budget.reserve(attempt)
        assert fits == self._room().covers(SpendBound.of(attempt)), "budget"
        if fits:
            self._reserved[attempt.attempt_id] = attempt
        return fits

    def give_back(self, attempt: Attempt) -> None:
        """Release what was reserved for an attempt that is not sent."""
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
        del self._reserved[attempt.attempt_id]

    async def intend(self, number: int, attempt: Attempt, *, is_budget_first: bool) -> bool:
        """Write an attempt down; return whether it may be sent."""
        part, spent = self.parts[number], self.job.bill(self._journals).bound
        self._reserved.pop(attempt.attempt_id, None)
        try:
            await part.intend(attempt, None)
        except StoppedError:
            assert not self._limit().covers(spent.plus(SpendBound.of(attempt))), "claims of which nobody has need"
            self.is_stopped = True
            self.budget.abandon(attempt)
            return False
        sent = self.job.sent[part.journal_id]
        sent.excess = NOTHING
        sent.attempts[attempt.attempt_id] = attempt, None
        self._mark_durable(part)
        if not is_budget_first:
            self.check()
            assert self.budget.reserve(attempt), "budget"
        return True

    async def settle(self, number: int, settlement: Settlement, *, is_budget_first: bool) -> None:
        """Tell the budget and the part how an attempt ended; whoever hears of it first tells the progress."""
        part = self.parts[number]
        sent = self.job.sent[part.journal_id]
        attempt, _ = sent.attempts[settlement.attempt_id]
        sent.attempts[settlement.attempt_id] = attempt, settlement
        self._not_durable[part.journal_id].append(settlement.attempt_id)
        excess = excess_of(settlement, attempt)
        sent.excess, self.job.beyond = sent.excess.plus(excess), self.job.beyond.plus(excess)
        if is_budget_first:
            self.budget.settle(settlement)
            self.check()
        utterance = next(one for one in self._unfinished[number] if one.utterance_id == attempt.utterance_id)
        audio, is_speech = audio_of(utterance.text), settlement.outcome is Outcome.SUCCEEDED
        part.settle(settlement, Answer(0, audio, usage=Usage(attempt.characters_counted)) if is_speech else None)
        if not is_budget_first:
            self.check()
            self.budget.settle(settlement)
        if is_speech:
            self._unfinished[number].remove(utterance)
            await part.record_speech(make_speech(utterance, audio, settlement.characters_billed))

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
        spent, progress = self._spent(), _cost_in(self.progress.totals)
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
        fits = self.budget.reserve(probe)
        if fits:
            self.budget.release(probe)
        return fits

    def lower_claims(self) -> None:
        """Lower the claims to what may have been spent, which they then tell exactly."""
        for part in self.parts.values():
            self._pool.parts[part.journal_id].lower()
            assert self._claim(part) == self.job.bill([part.journal_id]).bound, "lowered claim"

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
                self.job.beyond = self.job.beyond.plus(excess_of(attempt, settlement))

    def _lose_journals(self, number: int) -> None:
        for path in journal_paths(self.job.bench.journals, number):
            remove_journal(path)
        for journal_id in self.job.journals_of(number):
            sent, claimed = self.job.sent[journal_id], self.job.claimed(journal_id)
            if claimed is not None:
                assert claimed.bound.plus(sent.excess).covers(sent.spent), "claim"
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
        assert _cost_in(Totals.from_json(marker["totals"])) == self.job.bill(self.job.journals_of(number)), "marker"

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


def _check(runs: Iterable[Run]) -> None:
    for run in runs:
        run.check()


async def _take_step(runs: Sequence[Run], step: Step) -> None:
    """Reserve all requests, then write them down, then learn how they end."""
    planned = list[tuple[Run, Request, Attempt]]()
    for request in step.requests:
        for run in [run for run in runs if request.part in run.parts]:
            attempt = run.new_attempt(request, [attempt.utterance_id for _, _, attempt in planned])
            if attempt is not None and (not step.is_budget_first or run.reserve(attempt)):
                planned.append((run, request, attempt))
    _check(runs)
    sent = [item for item in planned if await _send(*item, is_budget_first=step.is_budget_first)]
    _check(runs)
    for run, request, attempt in sent:
        if request.ending in OUTCOMES:
            settlement = run.job.settlement(attempt, request.ending, request.quarters)
            await run.settle(request.part, settlement, is_budget_first=step.is_budget_first)
        await run.finish(request.part, attempt)
        _check(runs)
    if step.is_lowered:
        for run in runs:
            run.lower_claims()


async def _send(run: Run, request: Request, attempt: Attempt, *, is_budget_first: bool) -> bool:
    """Write a request down, if it is to be sent; return whether it was."""
    if request.ending not in NOT_SENT and not run.is_stopped:
        return await run.intend(request.part, attempt, is_budget_first=is_budget_first)
    if is_budget_first and request.ending == "not held":
        await run.intend_without_lease(request.part, attempt)
    elif is_budget_first:
        run.give_back(attempt)
    return False


async def _work(job: Job, session: Session) -> None:
    numbers = sorted(set(range(PARTS)) - job.done)
    runs = list[Run]()
    for own in [[number] for number in numbers] if session.is_shared else [numbers]:
        runs.append(Run(job, own))
        await runs[-1].open()
    for step in session.steps:
        await _take_step(runs, step._replace(is_budget_first=step.is_budget_first or job.is_tight))
    _check(runs)
    for run in runs:
        await run.end(session.ending)


def _keep_one_bill(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(claim_high_water, "_RETRY_WAITS_S", (0.0,))  # nobody else claims at the same instant
        store = LocalStore(Path(folder) / "out")
        bench = Bench.of(Path(folder), store, rows=PARTS * PART_ROWS, part_rows=PART_ROWS)
        job = Job(bench, plan.prices, plan.is_tight)
        everything = [Step([Request(number)]) for number in range(PARTS)] * PART_ROWS
        for index, session in enumerate([*plan.sessions, Session(everything)]):
            job.begin_session(index)
            job.is_tight = plan.is_tight and index < len(plan.sessions)
            asyncio.run(_work(job, session))
        _check_dataset(job)


def _check_dataset(job: Job) -> None:
    store, descriptor, bill = job.bench.store, job.descriptor, job.bill()
    store.write(DESCRIPTOR_FILE, descriptor.to_json())
    finalize(store, descriptor)
    manifest = orjson.loads(store.read(MANIFEST_FILE) or b"")
    assert _cost_in(Totals.from_json(manifest["totals"])) == bill, "parts.json"
    assert _cost_in(dataset_totals(store, descriptor)) == bill, "dataset totals"
    assert total_spend(store, descriptor, job.bench.journals, job.bench.folder / "locks") == bill, "total spend"
    rows = [row for number in range(PARTS) for row in job.bench.usage(number)]
    assert len(rows) == bill.attempts, "one row of usage for each request"
    for name in ("characters_billed", "characters_upper_bound"):
        assert sum(row[name] for row in rows) == getattr(bill, name), name
    report = usage_report([store])
    for column, name in REPORTED.items():
        assert report[column].sum() == getattr(bill, name), "usage report"
    if job.prices != TWO_CURRENCIES:
        bounded = [row for row in rows if row["cost_upper_bound"] is not None]
        for name in ("cost", "cost_upper_bound"):
            assert money_of(row[name] for row in bounded) == getattr(bill, name), name
        for name in ("cost", "cost_upper_bound", "cost_in_question"):
            assert (money_of(report[name].to_list()) or 0) == (getattr(bill, name) or 0), "usage report"
        spent = reduce(SpendBound.plus, (sent.spent for sent in job.sent.values()))
        assert bill.bound.plus(job.beyond).covers(spent), "what was sent is within the bill"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(plan=PLANS)
def test_whatever_happens_the_bill_is_one_bill(plan: Plan) -> None:
    """After any sequence of requests, stops, kills and commits every keeper tells what was sent and how it ended.

    - While a process works: its progress is what it sent, each attempt at most until it is settled, whoever hears of it
      first; its budget has left exactly the cap less that and what all others spent and claimed. Each part's claim
      covers what the part's journal may have spent, and is that exactly after it was lowered; what a service charges
      beyond the bound of an attempt is covered when the next attempt is written down. All claims, and what is spent
      beside them, are within the cap; and no claim keeps room that another part of the process needs.
    - A journal that is read back, its usage file, and the usage rows in it tell the same to the last digit: what was
      settled as it was settled, and what was in flight at most. A process that is killed leaves that in its journal. A
      power cut may take settlements with it that no later attempt made durable: these attempts count as unknown. Where
      the disk is lost, the claim is the bill, and covers what was sent.
    - A part's marker is the sum of the usage of its journals. ``parts.json``, the dataset's totals, the report of its
      usage and what the next run's budget begins with are the sum of all.
    """
    _keep_one_bill(plan)


@pytest.mark.fuzz
@pytest.mark.timeout(3_600)
@settings(max_examples=400, deadline=None)
@given(plan=PLANS)
def test_whatever_happens_for_minutes_the_bill_is_one_bill(plan: Plan) -> None:
    """The same, many more times."""
    _keep_one_bill(plan)


def _requests(*requests: tuple[int, str, int]) -> list[Request]:
    return [Request(*request) for request in requests]


EVERY_ENDING = [
    Step(_requests((0, "discarded", 4), (1, "failed", 9), (1, "lost", 10))),
    Step(_requests((1, "discarded", 6), (0, "given back", 5), (0, "failed", 2)), is_lowered=True),
    Step(_requests((0, "refused", 8), (1, "not held", 3)), is_lowered=True),
    Step(_requests((0, "failed", 30), (1, "discarded", 40)), is_budget_first=False, is_lowered=True),
    Step(_requests((0, "succeeded", 30), (1, "lost", 40)), is_budget_first=False),
]
HALF = [Step(_requests((0, "succeeded", 12), (1, "succeeded", 12)), is_lowered=True)]
NEARLY_ALL = [Step(_requests((0, "lost", 40))), Step(_requests((1, "lost", 30)))]
A_PART_AND_THE_REST = [Step(_requests((0, "succeeded", 16), (0, "succeeded", 16))), Step(_requests((1, "lost", 40)))]
FIXED_PLANS = [
    *(
        Plan(
            prices,
            is_tight,
            [
                Session(EVERY_ENDING, "kill", is_shared=is_tight),
                Session(HALF, "disk lost", is_shared=True),
                Session(EVERY_ENDING, "stop"),
            ],
        )
        for prices in PRICES
        for is_tight in (False, True)
    ),
    *(Plan(BY_CHARACTER, True, [Session(steps, "stop")]) for steps in (NEARLY_ALL, A_PART_AND_THE_REST)),
]

KEEPERS: Sequence[tuple[Any, str, str, str]] = [
    (Budget.reserve, "self._tally.reserve(attempt)", "pass", "progress"),
    (Budget.settle, "self._tally.settle(settlement)", "pass", "progress"),
    (Budget.release, "self._tally.release(attempt)", "pass", "progress"),
    (Budget.set_external_spend, "self._own_limit = ", "_ = ", "budget"),
    (Budget._fits, "self._own_limit", "self._limit", "budget"),
    (SpendTally.reserve, "self._run.reserve(attempt)", "pass", "progress"),
    (SpendTally.reserve, "if attempt.attempt_id not in self._open:", "if True:", "progress"),
    (SpendTally.settle, "self._run.settle(settlement)", "pass", "progress"),
    (SpendTally.settle, "(attempt, self.currency, -1)", "(attempt, self.currency)", "progress"),
    (SpendTally.settle, "self.spend.add_attempt(settlement, self.currency)", "pass", "progress"),
    (SpendTally.release, "(attempt, self.currency, -1)", "(attempt, self.currency)", "progress"),
    (Cost.add_attempt, "self.cost_upper_bound = add_costs", "_ = add_costs", "progress"),
    (ActivePart.intend, "self._progress.tally.release(attempt)", "pass", "progress"),
    (ClaimHighWater._try_reserve, "is_covered = ", "is_covered = True or ", "claim"),
    (ClaimHighWater.write, "=bound.characters", "=bound.characters - 1", "claim"),
    (ClaimHighWater.write, "=bound.characters", "=bound.characters + 1", "lowered claim"),
    (ClaimHighWater.write, "cost = bound.cost", "cost = bound.cost / 2", "claim"),
    (ClaimHighWater.lower, "if previous != self.claim_bound:", "if False:", "lowered claim"),
    (ClaimHighWater.lower, "self.claim_bound, self.spend", "self.claim_bound, self.claim_bound", "lowered claim"),
    (BudgetPool._try_draw, "other.lower()", "pass", "claims of which nobody has need"),
    (BudgetPool._available, ".minus(external.bound)", "", "cap"),
    (BudgetPool._available, "own = own.plus(other.claim_bound)", "pass", "cap"),
    (BudgetPool.leave, "self._closed_spend = ", "_ = ", "cap"),
    (DatasetSpend.refresh, "not in own_journals]", "in ()]", "others"),
    (DatasetSpend.refresh, ".add(usage_cost(", ".__class__().add(usage_cost(", "others"),
    (DatasetSpend._add_journals, ".add(journal_cost(replay))", "", "others"),
    (DatasetSpend.by_part, ".add(claim_cost(claim))", "", "others"),
    (journal_cost, "settlement or attempt", "attempt", "replay"),
    (_apply_settlement, "= (attempt, settlement)", "= (attempt, None)", "replay"),
    (usage_values, "return row | values", "return values | row", "usage"),
    (_usage_rows, "in replay.attempts.values()", "in list(replay.attempts.values())[1:]", "usage"),
    (_column_sums, "cost_upper_bound=total_cost(costs)", "cost_upper_bound=total_cost(confirmed)", "usage"),
    (account_for_claims, "if not store.exists(usage):", "if False:", "others"),
    (PartCommitter._add_usage, "draft.totals.add(", "Totals().add(", "marker"),
    (_sum_totals, "totals.add(cost)", "pass", "parts.json"),
    (dataset_totals, 'manifest["totals"]', "{}", "dataset totals"),
    (costs_by_part, 'listed_files.update(marker["files"])', "pass", "others"),
    (sum_usage, '"characters_upper_bound").sum()', '"characters_upper_bound").max()', "usage report"),
    (sum_usage, '_money("cost_upper_bound"),', '_money("cost").alias("cost_upper_bound"),', "usage report"),
    (total_spend, ".by_part().values()", ".by_part().values() and ()", "total spend"),
]
"""Each keeper of the bill, a line of it, the same line broken, and the comparison that notices it."""


@pytest.mark.parametrize(("keeper", "line", "broken", "comparison"), KEEPERS)
def test_a_broken_keeper_is_noticed(
    monkeypatch: pytest.MonkeyPatch, keeper: Any, line: str, broken: str, comparison: str
) -> None:
    """The comparisons above depend on every keeper: none of them may tell less or more than the others."""
    source = textwrap.dedent(inspect.getsource(keeper))
    assert source.count(line) == 1, "name the line as it is now"
    flags = __future__.annotations.compiler_flag
    compiled = compile(source.replace(line, broken), keeper.__code__.co_filename, "exec", flags, dont_inherit=True)
    (code,) = (constant for constant in compiled.co_consts if isinstance(constant, CodeType))
    monkeypatch.setattr(keeper, "__code__", code)
    with pytest.raises(AssertionError, match=rf"^{comparison}\b"):
        _keep_fixed_bills()


def test_no_keeper_is_broken() -> None:
    """So that what notices a broken one is nothing else than that."""
    _keep_fixed_bills()


def _keep_fixed_bills() -> None:
    for plan in FIXED_PLANS:
        _keep_one_bill(plan)
