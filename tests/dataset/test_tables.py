"""The rows and files of a committed part's tables: columns, types, tags, row groups and names."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import NOW_US, audio_of, cost_of, settlement_of
from tests.datasets import Bench
from tts_pipeline.attempt import Outcome
from tts_pipeline.config import ROW_GROUP_BYTES, InputColumns
from tts_pipeline.dataset.speech_file import audio_path
from tts_pipeline.emulator.tone import tone
from tts_pipeline.models import Speech, Usage
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
    """Audio has no codec and no statistics; all other columns have zstd and statistics. No column has a dictionary."""
    bench = _bench_of_everything(tmp_path, LocalStore(tmp_path / "out"))
    bench.run(refused=["2"])
    metadata = pq.read_metadata(tmp_path / "out" / SPEECH_FILE).row_group(0)
    columns = {column.path_in_schema: column for column in map(metadata.column, range(metadata.num_columns))}
    for path in ("audio.bytes", "audio.path"):
        assert columns[path].compression == "UNCOMPRESSED"
        assert not columns[path].is_stats_set
    assert {column.compression for path, column in columns.items() if not path.startswith("audio.")} == {"ZSTD"}
    assert columns["utterance_id"].statistics.min == "1"
    assert not any(column.has_dictionary_page for column in columns.values())
    assert columns["pair.list.element"].compression == "ZSTD"


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
