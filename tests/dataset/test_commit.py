from __future__ import annotations

import asyncio
import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.builders import NOW_US, cost_of
from tests.datasets import Bench
from tts_pipeline.dataset.claims import Claim, claim_names, write_claim
from tts_pipeline.dataset.commit import finished_totals, marker_name
from tts_pipeline.dataset.part_journals import journal_paths
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import usage_cost, usage_name
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Utterance
from tts_pipeline.money import Cost
from tts_pipeline.storage.local_store import LocalStore
from tts_pipeline.storage.store import Store

pytestmark = pytest.mark.anyio
SPEECH_FILE = "speech/part-00000.parquet"
REJECTS_FILE = "rejects/part-00000.parquet"


@pytest.fixture
def bench(tmp_path: Path, store: Store) -> Bench:
    """A dataset of four rows, none of them spoken."""
    return Bench.of(tmp_path, store)


def _marker(bench: Bench, number: int = 0) -> dict[str, Any]:
    marker: dict[str, Any] = orjson.loads(bench.store.read(marker_name(number)) or b"null")
    return marker


def _tables(bench: Bench) -> dict[str, bytes | None]:
    names = [f"{folder}/{name}" for folder in ("speech", "rejects", "usage") for name in bench.store.names(folder)]
    return {name: bench.store.read(name) for name in names}


def test_tables_are_in_source_order_whatever_the_order_of_completion(bench: Bench) -> None:
    """Rows finish in any order; the table has them in source order, each with its own audio."""
    bench.run(refused=["r1"], order=lambda utterance: -int(utterance.utterance_id[1:]))
    speech = bench.read(SPEECH_FILE)
    assert speech["utterance_id"].to_pylist() == ["r0", "r2", "r3"]
    assert speech["text"].to_pylist() == ["Line 0.", "Line 2.", "Line 3."]
    for text, audio, sha256 in zip(
        *(speech[name].to_pylist() for name in ("text", "audio", "audio_sha256")), strict=True
    ):
        assert audio["bytes"] == tone(text, tone_bytes=400)
        assert sha256 == hashlib.sha256(audio["bytes"]).hexdigest()
    assert bench.read(REJECTS_FILE)["utterance_id"].to_pylist() == ["r1"]


def test_publishing_twice_gives_the_same_bytes(bench: Bench) -> None:
    """Publishing again repairs a crash after any file: every table is the same, byte for byte."""

    async def say() -> None:
        async with bench.part() as part:
            for utterance in part.todo:
                await (bench.refuse if utterance.utterance_id == "r3" else bench.say)(part, utterance)

    asyncio.run(say())
    replays = bench.replays()
    bench.committer.commit_part(bench.rows(), replays)
    tables, marker = _tables(bench), _marker(bench)
    bench.committer.commit_part(bench.rows(), replays)
    assert _tables(bench) == tables
    assert _marker(bench) == marker
    assert len(tables) == 3


async def test_an_order_of_files_ends_with_the_marker(tmp_path: Path) -> None:
    """The order is usage, rejects, speech, marker: after a crash, published rows are always accounted for.

    No file is read back: the marker holds what its writer knows.
    """

    class _Watched(LocalStore):
        seen: list[str]

        def read(self, name: str) -> bytes | None:
            data = super().read(name)
            self.seen += [f"read {name}"] * (data is not None)
            return data

        def stage(self, name: str, *, is_new: bool = False) -> Any:
            self.seen.append(name)
            return super().stage(name, is_new=is_new)

        def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
            self.seen.append(name)
            super().write(name, data, durable=durable)

        def remove(self, name: str) -> None:
            self.seen.append(f"remove {name}")
            super().remove(name)

    store = _Watched(tmp_path / "out")
    store.seen = []
    bench = Bench.of(tmp_path, store)
    async with bench.part() as part:
        for utterance in part.todo:
            await (bench.refuse if utterance.utterance_id == "r3" else bench.say)(part, utterance)
    store.seen.clear()
    bench.publish()
    claim = f"claims/part-00000-{part.journal_id}.json"
    usage = usage_name(0, part.journal_id)
    assert store.seen == [usage, REJECTS_FILE, SPEECH_FILE, marker_name(0), f"remove {claim}"]


def test_the_marker_tells_counts_checksums_and_journals(bench: Bench) -> None:
    """Totals agree with the part's tables; each file is listed with its size and hash."""
    bench.run(refused=["r1"])
    marker = _marker(bench)
    assert Totals.from_json(marker["totals"]) == Totals(
        rows=4,
        speech=3,
        rejects=1,
        attempts=4,
        characters_billed=21,
        characters_upper_bound=21,
        cost=cost_of(21),
        cost_upper_bound=cost_of(21),
        currency="CNY",
        audio_ms=24,
    )
    assert marker["part"] == 0
    assert (marker["voices"], marker["languages"]) == ({"Cherry": 3}, {"en": 3})
    assert set(marker["files"]) == {SPEECH_FILE, REJECTS_FILE, usage_name(0, marker["journals"][0])}
    for name, facts in marker["files"].items():
        data = bench.store.read(name) or b""
        assert facts == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(("refused", "tables"), [([], {"speech"}), (["r0", "r1", "r2", "r3"], {"rejects"})])
def test_a_table_without_rows_has_no_file(bench: Bench, refused: list[str], tables: set[str]) -> None:
    """If all rows are speech, or all are rejects, the other table has no file."""
    bench.run(refused=refused)
    assert {name for name in ("speech", "rejects") if bench.store.names(name)} == tables


async def test_a_part_that_sent_nothing_has_no_usage(bench: Bench) -> None:
    """Rows rejected before any request leave rejects but no usage file."""
    async with bench.part() as part:
        for utterance in part.todo:
            reject = await _refused_unsent(bench, utterance)
            await part.record_reject(reject)
    bench.publish()
    assert bench.store.names("usage") == []
    assert bench.read(REJECTS_FILE)["error_class"].to_pylist() == ["input"] * 4


async def _refused_unsent(bench: Bench, utterance: Utterance) -> Any:
    from tts_pipeline.models import Reject

    return Reject(utterance, "input", "EmptyText", "the text is empty", 0, None, None, NOW_US)


def test_a_part_that_is_not_done_is_not_published(bench: Bench) -> None:
    """An utterance that is neither speech nor rejected prevents the marker."""
    bench.leave_open(1)
    with pytest.raises(StorageError, match="'r1' is neither speech nor rejected"):
        bench.publish()
    assert bench.store.read(marker_name(0)) is None


async def test_speech_of_earlier_journals_keeps_its_own_invocation(bench: Bench) -> None:
    """Rows keep the invocation that finished them, in source order; every journal has its usage file."""
    for count in (1, 2, 1):
        async with bench.part() as part:
            for utterance in part.todo[-count:]:
                await bench.say(part, utterance)
    bench.publish()
    speech = bench.read(SPEECH_FILE)
    assert speech["utterance_id"].to_pylist() == ["r0", "r1", "r2", "r3"]
    assert speech["invocation_id"].to_pylist() == ["invocation-3", "invocation-2", "invocation-2", "invocation-1"]
    assert len(bench.store.names("usage", "part-00000-")) == 3
    assert _marker(bench)["totals"]["attempts"] == 4
    assert journal_paths(bench.journals, 0) == []
    assert claim_names(bench.store, 0) == []


CLAIM = Claim("lost", "i0", NOW_US, 500, cost_of(500), "CNY", "local", "qwen3-tts-flash", "team")


def test_a_claim_whose_journal_is_lost_is_unknown_usage_at_its_worst(bench: Bench) -> None:
    """The next process accounts once for the whole claim, and removes it."""
    write_claim(bench.store, 0, CLAIM)
    for _ in range(2):
        bench.committer.account_for_lost_journals(0, [])
    assert claim_names(bench.store, 0) == []
    (row,) = bench.usage()
    assert (row["outcome"], row["journal_id"], row["invocation_id"]) == ("unknown", "lost", "i0")
    assert (row["characters_billed"], row["characters_upper_bound"]) == (0, 500)
    assert (row["cost"], row["cost_upper_bound"], row["currency"]) == (Decimal(0), cost_of(500), "CNY")
    assert (row["utterance_id"], row["finished_at"], row["account"]) == (None, None, "team")
    bench.run()
    assert _marker(bench)["totals"]["unknown_attempts"] == 1
    assert _marker(bench)["totals"]["characters_upper_bound"] == 500 + 28
    assert _marker(bench)["totals"]["characters_billed"] == 28


async def test_a_claim_whose_journal_is_here_or_published_is_not_lost(bench: Bench) -> None:
    """Exactly known spending is not guessed."""
    async with bench.part() as part:
        await bench.say(part, part.todo[0])
    bench.committer.account_for_lost_journals(0, bench.replays())
    assert bench.store.names("usage") == []
    bench.committer.commit_usage(bench.rows(), bench.replays())
    bench.committer.account_for_lost_journals(0, [])
    (row,) = bench.usage()
    assert row["outcome"] == "succeeded"
    assert claim_names(bench.store, 0) == []


async def test_a_journal_that_comes_back_replaces_the_guess(bench: Bench) -> None:
    """The journal seemed lost to another machine; its owner knows the exact spending, which may exceed the guess."""
    async with bench.part() as part:
        await bench.say(part, part.todo[0])
        bench.committer.account_for_lost_journals(0, [])
        for _ in range(9):
            await bench.buy(part, part.todo[1])
    assert [row["outcome"] for row in bench.usage()] == ["unknown"]
    bench.committer.suspend_part(bench.rows(), bench.replays())
    assert [row["outcome"] for row in bench.usage()] == ["succeeded"] * 10
    before = _tables(bench)
    bench.committer.suspend_part(bench.rows(), bench.replays())
    assert _tables(bench) == before


async def test_publishing_leaves_the_claims_of_others(bench: Bench) -> None:
    """Another machine that works on the same part, in a race, may still spend: its claim stays."""
    async with bench.part() as part:
        for utterance in part.todo:
            await bench.say(part, utterance)
        write_claim(bench.store, 0, CLAIM)
    bench.publish()
    assert claim_names(bench.store, 0) == ["claims/part-00000-lost.json"]


async def test_leaving_a_part_publishes_its_usage_and_keeps_its_journal(bench: Bench) -> None:
    """After an orderly stop the bill is published, the claim is removed, and the journal keeps the paid audio."""
    async with bench.part() as part:
        await bench.say(part, part.todo[0])
        await part.intend(bench.attempt(part.todo[1]), None)
    bench.committer.suspend_part(bench.rows(), bench.replays())
    assert [row["outcome"] for row in bench.usage()] == ["succeeded", "unknown"]
    assert claim_names(bench.store, 0) == []
    assert len(journal_paths(bench.journals, 0)) == 1
    await asyncio.to_thread(bench.run)
    assert len(bench.usage()) == 5
    assert bench.read(SPEECH_FILE).num_rows == 4


async def test_counts_of_what_journals_hold(bench: Bench) -> None:
    """Only finished rows count; the usage files count their requests."""
    async with bench.part() as part:
        await bench.say(part, part.todo[0])
        await bench.refuse(part, part.todo[1])
        await bench.buy(part, part.todo[2])
    assert finished_totals(bench.replays()) == Totals(speech=1, rejects=1, audio_ms=8)
    bench.committer.commit_usage(bench.rows(), bench.replays())
    (name,) = bench.store.names("usage")
    assert usage_cost(bench.store.read(f"usage/{name}") or b"") == Cost(
        attempts=3,
        characters_billed=14,
        characters_upper_bound=14,
        cost=cost_of(14),
        cost_upper_bound=cost_of(14),
        currency="CNY",
    )


async def test_a_destination_that_fails_while_publishing_loses_nothing(tmp_path: Path) -> None:
    """No marker or partial file remains, the journal stays, and publishing works once the destination does."""
    bench = Bench.of(tmp_path, LocalStore(tmp_path / "out"))
    path = await asyncio.to_thread(bench.leave_open)
    (tmp_path / "out" / "speech").write_bytes(b"")
    with pytest.raises(StorageError, match="speech"):
        bench.publish()
    assert bench.store.read(marker_name(0)) is None
    assert path.exists()
    (tmp_path / "out" / "speech").unlink()
    bench.publish()
    assert bench.read(SPEECH_FILE).num_rows == 4


def test_a_journal_that_shrank_meanwhile_gives_no_half_audio(bench: Bench) -> None:
    """The journal lost bytes after its replay: nothing is published in their place."""
    path = bench.leave_open()
    replays = bench.replays()
    path.write_bytes(path.read_bytes()[:-1_000])
    with pytest.raises(StorageError, match="is shorter than it was"):
        bench.committer.commit_part(bench.rows(), replays)
    assert bench.store.read(SPEECH_FILE) is None
    assert bench.store.read(marker_name(0)) is None
