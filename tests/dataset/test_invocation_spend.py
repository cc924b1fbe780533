"""What dead invocations spent, attempt by attempt; where one attempt is not known, nothing is said."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.builders import NOW_US, cost_of, settlement_of
from tests.datasets import Bench
from tts_pipeline.attempt import Outcome
from tts_pipeline.dataset.claims import claim_names
from tts_pipeline.dataset.invocation_spend import AttemptSpend, spend_of_invocations
from tts_pipeline.dataset.usage_files import account_for_claims, commit_journal_usage
from tts_pipeline.storage.file_lock import FileLock
from tts_pipeline.storage.store import Store

LINE = 7
"""Characters of each row: ``Line 0.``."""

FIRST = "invocation-1"


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> Bench:
    """A dataset of two parts of four rows, none of them spoken."""
    return Bench.of(tmp_path, store, rows=8, part_rows=4)


def _spend(bench: Bench, *invocation_ids: str) -> dict[str, list[AttemptSpend]]:
    ids = invocation_ids or (FIRST,)
    return spend_of_invocations(bench.store, bench.journals, ids, bench.leases.has_ended)


def _settled(*numbers: int) -> list[AttemptSpend]:
    """Return what attempts by their numbers cost, as they were counted."""
    return [AttemptSpend(NOW_US + number, LINE, LINE, cost_of(LINE), cost_of(LINE)) for number in numbers]


def _leave_in_flight(bench: Bench) -> None:
    """Say a row, have one refused and one discarded, and leave one in flight, as a kill does."""

    async def work() -> None:
        async with bench.part() as part:
            await bench.say(part, part.todo[0])
            await bench.refuse(part, part.todo[1])
            doubtful = bench.attempt(part.todo[2], bound=3 * LINE)
            await part.intend(doubtful, None)
            amounts = {"characters_upper_bound": 3 * LINE, "cost_upper_bound": cost_of(3 * LINE)}
            part.settle(settlement_of(doubtful, Outcome.FAILED, cost=Decimal(0), **amounts), None)
            await part.intend(bench.attempt(part.todo[3]), None)

    asyncio.run(work())


_IN_FLIGHT = [
    *_settled(1),
    AttemptSpend(NOW_US + 2, 0, 0, Decimal(0), Decimal(0)),
    AttemptSpend(NOW_US + 3, 3 * LINE, 0, cost_of(3 * LINE), Decimal(0)),
    AttemptSpend(NOW_US + 4, LINE, 0, cost_of(LINE), Decimal(0)),
]


@pytest.mark.parametrize("is_published", [False, True])
def test_each_attempt_is_known(bench: Bench, is_published: bool) -> None:
    """By its journal, or by its usage once that is published: what is in flight may have cost all of its bound."""
    _leave_in_flight(bench)
    assert claim_names(bench.store, 0)
    if is_published:
        (journal,) = bench.replays()
        commit_journal_usage(bench.store, 0, journal)
    assert _spend(bench) == {FIRST: _IN_FLIGHT}


def test_usage_that_is_published_while_its_claim_is_there_counts_once(bench: Bench) -> None:
    """As it is between the two steps of a commit, and after them."""
    bench.leave_open()
    (journal,) = bench.replays()
    commit_journal_usage(bench.store, 0, journal)
    assert _spend(bench) == {FIRST: _settled(1, 2, 3, 4)}
    for name in claim_names(bench.store, 0):
        bench.store.remove(name)
    assert _spend(bench) == {FIRST: _settled(1, 2, 3, 4)}


def test_all_parts_count_and_nobody_else(bench: Bench) -> None:
    """An invocation may have published one part and left another; another one may have gone on with its part."""

    async def work() -> None:
        for number in (0, 1):
            bench.invocations = 0  # the same one
            async with bench.part(number) as part:
                for utterance in part.todo[: 4 if number == 0 else 2]:
                    await bench.say(part, utterance)
        bench.publish(0)
        async with bench.part(1) as part:
            for utterance in part.todo:
                await bench.say(part, utterance)

    asyncio.run(work())
    assert _spend(bench, FIRST, "invocation-2", "invocation-3") == {
        FIRST: _settled(5, 6, 1, 2, 3, 4),
        "invocation-2": _settled(7, 8),
    }
    bench.publish(1)
    assert _spend(bench, "invocation-2") == {"invocation-2": _settled(7, 8)}


def test_one_that_may_still_send_is_missing(bench: Bench) -> None:
    """It holds one of its parts; the others are there."""

    async def work() -> None:
        for number in (0, 1):
            async with bench.part(number) as part:
                await bench.say(part, part.todo[0])

    asyncio.run(work())
    with FileLock(bench.folder / "locks" / "part-00000.lock"):
        assert _spend(bench, FIRST, "invocation-2") == {"invocation-2": _settled(2)}
    assert _spend(bench, FIRST, "invocation-2") == {FIRST: _settled(1), "invocation-2": _settled(2)}


def test_one_whose_part_another_goes_on_with_is_there(bench: Bench) -> None:
    """A process that was killed and begun again at once holds the part, with the dead one's journal and claim."""
    _leave_in_flight(bench)
    with bench.leases.hold("part-00000"):
        assert _spend(bench) == {FIRST: _IN_FLIGHT}


def test_one_whose_journal_is_lost_is_missing(bench: Bench) -> None:
    """Its claim says that there was one; also when another machine has published the claim in its place.

    The claim is an amount without a time: nobody knows on which day it was spent.
    """
    bench.leave_open().unlink()
    assert _spend(bench) == {}
    account_for_claims(bench.store, claim_names(bench.store, 0), ())
    assert [row["attempt_id"].partition("-")[0] for row in bench.usage()] == ["claim"]
    assert _spend(bench) == {}


@pytest.mark.parametrize("is_published", [False, True])
def test_one_whose_journal_is_damaged_is_missing(bench: Bench, is_published: bool) -> None:
    """An attempt may be hidden by the damage; its usage tells so, too."""
    path = bench.leave_open()
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"r1"', b'"r\xff"'))
    if is_published:
        (journal,) = bench.replays()
        commit_journal_usage(bench.store, 0, journal)
    assert _spend(bench) == {}


def test_a_header_that_is_damaged_hides_all(bench: Bench) -> None:
    """The journal is nobody's."""
    path = bench.leave_open()
    path.write_bytes(b"\xff" * 20 + path.read_bytes()[20:])
    assert _spend(bench) == {}


def test_a_torn_end_hides_nothing(bench: Bench) -> None:
    """What was being written at a kill was not sent yet."""
    path = bench.leave_open(rows=2)
    with path.open("ab") as file:
        file.write(b"\x00\x01\x02")
    assert _spend(bench) == {FIRST: _settled(1, 2)}


def test_money_without_a_price_is_none(bench: Bench) -> None:
    """By journal and by usage."""
    bench = replace(bench, prices={})

    async def work() -> None:
        async with bench.part() as part:
            attempt = bench.attempt(part.todo[0])
            await part.intend(attempt, None)
            part.settle(settlement_of(attempt, Outcome.FAILED, cost=None, cost_upper_bound=None), None)
            await part.intend(bench.attempt(part.todo[1]), None)

    asyncio.run(work())
    expected = [AttemptSpend(NOW_US + 1, 0, 0, None, None), AttemptSpend(NOW_US + 2, LINE, 0, None, None)]
    assert _spend(bench) == {FIRST: expected}
    (journal,) = bench.replays()
    commit_journal_usage(bench.store, 0, journal)
    assert _spend(bench) == {FIRST: expected}
