"""The bill is one bill: whoever keeps it, in memory or in files, and whatever happens to requests and processes."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import FLASH_PRICE, audio_of, cost_of, descriptor_of, settlement_of, speech_of
from tests.datasets import Bench
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.config import BudgetCap
from tts_pipeline.dataset.active_part import ActivePart, Progress
from tts_pipeline.dataset.claim_high_water import BudgetPool
from tts_pipeline.dataset.claims import claim_name, read_claim
from tts_pipeline.dataset.descriptor import MANIFEST_FILE, Descriptor
from tts_pipeline.dataset.finalize import dataset_totals, finalize
from tts_pipeline.dataset.part_journals import journal_cost
from tts_pipeline.dataset.spending import DatasetSpend, total_spend
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import usage_cost, usage_name
from tts_pipeline.errors import StorageError
from tts_pipeline.flow.budget import Budget
from tts_pipeline.models import Answer, Usage, Utterance
from tts_pipeline.money import Cost, SpendBound, sum_of
from tts_pipeline.storage.local_store import LocalStore

PART_ROWS, PARTS = 2, 2
MAX_CHARACTERS, MAX_COST = 10**6, Decimal(1_000)
SETTLED = {
    "succeeded": Outcome.SUCCEEDED,
    "discarded": Outcome.DISCARDED,
    "failed": Outcome.FAILED,
    "refused": Outcome.FAILED,
}
ENDINGS = (*SETTLED, "lost", "given back", "not held")
"""Of an attempt: settled, abandoned in flight, reserved and not written down, reserved when the lease is lost."""

STEP = st.tuples(st.integers(0, PARTS - 1), st.sampled_from(ENDINGS), st.integers(0, 40), st.booleans())
"""A part, an ending, how many quarters of our count the service reports, and whether the claim is then lowered."""

RUN = st.tuples(st.lists(STEP, max_size=8), st.sampled_from(["stop", "kill", "power cut"]))
Step = tuple[int, str, int, bool]
Plan = tuple[bool, list[tuple[list[Step], str]]]
PLAN = st.tuples(st.booleans(), st.lists(RUN, max_size=3))
"""Whether there is a price, and runs of one job, one after another; each with its end."""


@dataclass
class Job:
    """A job and what it should have cost, added up here in another way than by the package.

    Args:
        bench: The dataset, without a service.
        is_priced: Whether attempts have a price.
    """

    bench: Bench
    is_priced: bool
    attempts: dict[str, dict[str, tuple[Attempt, Settlement | None]]] = field(default_factory=dict)
    """By journal and attempt id."""
    journals_of_part: dict[int, list[str]] = field(default_factory=lambda: {number: [] for number in range(PARTS)})
    done: set[int] = field(default_factory=set)

    @property
    def descriptor(self) -> Descriptor:
        """The dataset's."""
        return descriptor_of(self.bench.source.rows, PART_ROWS, {"model": "m", "service": "s"})

    def expected(self, journal_ids: Iterable[str] | None = None) -> Cost:
        """Return what the attempts of some journals cost; None is all of them."""
        ids = self.attempts if journal_ids is None else journal_ids
        pairs = [pair for journal_id in ids for pair in self.attempts[journal_id].values()]
        settled = [settlement for _, settlement in pairs if settlement is not None]
        characters = sum((settlement or attempt).characters_upper_bound for attempt, settlement in pairs)
        implausible = [one for one in settled if one.implausible]
        cost = Cost(
            attempts=len(pairs),
            unknown_attempts=len(pairs) - len(settled),
            characters_billed=sum(one.characters_billed for one in settled),
            characters_upper_bound=characters,
            implausible_attempts=len(implausible),
        )
        if not pairs:
            return cost
        if not self.is_priced:
            cost.characters_without_price = characters
            return cost
        cost.cost, cost.cost_upper_bound, cost.currency = cost_of(cost.characters_billed), cost_of(characters), "CNY"
        if implausible:
            cost.cost_in_question = cost_of(sum(one.characters_upper_bound for one in implausible))
        return cost


def _money_of(totals: Cost) -> Cost:
    return Cost(**{one.name: getattr(totals, one.name) for one in fields(Cost)})


class Run:
    """One process at work on a job, until it is stopped or killed."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.parts: dict[int, ActivePart] = {}
        self.progress = Progress()
        self._resources: dict[int, AsyncExitStack] = {}
        self._durable: dict[str, tuple[Path, int]] = {}
        self._not_durable: dict[str, list[str]] = {}
        self._journals: list[str] = []
        self._excess: dict[str, SpendBound] = {}
        bench = job.bench
        spend = DatasetSpend(bench.store, job.descriptor, bench.journals, bench.folder / "locks")
        self.spent_before = sum_of(spend.by_part().values())
        assert self.spent_before == job.expected(), "what all runs spent, read from files"
        cap = BudgetCap(MAX_COST if job.is_priced else None, "CNY" if job.is_priced else None, MAX_CHARACTERS)
        self.budget = Budget(cap, self.progress.tally)
        self.budget.set_external_spend(self.spent_before)
        self._pool = BudgetPool(cap, lambda own: sum_of(spend.refresh(own).values()), self.budget.set_external_spend)

    async def open(self) -> None:
        """Open what is not done; what earlier runs finished and did not commit is committed."""
        for number in sorted(set(range(PARTS)) - self.job.done):
            resources = self._resources[number] = AsyncExitStack()
            part = self.job.bench.part(number, self.progress, pool=self._pool)
            self.parts[number] = opened = await resources.enter_async_context(part)
            if opened.journal_path is None:
                await self._commit(number)
                continue
            self.job.attempts[opened.journal_id] = {}
            self.job.journals_of_part[number].append(opened.journal_id)
            self._journals.append(opened.journal_id)
            self._mark_durable(opened)

    async def attempt(self, number: int, ending: str, quarters: int) -> None:
        """Buy, or try to buy, the next row of a part."""
        part = self.parts.get(number)
        if part is None:
            return
        utterance = part.todo[-part.remaining]
        attempt = self.job.bench.attempt(utterance, bound=3 + 2 * quarters)
        assert self.budget.reserve(attempt)
        if ending == "given back":
            self.budget.release(attempt)
            return
        if ending == "not held":
            part.hold(ExitStack(), _refuse)
            with suppress(StorageError):
                await part.intend(attempt, None)
            part.hold(ExitStack(), lambda: None)
            self.budget.abandon(attempt)
            return
        await part.intend(attempt, None)
        self._excess.pop(part.journal_id, None)
        self._mark_durable(part)
        self.job.attempts[part.journal_id][attempt.attempt_id] = attempt, None
        if ending in SETTLED:
            await self._settle(part, utterance, attempt, self._settlement(attempt, ending, quarters))
        self.budget.abandon(attempt)
        if part.remaining == 0:
            await self._commit(number)

    async def _settle(self, part: ActivePart, utterance: Utterance, attempt: Attempt, settlement: Settlement) -> None:
        is_speech = settlement.outcome is Outcome.SUCCEEDED
        audio = audio_of(utterance.text)
        part.settle(settlement, Answer(0, audio, usage=Usage(attempt.characters_counted)) if is_speech else None)
        self.budget.settle(settlement)
        self.job.attempts[part.journal_id][attempt.attempt_id] = attempt, settlement
        self._not_durable[part.journal_id].append(attempt.attempt_id)
        excess = SpendBound.of(settlement).minus(SpendBound.of(attempt))
        self._excess[part.journal_id] = SpendBound(max(excess.characters, 0), max(excess.cost, Decimal(0)))
        if is_speech:
            await part.record_speech(speech_of(utterance, audio, settlement.characters_billed))

    def _settlement(self, attempt: Attempt, ending: str, quarters: int) -> Settlement:
        counted, reported = attempt.characters_counted, attempt.characters_counted * quarters // 4
        is_plausible = counted <= 4 * reported <= 16 * counted
        billed, at_most = reported if is_plausible else counted, max(counted, reported)
        if is_plausible and ending != "failed":
            at_most = billed
        if ending in {"failed", "refused"}:
            billed, at_most = 0, 0 if ending == "refused" else at_most
        return settlement_of(
            attempt,
            SETTLED[ending],
            characters_billed=billed,
            characters_upper_bound=at_most,
            cost=cost_of(billed) if self.job.is_priced else None,
            cost_upper_bound=cost_of(at_most) if self.job.is_priced else None,
            implausible=not is_plausible and ending != "refused",
        )

    def check(self) -> None:
        """Compare the keepers of a process that is at work."""
        spent = self.job.expected(self._journals)
        progress = _money_of(self.progress.totals)
        if not spent.attempts:  # of what was reserved and given back no money is left, in a known currency
            progress.cost = progress.cost_upper_bound = progress.currency = None
        assert progress == spent, "progress"
        total = sum_of((spent, self.spent_before))
        assert self._fits(MAX_CHARACTERS - total.characters_upper_bound, Decimal(0)), "budget"
        assert not self._fits(MAX_CHARACTERS - total.characters_upper_bound + 1, Decimal(0)), "budget"
        if self.job.is_priced:
            left = MAX_COST - (total.cost_upper_bound or 0)
            assert self._fits(0, left), "budget"
            assert not self._fits(0, left + Decimal("1e-9")), "budget"
        for part in self.parts.values():
            claim = self._claim(part).plus(self._excess.get(part.journal_id, SpendBound()))
            assert claim.covers(self.job.expected([part.journal_id]).bound), "claim"

    def _fits(self, characters: int, cost: Decimal) -> bool:
        upper_bound = cost if self.job.is_priced else None
        probe = Attempt("probe", "r", 0, 0, 1, None, 0, characters, characters, "p", upper_bound)
        fits = self.budget.reserve(probe)
        if fits:
            self.budget.release(probe)
        return fits

    def lower(self, number: int) -> None:
        """Lower a part's claim to what it may have spent, which it then tells exactly."""
        part = self.parts.get(number)
        if part is not None:
            assert part._high_water is not None
            part._high_water.lower()
            assert self._claim(part) == self.job.expected([part.journal_id]).bound, "claim"

    def _claim(self, part: ActivePart) -> SpendBound:
        claim = read_claim(self.job.bench.store, claim_name(part.rows.number, part.journal_id))
        assert claim is not None
        return SpendBound(claim.characters_upper_bound, claim.cost_upper_bound or Decimal(0))

    async def end(self, ending: str) -> None:
        """Stop, or die: with all that was written, or with what had to be on the disk."""
        numbers = sorted(self.parts)
        for number in numbers:
            await self._resources[number].aclose()
        if ending == "power cut":
            for journal_id, (path, size) in self._durable.items():
                self._cut(journal_id, path, size)
        for number in numbers:
            self._check_journals(number)
            if ending == "stop":
                self.job.bench.publisher.suspend_part(self.job.bench.rows(number), self.job.bench.replays(number))
                self._check_usage(number)

    def _cut(self, journal_id: str, path: Path, size: int) -> None:
        if path.exists():
            path.write_bytes(path.read_bytes()[:size] + b"torn")
            attempts = self.job.attempts[journal_id]
            for attempt_id in self._not_durable[journal_id]:
                attempts[attempt_id] = attempts[attempt_id][0], None

    def _mark_durable(self, part: ActivePart) -> None:
        assert part.journal_path is not None
        self._durable[part.journal_id] = part.journal_path, part.journal_path.stat().st_size
        self._not_durable[part.journal_id] = []

    async def _commit(self, number: int) -> None:
        part = self.parts.pop(number)
        part.sync()
        self._check_journals(number)
        self.job.bench.publish(number)
        await self._resources.pop(number).aclose()
        self._check_usage(number)
        marker = orjson.loads(self.job.bench.store.read(f"done/part-{number:05}.json") or b"")
        assert _money_of(Totals.from_json(marker["totals"])) == self.job.expected(self.job.journals_of_part[number])
        self.job.done.add(number)

    def _check_journals(self, number: int) -> None:
        for replay in self.job.bench.replays(number):
            assert journal_cost(replay) == self.job.expected([replay.journal_id]), "replay"

    def _check_usage(self, number: int) -> None:
        for journal_id in self.job.journals_of_part[number]:
            data = self.job.bench.store.read(usage_name(number, journal_id))
            spent = Cost() if data is None else usage_cost(data)
            assert spent == self.job.expected([journal_id]), "usage"


def _refuse() -> None:
    raise StorageError("the lease is lost")


async def _run(job: Job, steps: Sequence[Step], ending: str) -> None:
    run = Run(job)
    await run.open()
    for number, outcome, quarters, is_lowered in steps:
        run.check()
        await run.attempt(number, outcome, quarters)
        if is_lowered:
            run.lower(number)
    run.check()
    await run.end(ending)


def _keep_one_bill(is_priced: bool, runs: Sequence[tuple[Sequence[Step], str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder) / "out")
        prices = {FLASH_PRICE.price_id: FLASH_PRICE} if is_priced else {}
        job = Job(Bench.of(Path(folder), store, rows=PARTS * PART_ROWS, part_rows=PART_ROWS, prices=prices), is_priced)
        for steps, ending in runs:
            asyncio.run(_run(job, steps, ending))
        everything = [(number, "succeeded", 4, False) for number in range(PARTS)] * PART_ROWS
        asyncio.run(_run(job, everything, "stop"))
        finalize(store, job.descriptor)
        expected = job.expected()
        sealed = orjson.loads(store.read(MANIFEST_FILE) or b"")["totals"]
        assert _money_of(Totals.from_json(sealed)) == expected, "parts.json"
        assert _money_of(dataset_totals(store, job.descriptor)) == expected
        assert total_spend(store, job.descriptor, job.bench.journals, Path(folder) / "locks") == expected
        rows = [row for number in range(PARTS) for row in job.bench.usage(number)]
        assert len(rows) == expected.attempts, "one row of usage for each request"
        for name in ("characters_billed", "characters_upper_bound", "cost", "cost_upper_bound"):
            known = [row[name] for row in rows if row[name] is not None]
            assert (sum(known) if known else None) == getattr(expected, name), name


@settings(max_examples=15, deadline=None)
@given(plan=PLAN)
def test_whatever_happens_the_bill_is_one_bill(plan: Plan) -> None:
    """After any sequence of requests, stops, kills and commits every keeper tells what was sent and how it ended.

    - While a process works: its progress is what it sent, each attempt at most until it is settled; its budget has
      left exactly the cap less that and what earlier runs spent. Each part's claim covers what the part's journal may
      have spent, and is that exactly after it was lowered; what a service charges beyond the bound of an attempt is
      covered when the next attempt is written down.
    - A journal that is read back, its usage file, and the usage rows in it tell the same to the last digit: what was
      settled as it was settled, and what was in flight at most. A process that is killed leaves that in its journal. A
      power cut may take settlements with it that no later attempt made durable: these attempts count as unknown.
    - A part's marker is the sum of the usage of its journals. ``parts.json``, the dataset's totals and what the next
      run's budget begins with are the sum of all.
    """
    _keep_one_bill(*plan)


@pytest.mark.fuzz
@settings(max_examples=400, deadline=None)
@given(plan=PLAN)
def test_whatever_happens_for_minutes_the_bill_is_one_bill(plan: Plan) -> None:
    """The same, many more times."""
    _keep_one_bill(*plan)
