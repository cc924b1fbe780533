from __future__ import annotations

import asyncio
import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import NOW_US, audio_of, cost_of, settlement_of
from tests.datasets import Bench
from tts_pipeline.attempt import Outcome
from tts_pipeline.config import ROW_GROUP_BYTES, InputColumns
from tts_pipeline.dataset.claims import Claim, claim_names, write_claim
from tts_pipeline.dataset.commit import finished_totals, marker_name
from tts_pipeline.dataset.part_journals import journal_paths
from tts_pipeline.dataset.speech_file import audio_path
from tts_pipeline.dataset.totals import Totals
from tts_pipeline.dataset.usage_files import usage_cost, usage_name
from tts_pipeline.emulator.tone import tone
from tts_pipeline.errors import StorageError
from tts_pipeline.models import Speech, Usage, Utterance
from tts_pipeline.money import Cost
from tts_pipeline.schema import REJECTS, SPEECH, USAGE, arrow_fields
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


def test_the_tables_have_exactly_the_published_columns(bench: Bench) -> None:
    """The files have the names, types, order and nullability of the schema."""
    bench.run(refused=["r1"])
    assert list(bench.read(SPEECH_FILE).schema) == arrow_fields(SPEECH)
    rejects = bench.read(REJECTS_FILE).schema
    assert list(rejects)[:-1] == arrow_fields(REJECTS)
    assert rejects.field("input") == pa.field("input", pa.struct(list(bench.source.schema)), nullable=False)
    (usage,) = bench.store.names("usage")
    assert list(bench.read(f"usage/{usage}").schema) == arrow_fields(USAGE)


def test_a_speech_row_holds_what_the_client_said_of_it(bench: Bench) -> None:
    """Every column has its value."""
    bench.run()
    row = bench.read(SPEECH_FILE).to_pylist()[2]
    text = "Line 2."
    created_at = row.pop("created_at")
    assert int(created_at.timestamp() * 1_000_000) == NOW_US
    assert row == {
        "utterance_id": "r2",
        "take": 0,
        "text": text,
        "service": "local",
        "model": "qwen3-tts-flash",
        "voice": "Cherry",
        "language": "en",
        "audio": {"bytes": tone(text, tone_bytes=400), "path": "r2.wav"},
        "audio_format": "wav",
        "sample_rate_hz": 24_000,
        "channels": 1,
        "duration_ms": 8,
        "audio_sha256": hashlib.sha256(tone(text, tone_bytes=400)).hexdigest(),
        "timestamps": [{"text": text, "start_ms": 0, "end_ms": 8, "text_start": 0, "text_end": 7}],
        "timestamps_source": "service",
        "segments": 1,
        "attempts": 1,
        "request_id": "q",
        "request_key": hashlib.sha256(text.encode()).hexdigest(),
        "deduplicated_from": None,
        "characters_counted": 7,
        "characters_reported": 7,
        "characters_billed": 7,
        "input_tokens": None,
        "output_tokens": None,
        "total_tokens": None,
        "cost": cost_of(7),
        "currency": "CNY",
        "quality": [],
        "invocation_id": "invocation-1",
    }


async def test_words_and_flags_that_are_not_there_are_null_and_empty(bench: Bench) -> None:
    """Missing timestamps are null with a null source; missing flags are an empty list; a missing price is null."""
    async with bench.part() as part:
        for utterance in part.todo:
            values = {"words": None, "language": None, "cost": None, "currency": None, "quality": ("a", "b")}
            await bench.say(part, utterance, **values)
    bench.publish()
    row = bench.read(SPEECH_FILE).to_pylist()[0]
    assert (row["timestamps"], row["timestamps_source"], row["language"]) == (None, None, None)
    assert (row["cost"], row["currency"], row["quality"]) == (None, None, ["a", "b"])


async def test_usage_is_one_row_per_request_sent(bench: Bench) -> None:
    """Succeeded, failed and unknown attempts are in the order of sending, with confirmed and possible amounts."""
    async with bench.part() as part:
        first = part.todo[0]
        failed = bench.attempt(first)
        await part.intend(failed, None)
        at_most = {"characters_upper_bound": 7, "cost_upper_bound": cost_of(7)}
        part.settle(settlement_of(failed, Outcome.FAILED, http_status=500, **at_most), None)
        await bench.buy(part, first)
        await part.intend(bench.attempt(first, number=3, bound=9), None)
        await bench.refuse(part, part.todo[1])
    bench.committer.commit_usage(bench.rows(), bench.replays())
    rows = bench.usage()
    names = ["attempt_id", "attempt", "outcome", "characters_billed", "characters_upper_bound", "http_status"]
    assert [[row[name] for name in names] for row in rows] == [
        ["a1", 1, "failed", 0, 7, 500],
        ["a2", 1, "succeeded", 7, 7, 200],
        ["a3", 3, "unknown", 0, 9, None],
        ["a4", 1, "failed", 0, 0, 400],
    ]
    assert [row["cost"] for row in rows] == [Decimal(0), cost_of(7), Decimal(0), Decimal(0)]
    assert [row["cost_upper_bound"] for row in rows] == [cost_of(7), cost_of(7), cost_of(9), Decimal(0)]
    unknown = rows[2]
    assert (unknown["finished_at"], unknown["latency_ms"], unknown["characters_reported"]) == (None, None, None)
    assert {row["account"] for row in rows} == {"team"}
    assert {row["price_basis"] for row in rows} == {"list"}
    assert {row["currency"] for row in rows} == {"CNY"}
    assert {row["journal_id"] for row in rows} == {part.journal_id}


async def test_tags_are_the_users_and_the_rows_own_go_before(tmp_path: Path, store: Store) -> None:
    """Tags of the job apply to all rows, tags of columns override them, and a null in a column does not."""
    table = pa.table({"id": ["a", "b"], "text": ["One.", "Two."], "team": ["x", None], "n": [1, 2]})
    bench = Bench.of(tmp_path, store, table, tags={"run": "nightly", "team": "all"})
    bench.tag_columns = {"team": "team", "number": "n"}
    async with bench.part() as part:
        for utterance in part.todo:
            await bench.say(part, utterance)
    bench.publish()
    assert [dict(row["tags"]) for row in bench.usage()] == [
        {"run": "nightly", "team": "x", "number": "1"},
        {"run": "nightly", "team": "all", "number": "2"},
    ]


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
    """The order is usage, rejects, speech, marker: after a crash, published rows are always accounted for."""

    class _Watched(LocalStore):
        seen: list[str]

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

    async def say() -> None:
        async with bench.part() as part:
            await bench.say(part, part.todo[0])

    asyncio.run(say())
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


# Before 26, pyarrow cannot read a list of a fixed size that is null: then nothing is bought.
PAIR = None if int(pa.__version__.partition(".")[0]) >= 26 else [5, 6]
ROW_OF_EVERYTHING = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int32()),
        "text": pa.array(["One.", None, "Three."], pa.large_string()),
        "speaker": pa.array(["Stella", "Cherry", None]).dictionary_encode(),
        "nested": pa.array(
            [{"a": [1, 2], "m": [("k", 1)]}, None, {"a": None, "m": []}],
            pa.struct([("a", pa.list_(pa.int8())), ("m", pa.map_(pa.string(), pa.int32()))]),
        ),
        "label": pa.array(["x", "y", None]).dictionary_encode(),
        "pair": pa.array([[1, 2], PAIR, [3, 4]], pa.list_(pa.int16(), 2)),
        "price": pa.array([Decimal("1.50"), None, Decimal("2.25")], pa.decimal128(9, 2)),
        "when": pa.array([0, None, 1], pa.timestamp("ns", tz="Europe/Berlin")),
        "raw": pa.array([b"\xff\x00", b"", None], pa.large_binary()),
        "duration_ms": pa.array([1.5, None, 2.5]),
    }
)
EVERYTHING = InputColumns(parameters={"voice": "speaker"}, rename={"duration_ms": "planned_ms"})


def _bench_of_everything(tmp_path: Path, store: Store) -> Bench:
    return Bench.of(tmp_path, store, ROW_OF_EVERYTHING, columns=EVERYTHING)


def test_other_columns_pass_through_with_their_types(tmp_path: Path, store: Store) -> None:
    """Nested, dictionary, decimal and time columns follow the table's own columns, renamed but unchanged."""
    bench = _bench_of_everything(tmp_path, store)
    bench.run(refused=["2"])
    speech = bench.read(SPEECH_FILE)
    passed = ["nested", "label", "pair", "price", "when", "raw", "planned_ms"]
    assert speech.column_names[len(SPEECH) :] == passed
    schema = bench.source.schema
    for name in passed:
        source = "duration_ms" if name == "planned_ms" else name
        assert speech.schema.field(name).type == schema.field(source).type
        assert speech[name].to_pylist() == ROW_OF_EVERYTHING[source].take([0, 2]).to_pylist()
    assert speech["voice"].to_pylist() == ["Stella", "Cherry"]


def test_a_reject_has_the_whole_input_row(tmp_path: Path, store: Store) -> None:
    """It has its source names and types, with a null text as null, so that it can be corrected and run again."""
    bench = _bench_of_everything(tmp_path, store)
    bench.run(refused=["2", "3"])
    rejects = bench.read(REJECTS_FILE)
    assert rejects["utterance_id"].to_pylist() == ["2", "3"]
    assert rejects["input"].to_pylist() == ROW_OF_EVERYTHING.slice(1, 2).to_pylist()
    assert rejects.schema.field("input").type == pa.struct(list(bench.source.schema))
    assert rejects["error_code"].to_pylist() == ["InvalidParameter"] * 2


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ([6, 6, 6], [2, 1]),
        ([8, 8, 8, 8], [2, 2]),
        ([20, 1, 1], [1, 2]),
        ([1, 20, 1], [1, 1, 1]),
        ([1, 1, 20], [2, 1]),
    ],
)
async def test_row_groups_hold_16_mb_of_audio_at_most(tmp_path: Path, sizes: list[int], groups: list[int]) -> None:
    """A group holds as many rows as fit; a larger row is a group of its own."""
    store = LocalStore(tmp_path / "out")
    bench = Bench.of(tmp_path, store, rows=len(sizes))
    async with bench.part() as part:
        for utterance, megabytes in zip(part.todo, sizes, strict=True):
            audio = audio_of(utterance.text, audio_bytes=megabytes * ROW_GROUP_BYTES // 16)
            await bench.say(part, utterance, audio=audio)
    bench.publish()
    metadata = pq.read_metadata(tmp_path / "out" / SPEECH_FILE)
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == groups


def test_audio_is_stored_as_it_is_and_the_rest_compressed(tmp_path: Path) -> None:
    """Audio has no codec, dictionary or statistics; all other columns have zstd and both, at any depth."""
    bench = _bench_of_everything(tmp_path, LocalStore(tmp_path / "out"))
    bench.run(refused=["2"])
    metadata = pq.read_metadata(tmp_path / "out" / SPEECH_FILE).row_group(0)
    columns = {column.path_in_schema: column for column in map(metadata.column, range(metadata.num_columns))}
    for path in ("audio.bytes", "audio.path"):
        assert columns[path].compression == "UNCOMPRESSED"
        assert not columns[path].is_stats_set
        assert not columns[path].has_dictionary_page
    assert {column.compression for path, column in columns.items() if not path.startswith("audio.")} == {"ZSTD"}
    assert columns["utterance_id"].statistics.min == "1"
    assert columns["voice"].has_dictionary_page
    assert columns["nested.a.list.element"].has_dictionary_page
    assert columns["pair.list.element"].compression == "ZSTD"


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


def _journalled(bench: Bench) -> Path:
    async def say() -> None:
        async with bench.part() as part:
            for utterance in part.todo:
                await bench.say(part, utterance)

    asyncio.run(say())
    (path,) = journal_paths(bench.journals, 0)
    return path


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (("a", 0), "a.wav"),
        (("a", 3), "a-3.wav"),
        (("../../etc/passwd", 0), "_.._etc_passwd.wav"),
        (("C:\\x", 0), "C__x.wav"),
        (("..", 0), "_.wav"),
        (("", 0), "_.wav"),
        (("日本 語", 0), "日本_語.wav"),
        (("a.b-c_d", 0), "a.b-c_d.wav"),
    ],
)
def test_the_name_beside_the_audio_is_no_path(key: tuple[str, int], path: str) -> None:
    """Whatever an id holds, the name has no folder, no drive and no leading dot."""
    assert audio_path(key, "wav") == path


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
    path = await asyncio.to_thread(_journalled, bench)
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
    path = _journalled(bench)
    replays = bench.replays()
    path.write_bytes(path.read_bytes()[:-1_000])
    with pytest.raises(StorageError, match="is shorter than it was"):
        bench.committer.commit_part(bench.rows(), replays)
    assert bench.store.read(SPEECH_FILE) is None
    assert bench.store.read(marker_name(0)) is None


async def test_a_later_count_of_the_service_is_kept_beside_ours(bench: Bench) -> None:
    """Reported and counted characters have their own columns; the bill follows the report."""
    async with bench.part() as part:
        for utterance in part.todo:
            attempt = bench.attempt(utterance)
            await part.intend(attempt, None)
            usage = Usage(9, 1, 2, 3)
            part.settle(settlement_of(attempt, usage=usage, characters_billed=9, characters_upper_bound=9), None)
            speech: Speech = await bench.say(part, utterance, usage=Usage(9, 1, 2, 3))
            assert speech.usage.characters_reported == 9
    bench.publish()
    row = bench.usage()[0]
    assert [row[name] for name in ("characters_counted", "characters_reported", "characters_billed")] == [7, 9, 9]
    assert [row[name] for name in ("input_tokens", "output_tokens", "total_tokens")] == [1, 2, 3]
