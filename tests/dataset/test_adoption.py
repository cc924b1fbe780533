"""Adopting a shipped journal: nothing in it is bought again, and nothing is missing on the bill."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from tests.builders import cost_of, descriptor_of
from tests.datasets import Bench
from tts_pipeline.dataset.adoption import adopt_journals, remove_shipped_logs
from tts_pipeline.dataset.claims import claim_names
from tts_pipeline.dataset.names import parse_journal_id
from tts_pipeline.dataset.part_journals import journal_paths
from tts_pipeline.dataset.recovery import collect_orphans, commit_all_usage
from tts_pipeline.dataset.spending import total_spend
from tts_pipeline.dataset.usage_files import commit_journal_usage
from tts_pipeline.storage.store import Store
from tts_pipeline.wal.journal import Journal
from tts_pipeline.wal.records import UnaccountedSpend
from tts_pipeline.wal.replay import replay_journal
from tts_pipeline.wal.shipping import FOLDER, ShippedLog

LINE = 7
"""Characters of each text; the claim on the part is for all four rows."""


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> Bench:
    """A dataset of four rows, none of them spoken."""
    return Bench.of(tmp_path, store)


def _lose(bench: Bench, *, spoken: int = 2, in_flight: int = 1, more: int = 0, orderly: bool = False) -> str:
    """Speak rows and ship them, send more without an answer, speak more; lose the disk. Return the journal's id."""

    async def work() -> str:
        async with bench.part() as part:
            for utterance in part.todo[:spoken]:
                await bench.say(part, utterance)
            for utterance in part.todo[spoken : spoken + in_flight]:
                await part.intend(bench.attempt(utterance), None)
            part.sync()
            path = bench.journal_path(part)
            ShippedLog(bench.store, Journal(path, -1, path.stat().st_size)).send()
            for utterance in part.todo[spoken + in_flight :][:more]:
                await bench.say(part, utterance)
            return part.journal_id

    journal_id = asyncio.run(work())
    if orderly:
        bench.committer.suspend_part(bench.rows(), bench.replays())
    shutil.rmtree(bench.journals)
    return journal_id


def _adopt(bench: Bench) -> list[str]:
    """Adopt as a run does: publish the known usage immediately, and remove the claim."""
    adopted_ids = adopt_journals(bench.store, bench.journals, 0)
    bench.committer.suspend_part(bench.rows(), bench.replays())
    return adopted_ids


def _bounds(bench: Bench) -> tuple[int, int]:
    usage = bench.usage()
    assert sum(row["cost_upper_bound"] for row in usage) == cost_of(sum(row["characters_upper_bound"] for row in usage))
    billed, at_most = (sum(row[f"characters_{name}"] for row in usage) for name in ("billed", "upper_bound"))
    return billed, at_most


def test_what_was_shipped_is_known_and_the_rest_is_within_the_claim(bench: Bench) -> None:
    """Two rows are paid, one may be; requests after the last chunk may have spent the rest of the claim."""
    journal_id = _lose(bench, more=1)
    assert _adopt(bench) == [journal_id]
    (replay,) = bench.replays()
    assert (len(replay.finished_keys()), len(replay.attempts)) == (2, 3)
    assert replay.unaccounted is not None
    spend = replay.unaccounted
    assert (spend.characters_upper_bound, spend.cost_upper_bound) == (LINE, cost_of(LINE))
    assert [row["outcome"] for row in bench.usage()] == ["succeeded", "succeeded", "unknown", "unknown"]
    assert _bounds(bench) == (2 * LINE, 4 * LINE)
    row = bench.usage()[-1]
    assert (row["utterance_id"], row["invocation_id"], row["journal_id"]) == (None, "invocation-1", journal_id)
    assert claim_names(bench.store, 0) == []


def test_the_part_is_gone_on_with(bench: Bench) -> None:
    """Shipped rows are not bought again; the bill holds both invocations."""
    _lose(bench)
    _adopt(bench)
    bench.run()
    assert bench.read("speech/part-00000.parquet")["utterance_id"].to_pylist() == ["r0", "r1", "r2", "r3"]
    assert _bounds(bench) == (4 * LINE, (4 + 2) * LINE)
    remove_shipped_logs(bench.store, 0)
    assert bench.store.names(FOLDER) == []


def test_a_second_disk_may_be_lost_too(bench: Bench) -> None:
    """A third machine has the chunks of both; the bill, which includes the lost spending, never shrinks."""
    first = _lose(bench)
    _adopt(bench)
    before = _bounds(bench)
    second = _lose(bench, spoken=1, in_flight=0)
    assert _adopt(bench) == [first, second]
    assert bench.replays()[0].unaccounted == UnaccountedSpend(0, 0, Decimal(0), None)
    assert _bounds(bench) == (before[0] + LINE, before[1] + 2 * LINE)
    assert {key[0] for replay in bench.replays() for key in replay.finished_keys()} == {"r0", "r1", "r2"}


def test_after_an_orderly_stop_nothing_is_lost(bench: Bench) -> None:
    """The usage is published completely, and stays unchanged."""
    _lose(bench, in_flight=0, orderly=True)
    before = bench.usage()
    _adopt(bench)
    assert bench.usage() == before
    assert len(bench.replays()[0].finished_keys()) == 2


def test_the_truth_replaces_what_was_guessed_of_the_rest(bench: Bench) -> None:
    """The machine that seemed lost comes back with its journal."""
    path = bench.leave_open(1)
    ShippedLog(bench.store, Journal(path, -1, path.stat().st_size)).send()
    aside = path.rename(bench.folder / "aside")
    _adopt(bench)
    assert _bounds(bench) == (LINE, 4 * LINE)
    whole = replay_journal(aside)
    assert whole is not None
    commit_journal_usage(bench.store, 0, whole)
    assert _bounds(bench) == (LINE, LINE)


def test_the_truth_replaces_a_copy_that_seemed_whole(bench: Bench) -> None:
    """The copy covered the whole claim, but the machine that seemed lost sent one more request."""
    elsewhere = replace(bench, folder=bench.folder / "elsewhere")

    async def work() -> None:
        async with bench.part() as part:
            for utterance in part.todo[:3]:
                await bench.say(part, utterance)
            await part.intend(bench.attempt(part.todo[3]), None)
            part.sync()
            path = bench.journal_path(part)
            ShippedLog(bench.store, Journal(path, -1, path.stat().st_size)).send()
            _adopt(elsewhere)
            await part.intend(bench.attempt(part.todo[3], number=2), None)

    asyncio.run(work())
    assert _bounds(bench) == (3 * LINE, 4 * LINE)
    bench.committer.suspend_part(bench.rows(), bench.replays())
    assert [row["outcome"] for row in bench.usage()] == ["succeeded"] * 3 + ["unknown"] * 2
    assert _bounds(bench) == (3 * LINE, 5 * LINE)


def test_what_is_here_is_not_copied(bench: Bench) -> None:
    """A journal's own machine has all of it, and excluded journals are not copied."""
    journal_id = _lose(bench)
    assert adopt_journals(bench.store, bench.journals, 0, exclude=[journal_id]) == []
    assert adopt_journals(bench.store, bench.journals, 0) == [journal_id]
    (path,) = journal_paths(bench.journals, 0)
    path.write_bytes(b"")
    assert adopt_journals(bench.store, bench.journals, 0) == []
    assert path.read_bytes() == b""


@pytest.mark.parametrize("damage", ["gap", "torn", "first"])
def test_a_copy_ends_where_it_cannot_be_trusted(bench: Bench, damage: str) -> None:
    """A copy ends at a missing or torn chunk; without the first chunk the whole claim may be spent."""
    journal_id = _lose(bench, spoken=3, in_flight=0)
    (name,) = bench.store.names(FOLDER)
    data = bench.store.read(f"{FOLDER}/{name}") or b""
    at = len(data) // 2
    first, second = f"{FOLDER}/{name}", f"{FOLDER}/part-00000-{journal_id}-{at + (damage == 'gap'):015}.segment"
    bench.store.write(first, data[:at])
    bench.store.write(second, data[at:-1])
    if damage == "first":
        bench.store.remove(first)
    adopted_ids = adopt_journals(bench.store, bench.journals, 0)
    assert adopted_ids == ([] if damage == "first" else [journal_id])
    assert not list(bench.journals.glob("*.copying"))
    bench.committer.suspend_part(bench.rows(), bench.replays())
    bench.committer.account_for_lost_journals(0, bench.replays())
    billed, at_most = _bounds(bench)
    assert at_most == 4 * LINE
    assert billed in {"gap": (LINE, 2 * LINE), "torn": (3 * LINE,), "first": (0,)}[damage]


def test_a_copy_is_for_its_owner_only(bench: Bench) -> None:
    """The copy holds text and audio."""
    _lose(bench)
    adopt_journals(bench.store, bench.journals, 0)
    (path,) = journal_paths(bench.journals, 0)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_cap_counts_what_is_lost(bench: Bench) -> None:
    """The lost spending counts even before its usage is published."""
    _lose(bench, more=1)
    descriptor = descriptor_of(4, 500, {})
    assert total_spend(bench.store, descriptor, bench.journals, bench.journals).characters_upper_bound == 4 * LINE
    adopt_journals(bench.store, bench.journals, 0)
    totals = total_spend(bench.store, descriptor, bench.journals, bench.journals)
    assert (totals.characters_billed, totals.characters_upper_bound) == (2 * LINE, 4 * LINE)
    assert totals.cost_upper_bound == cost_of(4 * LINE)


def test_what_was_shipped_of_a_done_part_is_swept(bench: Bench) -> None:
    """With a claim, the journal is adopted and accounted for; without one it is on the bill already, and not read."""
    other = _lose(bench)
    bench.run()
    _lose(bench, spoken=0, in_flight=0)
    collect_orphans(bench.store, bench.journals, bench.leases, {0}, lambda _: "fingerprint")
    assert bench.store.names(FOLDER) == claim_names(bench.store, 0) == []
    assert journal_paths(bench.journals, 0) == []
    assert _bounds(bench) == ((4 + 2) * LINE, (4 + 4 + 4) * LINE)
    assert other in {parse_journal_id(name) for name in bench.store.names("usage")}


def test_a_generation_that_is_given_up_is_accounted_for_with_what_was_shipped(bench: Bench) -> None:
    """Its audio is then on this machine, and can be reused."""
    _lose(bench)
    commit_all_usage(bench.store, bench.journals, bench.leases)
    assert len(bench.replays()[0].finished_keys()) == 2
    assert _bounds(bench) == (2 * LINE, 4 * LINE)
