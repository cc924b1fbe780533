"""The spending of a dataset counts wherever it is recorded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.builders import NOW_US, cost_of, descriptor_of, settlement_of
from tests.datasets import Bench
from tts_pipeline.attempt import Outcome
from tts_pipeline.dataset.claims import Claim, write_claim
from tts_pipeline.dataset.commit import PartCommitter
from tts_pipeline.dataset.spending import DatasetSpend, total_spend
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.money import Cost
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.store import Store

LINE = 7
"""Characters of each text in these sources."""


def _buy(bench: Bench, number: int, *, rows: int, unknown: int = 0) -> None:
    """Buy the first rows of a part, and leave some more attempts in flight; publish nothing."""

    async def work() -> None:
        async with bench.part(number) as part:
            for place, utterance in enumerate(part.todo[: rows + unknown]):
                if place < rows:
                    await bench.say(part, utterance)
                else:
                    await part.intend(bench.attempt(utterance, bound=10), None)

    asyncio.run(work())


def _suspend(bench: Bench, number: int) -> PartCommitter:
    committer = bench.committer
    committer.suspend_part(bench.rows(number), bench.replays(number))
    return committer


def _total_spend(bench: Bench) -> Cost:
    return total_spend(
        bench.store, descriptor_of(bench.source.rows, bench.part_rows, {}), bench.journals, bench.journals
    )


def _figures(bench: Bench) -> tuple[int, int, int]:
    totals = _total_spend(bench)
    if totals.cost is not None:
        assert totals.cost == cost_of(totals.characters_billed)
    assert totals.cost_upper_bound == (cost_of(totals.characters_upper_bound) if totals.currency else None)
    return totals.attempts, totals.characters_billed, totals.characters_upper_bound


def test_an_empty_dataset_has_spent_nothing(tmp_path: Path, store: Store) -> None:
    """An unknown cost is None, not 0."""
    bench = Bench.of(tmp_path, store)
    assert _figures(bench) == (0, 0, 0)
    assert _total_spend(bench).cost is None


def test_a_part_counts_once_at_every_stage(tmp_path: Path, store: Store) -> None:
    """It counts in its journal, when left open with its usage published, and when done."""
    bench = Bench.of(tmp_path, store, rows=8, part_rows=4)
    bench.run(1)
    _buy(bench, 0, rows=2, unknown=1)
    expected = (7, 6 * LINE, 6 * LINE + 10)
    assert _figures(bench) == expected
    _suspend(bench, 0)
    assert _figures(bench) == expected
    bench.run(0)
    done = (9, 8 * LINE, 8 * LINE + 10)
    assert _figures(bench) == done


def test_a_kill_between_marker_and_sweep_counts_once(tmp_path: Path, store: Store) -> None:
    """The journal of a finished part adds nothing."""
    bench = Bench.of(tmp_path, store)
    _buy(bench, 0, rows=4)
    bench.committer.commit_part(bench.rows(), bench.replays())
    assert len(list(bench.journals.glob("*.journal"))) == 1
    assert _figures(bench) == (4, 4 * LINE, 4 * LINE)


def test_usage_that_came_after_the_marker_counts(tmp_path: Path, store: Store) -> None:
    """Another machine may publish its share of a finished part."""
    bench = Bench.of(tmp_path, store)
    _buy(bench, 0, rows=1)
    late = bench.replays()
    for path in bench.journals.glob("*.journal"):
        path.rename(tmp_path / path.name)
    bench.run()
    bench.committer.commit_usage(bench.rows(), late)
    assert _figures(bench) == (5, 5 * LINE, 5 * LINE)


def test_a_claim_without_a_journal_counts_as_spent(tmp_path: Path, store: Store) -> None:
    """The whole claim counts, as one request: its machine may be lost, or still spending."""
    bench = Bench.of(tmp_path, store)
    _buy(bench, 0, rows=1)
    claim = Claim("elsewhere", "i", NOW_US, 500, cost_of(500), "CNY", "local", "m", None)
    write_claim(store, 0, claim)
    assert _figures(bench) == (2, LINE, LINE + 500)


@pytest.mark.parametrize("left", [False, True])
def test_characters_without_a_price_are_told_apart(tmp_path: Path, store: Store, *, left: bool) -> None:
    """Their cost is unknown, so no sum of money includes it; a failed request is certainly free."""
    bench = Bench.of(tmp_path, store, prices={})

    async def work() -> None:
        async with bench.part() as part:
            for utterance, outcome in zip(part.todo, (Outcome.SUCCEEDED, Outcome.FAILED), strict=False):
                attempt = bench.attempt(utterance)
                await part.intend(attempt, None)
                part.settle(settlement_of(attempt, outcome, cost=None, cost_upper_bound=None), None)

    asyncio.run(work())
    if left:
        _suspend(bench, 0)
    totals = _total_spend(bench)
    assert (totals.characters_upper_bound, totals.characters_without_price) == (LINE, LINE)
    assert totals.cost_upper_bound is None


def test_what_earlier_generations_spent_counts(tmp_path: Path, store: Store) -> None:
    """A rebuilt dataset keeps their bill."""
    bench = Bench.of(tmp_path, store)
    bench.run()
    carried = Totals(attempts=3, characters_billed=100, characters_upper_bound=120).to_json()
    descriptor = descriptor_of(4, 500, {}, generation=2, carried_totals=carried)
    totals = total_spend(store, descriptor, bench.journals, bench.journals)
    assert (totals.attempts, totals.characters_upper_bound) == (7, 4 * LINE + 120)


def _spend(bench: Bench) -> DatasetSpend:
    descriptor = descriptor_of(bench.source.rows, bench.part_rows, {})
    return DatasetSpend(bench.store, descriptor, bench.journals, bench.folder / "locks")


def _upper_bound(spend: DatasetSpend) -> int:
    return spend.refresh(()).characters_upper_bound


def test_a_claim_may_shrink_while_its_process_lives_and_does_not_wait(tmp_path: Path, store: Store) -> None:
    """The claim of a process just found dead is counted once more first: it may have been lowered before the end."""
    bench = Bench.of(tmp_path, store)
    claim = Claim("j0", "i0", NOW_US, 500, None, None, "local", "m", None)
    write_claim(store, 0, claim)
    write_claim(store, 1, replace(claim, journal_id="j1", invocation_id="i1", is_waiting=True))
    spend = _spend(bench)
    ended = set[tuple[str, str]]()
    assert spend.may_shrink(lambda *process: process in ended)
    ended.add(("part-00000", "i0"))
    assert spend.may_shrink(lambda *process: process in ended)
    write_claim(store, 0, replace(claim, characters_upper_bound=400))
    assert _upper_bound(spend) == 400 + 500
    assert not spend.may_shrink(lambda *process: process in ended)


def test_the_journal_of_a_dead_process_tells_how_much_it_spent(tmp_path: Path, store: Store) -> None:
    """Where it is local; while the process lives, its claim counts."""
    bench = Bench.of(tmp_path, store)
    _buy(bench, 0, rows=2)
    with FileLock(tmp_path / "locks" / "part-00000.lock"):
        spend = _spend(bench)
        claimed = _upper_bound(spend)
        assert claimed > 2 * LINE
        assert spend.may_shrink(lambda *_: False)
    assert spend.may_shrink(lambda *_: True)
    assert _upper_bound(spend) == 2 * LINE
    assert not spend.may_shrink(lambda *_: True)
