"""The bill is one bill: whoever keeps it, in memory or in files, and whatever happens to requests and processes."""

from __future__ import annotations
import __future__

import asyncio
import inspect
import tempfile
import textwrap
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bill_runs import Run, cost_in
from tests.bills import (
    BY_CHARACTER,
    OUTCOMES,
    PART_ROWS,
    PARTS,
    PRICES,
    TWO_CURRENCIES,
    Job,
    money_of,
)
from tests.datasets import Bench
from tts_pipeline.attempt import Attempt
from tts_pipeline.dataset.active_part import ActivePart
from tts_pipeline.dataset.budget_pool import BudgetPool
from tts_pipeline.dataset.claim_high_water import ClaimHighWater
from tts_pipeline.dataset.commit import PartCommitter
from tts_pipeline.dataset.descriptor import DESCRIPTOR_FILE, MANIFEST_FILE
from tts_pipeline.dataset.finalize import _sum_totals, dataset_totals, finalize
from tts_pipeline.dataset.part_journals import journal_cost
from tts_pipeline.dataset.spending import DatasetSpend, total_spend
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import _column_sums, account_for_claims
from tts_pipeline.dataset.usage_table import _attempt_table, _unknown_settlement
from tts_pipeline.flow.budget import Budget
from tts_pipeline.flow.spend_tally import SpendTally
from tts_pipeline.money import Cost, SpendBound
from tts_pipeline.report.facts import add_up
from tts_pipeline.report.figures import sum_groups
from tts_pipeline.report.usage import usage_report
from tts_pipeline.storage.local_store import LocalStore
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
    """Requests in flight side by side; who hears of an end first: budget or part; whether claims are then lowered."""

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


def _check(runs: Iterable[Run]) -> None:
    for run in runs:
        run.check()


async def _take_step(runs: Sequence[Run], step: Step) -> None:
    """Reserve all requests, then write them down, then learn how they end."""
    planned = list[tuple[Run, Request, Attempt]]()
    for request in step.requests:
        for run in [run for run in runs if request.part in run.parts]:
            attempt = run.new_attempt(
                request.part, request.quarters, [attempt.utterance_id for _, _, attempt in planned]
            )
            if attempt is not None and await run.reserve(attempt):
                planned.append((run, request, attempt))
    _check(runs)
    sent = [item for item in planned if await _send(*item)]
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


async def _send(run: Run, request: Request, attempt: Attempt) -> bool:
    """Write a request down, if it is to be sent; return whether it was."""
    if request.ending == "not held":
        await run.intend_without_lease(request.part, attempt)
    elif request.ending in NOT_SENT:
        run.give_back(attempt)
    else:
        await run.intend(request.part, attempt)
    return request.ending not in NOT_SENT


async def _work(job: Job, session: Session) -> None:
    numbers = sorted(set(range(PARTS)) - job.done)
    runs = list[Run]()
    for own in [[number] for number in numbers] if session.is_shared else [numbers]:
        runs.append(Run(job, own))
        await runs[-1].open()
    for step in session.steps:
        await _take_step(runs, step)
    _check(runs)
    for run in runs:
        await run.end(session.ending)


def _keep_one_bill(plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as folder:
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
    assert cost_in(Totals.from_json(manifest["totals"])) == bill, "parts.json"
    assert cost_in(dataset_totals(store, descriptor)) == bill, "dataset totals"
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
A_PART_AND_THE_REST = [
    Step(_requests((0, "succeeded", 16), (0, "succeeded", 16))),
    Step(_requests((1, "lost", 40))),
    Step(_requests((1, "lost", 30))),
]
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
    (SpendTally.reserve, "if attempt.attempt_id not in self._open:", "if True:", "progress"),
    (SpendTally.settle, "self.spend.settle_attempt(attempt, settlement, self.currency)", "pass", "progress"),
    (SpendTally.release, "(attempt, self.currency, -1)", "(attempt, self.currency)", "progress"),
    (Cost.add_attempt, "self.cost_upper_bound = add_costs", "_ = add_costs", "progress"),
    (Cost.settle_attempt, "(attempt, currency, -1)", "(attempt, currency)", "progress"),
    (Cost.settle_attempt, "self.add_attempt(settlement, currency)", "pass", "progress"),
    (Cost.settle_attempt, "self.unknown_attempts -= 1", "pass", "progress"),
    (Cost.settle_attempt, "self.characters_billed += ", "_ = ", "progress"),
    (Cost.settle_attempt, "self.cost = ", "_ = ", "progress"),
    (ActivePart.intend, "self._progress.tally.reserve(attempt)", "pass", "progress"),
    (ActivePart.intend, "self._progress.tally.release(attempt)", "pass", "progress"),
    (ActivePart.settle, "self._progress.tally.settle(settlement)", "pass", "progress"),
    (ClaimHighWater.try_reserve, "is_covered = ", "is_covered = True or ", "claim"),
    (ClaimHighWater.try_reserve, "self.spend = spend", "pass", "claim"),
    (ClaimHighWater.settle, "self.spend = ", "_ = ", "lowered claim"),
    (SpendBound.with_attempt, "add_costs(self.cost, attempt.cost_upper_bound) or ZERO", "self.cost", "budget"),
    (SpendBound.with_settlement, ", attempt.cost_upper_bound, -1)", ", attempt.cost_upper_bound)", "lowered claim"),
    (ClaimHighWater.write, "=bound.characters", "=bound.characters - 1", "claim"),
    (ClaimHighWater.write, "=bound.characters", "=bound.characters + 1", "lowered claim"),
    (ClaimHighWater.write, "cost_upper_bound=bound.cost ", "cost_upper_bound=bound.cost / 2 ", "claim"),
    (ClaimHighWater.write, "if self._written == (bound, is_waiting):", "if self._written:", "claim"),
    (ClaimHighWater.lower, "= self.spend, ", "= self.claim_bound, ", "lowered claim"),
    (ClaimHighWater.lower, "self._open_attempts == 0", "True", "mark"),
    (ClaimHighWater.release, "self._open_attempts -= 1", "pass", "mark"),
    (ClaimHighWater.release, "self.spend = ", "_ = ", "lowered claim"),
    (ActivePart.intend, "self._pool.release(attempt)", "pass", "lowered claim"),
    (BudgetPool._try_draw, "other.lower()", "pass", "budget"),
    (BudgetPool._available, ".minus(self._external)", "", "budget"),
    (BudgetPool._available, "own = own.plus(maximum_of(other.claim_bound, other.spend))", "pass", "budget"),
    (BudgetPool.leave, "self._closed_spend = ", "_ = ", "budget"),
    (DatasetSpend.refresh, "not in own_journals]", "in ()]", "others"),
    (DatasetSpend._count_new_usage, ".add(usage_cost(", ".__class__().add(usage_cost(", "others"),
    (DatasetSpend._add_journal, ".add(journal_cost(replay))", "", "others"),
    (DatasetSpend.total, "*(claim_cost(claim)", "*(Cost()", "others"),
    (journal_cost, "settlement or attempt", "attempt", "replay"),
    (_apply_settlement, "= (attempt, settlement)", "= (attempt, None)", "replay"),
    (_attempt_table, "list(replay.attempts.values())", "list(replay.attempts.values())[:1]", "usage"),
    (_attempt_table, "settlement or _unknown_settlement(attempt)", "_unknown_settlement(attempt)", "usage"),
    (_unknown_settlement, "cost_upper_bound=attempt.cost_upper_bound", "cost_upper_bound=None", "usage"),
    (_column_sums, "cost_upper_bound=total_cost(costs)", "cost_upper_bound=total_cost(confirmed)", "usage"),
    (account_for_claims, "if not store.exists(usage):", "if False:", "usage"),
    (PartCommitter._add_usage, "draft.totals.add(", "Totals().add(", "marker"),
    (_sum_totals, "totals.add(totals_of_marker(store, marker))", "pass", "parts.json"),
    (dataset_totals, 'manifest["totals"]', "{}", "dataset totals"),
    (_sum_totals, 'listed_files.update(marker["files"])', "pass", "parts.json"),
    (DatasetSpend.__init__, "self._counted_journals.update(", "list(", "others"),
    (
        sum_groups,
        '_sum("characters_upper_bound"),',
        '_sum("requests").alias("characters_upper_bound"),',
        "usage report",
    ),
    (sum_groups, '_money("cost_upper_bound"),', '_money("cost").alias("cost_upper_bound"),', "usage report"),
    (add_up, "pl.col(name).sum()", "pl.col(name).max()", "usage report"),
    (total_spend, ".total()", "._counted.__class__()", "total spend"),
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
