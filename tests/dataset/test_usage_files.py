from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import cost_of, price_of, settlement_of, token_price_of
from tests.datasets import Bench
from tts_pipeline.attempt import Attempt, Outcome, Settlement
from tts_pipeline.dataset.invocation import Invocation
from tts_pipeline.dataset.part_journals import journal_cost
from tts_pipeline.dataset.usage_files import commit_journal_usage, usage_cost, usage_name
from tts_pipeline.money import Cost
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store
from tts_pipeline.wal.records import UnaccountedSpend
from tts_pipeline.wal.replay import Replay


def test_what_is_published_is_left_alone(tmp_path: Path, store: Store) -> None:
    """Published usage is never rewritten, whatever its journal holds by now; a journal without requests has no file."""
    bench = Bench.of(tmp_path, store)

    async def work() -> None:
        async with bench.part() as part:
            await bench.say(part, part.todo[0])
        async with bench.part() as part:
            assert part.remaining == 3

    asyncio.run(work())
    replay, empty = bench.replays()
    for _ in range(2):
        commit_journal_usage(store, 0, replay)
        commit_journal_usage(store, 0, empty)
        assert [f"usage/{name}" for name in store.names("usage")] == [usage_name(0, replay.journal_id)]
    before = store.read(usage_name(0, replay.journal_id))
    replay.attempts.clear()
    commit_journal_usage(store, 0, replay)
    assert store.read(usage_name(0, replay.journal_id)) == before


PRICES = {
    price.price_id: price
    for price in (price_of(price_id="yuan"), price_of(price_id="euro", currency="EUR"), token_price_of(currency="EUR"))
}
LOST = UnaccountedSpend(0, 9, cost_of(9), "CNY")

Ended = tuple[str | None, int, str, bool]
"""A price's id, characters, an outcome, and whether nothing bounds the cost."""


def _replay_of(attempts: Sequence[Ended], lost: UnaccountedSpend | None = None) -> Replay:
    """Return a journal; the second half of each attempt's characters is not confirmed."""
    invocation = Invocation("i", "local", "m", None, PRICES, {}, "fingerprint")
    replay = Replay(invocation.journal_header(0, "j"), unaccounted=lost)
    for number, (price_id, characters, outcome, is_unbounded) in enumerate(attempts):
        cost = None if price_id is None or is_unbounded else cost_of(characters)
        attempt = Attempt(str(number), "r0", 0, 0, 1, None, number, characters, characters, price_id, cost)
        replay.attempts[attempt.attempt_id] = attempt, _settlement_of(attempt, outcome)
    return replay


def _settlement_of(attempt: Attempt, outcome: str) -> Settlement | None:
    if outcome == "unknown":
        return None
    billed, cost = attempt.characters_upper_bound // 2, attempt.cost_upper_bound
    is_failed = outcome == "failed"
    return settlement_of(
        attempt,
        Outcome.FAILED if is_failed else Outcome.SUCCEEDED,
        characters_billed=0 if is_failed else billed,
        characters_upper_bound=attempt.characters_upper_bound,
        cost=Decimal(0) if is_failed else cost and cost_of(billed),
        cost_upper_bound=cost,
        implausible=outcome == "implausible",
    )


def _published_cost(replay: Replay) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder))
        commit_journal_usage(store, 0, replay)
        data = store.read(usage_name(0, replay.journal_id))
        return Cost() if data is None else usage_cost(data)


_ENDED = st.tuples(
    st.sampled_from([None, *PRICES]),
    st.integers(0, 50),
    st.sampled_from(["succeeded", "implausible", "failed", "unknown"]),
    st.booleans(),
)
_LOST = st.builds(
    UnaccountedSpend,
    st.just(0),
    st.sampled_from([0, 9]),
    st.sampled_from([None, Decimal(0), cost_of(9)]),
    st.sampled_from([None, "CNY", "EUR"]),
)


@given(st.lists(_ENDED, max_size=8), st.none() | _LOST)
def test_a_usage_file_tells_what_its_journal_told(attempts: Sequence[Ended], lost: UnaccountedSpend | None) -> None:
    """By whatever prices, in whatever currencies, and however the requests ended."""
    replay = _replay_of(attempts, lost)
    assert _published_cost(replay) == journal_cost(replay)


@pytest.mark.parametrize(
    ("attempts", "lost", "expected"),
    [
        (
            [("yuan", 10, "succeeded", False), ("euro", 70, "implausible", False)],
            None,
            Cost(
                attempts=2,
                characters_billed=40,
                characters_upper_bound=80,
                characters_without_price=70,
                cost=cost_of(5),
                cost_upper_bound=cost_of(10),
                currency="CNY",
                implausible_attempts=1,
            ),
        ),
        (
            [("t", 20, "unknown", True), ("yuan", 10, "succeeded", False)],
            None,
            Cost(
                attempts=2,
                unknown_attempts=1,
                characters_billed=5,
                characters_upper_bound=30,
                characters_without_price=20,
                cost=cost_of(5),
                cost_upper_bound=cost_of(10),
                currency="CNY",
            ),
        ),
        (
            [("t", 20, "failed", True)],
            None,
            Cost(attempts=1, characters_upper_bound=20, characters_without_price=20),
        ),
        (
            [],
            LOST,
            Cost(
                attempts=1,
                unknown_attempts=1,
                characters_upper_bound=9,
                cost=Decimal(0),
                cost_upper_bound=cost_of(9),
                currency="CNY",
            ),
        ),
    ],
    ids=["another currency in question", "a currency without a cost", "nothing but a currency", "a lost end"],
)
def test_only_what_has_a_bound_has_a_currency(
    attempts: Sequence[Ended], lost: UnaccountedSpend | None, expected: Cost
) -> None:
    """The first of them gives the sum its own; of another one nothing is added, not even what is in question."""
    replay = _replay_of(attempts, lost)
    assert journal_cost(replay) == expected
    assert _published_cost(replay) == expected
