"""``synthesize`` and ``asynthesize``: every kind of frame in, the same rows out, with speech beside them."""

from __future__ import annotations

import asyncio
import doctest
import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

import duckdb
import pandas as pd  # type: ignore[import-untyped]  # its stubs are another package
import polars as pl
import pyarrow as pa
import pytest

import tts_pipeline as tts
from tests.builders import MODEL, call_arguments, line_frame
from tests.conftest import StartEmulator
from tts_pipeline.emulator.local_service import LocalService
from tts_pipeline.errors import ConfigurationError, FatalError, StoppedError
from tts_pipeline.frames import expressions
from tts_pipeline.frames.rows import RESULT_COLUMNS
from tts_pipeline.job import CancelToken, prepare
from tts_pipeline.text import billed_characters

ROWS = {
    "line": ["Good morning.", "早上好。", None, "Good morning.", ""],
    "speaker": ["Cherry", "Chelsie", "Cherry", "Cherry", None],
    "number": [3, 1, 2, 9, 9],
}
POLARS = pl.DataFrame(ROWS)
KINDS: dict[str, Any] = {
    "DataFrame": lambda: POLARS,
    "LazyFrame": POLARS.lazy,
    "pyarrow Table": lambda: pa.table(ROWS),
    "RecordBatch": lambda: pa.record_batch(ROWS),
    "RecordBatchReader": lambda: pa.table(ROWS).to_reader(),
    "pandas": lambda: pd.DataFrame(ROWS),
    "DuckDB": lambda: duckdb.sql("select * from rows", connection=_connection()),
}


def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.register("rows", pa.table(ROWS))
    return connection


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_frame(kind: str, tone_service: LocalService, tmp_path: Path) -> None:
    """As many rows as given, in their order, untouched, with speech or errors beside them; equal ones bought once."""
    spoken: Any = tts.synthesize(
        KINDS[kind](), text="line", columns={"voice": "speaker"}, **call_arguments(tone_service, tmp_path)
    )
    assert type(spoken) is (pl.DataFrame if kind in {"DataFrame", "LazyFrame"} else pa.Table)
    frame = pl.DataFrame(spoken)
    assert frame.columns == [*ROWS, *RESULT_COLUMNS]
    assert frame.select(list(ROWS)).rows() == POLARS.rows()
    assert frame["error_code"].to_list() == [None, None, "EmptyText", None, "EmptyText"]
    assert frame["error_class"].to_list() == [None, None, "input", None, "input"]
    assert [audio is None for audio in frame["audio"]] == [False, False, True, False, True]
    assert frame["audio"][0]["bytes"].startswith(b"RIFF")
    assert frame["audio_sha256"][0] == frame["audio_sha256"][3]
    assert frame["characters_billed"].fill_null(0).to_list() == [13, 7, 0, 0, 0]
    assert frame["utterance_id"].to_list() == ["0", "1", "2", "3", "4"]
    bill = tone_service.bill(entries=True)
    assert sorted((entry["text"], entry["voice"]) for entry in bill["entries"]) == [
        ("Good morning.", "Cherry"),
        ("早上好。", "Chelsie"),
    ]


def test_parameters_are_literals_expressions_or_columns(tone_service: LocalService, tmp_path: Path) -> None:
    """A value for all rows, and what differs from row to row, also for Arrow; a null leaves it unset."""
    for frame in (POLARS, POLARS.to_arrow()):
        tone_service.reset_bill()
        tts.synthesize(
            frame,
            text=pl.concat_str(pl.col("line"), pl.lit(" "), pl.col("number").cast(pl.String)),
            voice=pl.col("speaker"),
            speed=1.2,
            cache=False,
            **call_arguments(tone_service, tmp_path),
        )
        requests = {(entry["text"], entry["voice"]) for entry in tone_service.bill(entries=True)["entries"]}
        assert requests == {
            ("Good morning. 3", "Cherry"),
            ("早上好。 1", "Chelsie"),
            ("Good morning. 9", "Cherry"),
            (" 9", "Cherry"),  # the service's own choice
        }


def test_a_call_that_was_made_before_buys_nothing(tone_service: LocalService, tmp_path: Path) -> None:
    """Nor does another frame with the same lines; without a cache everything is bought."""
    arguments = call_arguments(tone_service, tmp_path)
    first = tts.synthesize(line_frame(20), voice="Cherry", **arguments)
    again = tts.synthesize(line_frame(20), voice="Cherry", **arguments)
    longer = tts.synthesize(line_frame(25), voice="Cherry", **arguments)
    assert tone_service.bill()["received"] == 25
    assert first["audio"].equals(again["audio"])
    assert first["audio"].equals(longer["audio"][:20])
    assert again["cost"].to_list() == [Decimal(0)] * 20
    tts.synthesize(line_frame(20), voice="Cherry", cache=False, **arguments)
    assert tone_service.bill()["received"] == 45


def test_ids_name_the_rows_in_the_bill(tone_service: LocalService, tmp_path: Path) -> None:
    """A column ``id`` by itself, or one that is named; a repeated one gets its row's number, a missing one is it."""
    frame = line_frame(4).with_columns(pl.Series("id", ["a", "a", None, "b"]), pl.Series("key", [7, 8, 9, 10]))
    arguments = call_arguments(tone_service, tmp_path)
    spoken = tts.synthesize(frame, voice="Cherry", **arguments)
    assert spoken["utterance_id"].to_list() == ["a", "a:1", "2", "b"]
    assert sorted(tts.usage_of(spoken, work_dir=tmp_path)["utterance_id"]) == ["2", "a", "a:1", "b"]
    other = tts.synthesize(frame, utterance_id="key", voice="Chelsie", **arguments)
    assert other["utterance_id"].to_list() == ["7", "8", "9", "10"]


def test_no_rows_are_no_rows(tmp_path: Path, tone_service: LocalService) -> None:
    """With the columns and types that rows would have."""
    arguments = call_arguments(tone_service, tmp_path)
    spoken = tts.synthesize(line_frame(2), voice="Cherry", **arguments)
    none = tts.synthesize(line_frame(2).clear(), voice="Cherry", **arguments)
    assert none.schema == spoken.schema
    assert none.height == 0


def test_a_cap_stops_it_and_a_higher_one_goes_on(tone_service: LocalService, tmp_path: Path) -> None:
    """What was bought below the cap is kept, and on the bill although there is no frame yet."""
    frame = line_frame(40)
    capped = call_arguments(tone_service, tmp_path, budget=tts.BudgetCap(max_characters=100))
    with pytest.raises(StoppedError) as exc_info:
        tts.synthesize(frame, voice="Cherry", **capped)
    assert exc_info.value.stopped_by == "budget"
    before = tone_service.bill()["characters"]
    assert 80 <= before <= 100
    assert tts.usage_of(work_dir=tmp_path)["characters_billed"].sum() == before
    spoken = tts.synthesize(frame, voice="Cherry", **call_arguments(tone_service, tmp_path))
    assert spoken["audio"].null_count() == 0
    assert tone_service.bill()["received"] == 40
    assert tts.usage_of(spoken, work_dir=tmp_path)["characters_billed"].sum() == frame["text"].str.len_chars().sum()


@pytest.fixture
def _parts_of_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "CALL_PART_ROWS", 2)


@pytest.mark.usefixtures("_parts_of_two_rows")
def test_a_call_of_many_parts(tone_service: LocalService, tmp_path: Path) -> None:
    """Its rows are in their order, rejects among them; what is repeated in another part is bought once."""
    texts = ["Line 0.", "Line 1.", "", "Line 0.", "Line 4.", "", "Line 1."]
    frame = pl.DataFrame({"text": texts})
    spoken = tts.synthesize(frame, voice="Cherry", **call_arguments(tone_service, tmp_path))
    assert spoken["text"].to_list() == texts
    assert spoken["audio"].is_null().to_list() == [not text for text in texts]
    assert spoken["audio_sha256"][0] == spoken["audio_sha256"][3] != spoken["audio_sha256"][1]
    assert tone_service.bill()["received"] == 3
    usage = tts.usage_of(spoken, work_dir=tmp_path)
    assert sorted(usage["utterance_id"]) == ["0", "1", "4"]
    assert usage["cost"].sum() == spoken["cost"].sum()


@pytest.mark.usefixtures("_parts_of_two_rows")
def test_a_stopped_call_of_many_parts_goes_on(tone_service: LocalService, tmp_path: Path) -> None:
    """Its finished parts are on the bill as they were, and nothing is bought twice."""
    frame, count = line_frame(9), billed_characters("Line 0.", "characters")
    budget = tts.BudgetCap(max_characters=5 * count)
    with pytest.raises(StoppedError):
        tts.synthesize(frame, voice="Cherry", **call_arguments(tone_service, tmp_path, budget=budget))
    stopped = tts.usage_of(work_dir=tmp_path)
    assert stopped["outcome"].to_list() == ["succeeded"] * 5
    spoken = tts.synthesize(frame, voice="Cherry", **call_arguments(tone_service, tmp_path))
    assert spoken["audio"].null_count() == 0
    assert tone_service.bill()["received"] == 9
    usage = tts.usage_of(spoken, work_dir=tmp_path)
    assert usage["outcome"].to_list() == ["succeeded"] * 9
    assert usage["characters_billed"].sum() == tone_service.bill()["characters"]


def test_a_service_that_refuses_all_says_so(emulator: StartEmulator, tmp_path: Path) -> None:
    """The error itself, not a frame of rejects."""
    arguments = call_arguments(emulator(voice_mode="tone", required_key="made-up"), tmp_path)
    with pytest.raises(FatalError):
        tts.synthesize(line_frame(), voice="Cherry", **arguments)


@pytest.mark.parametrize(
    ("frame", "arguments", "match"),
    [
        (POLARS, {}, "no column 'text'"),
        (POLARS, {"text": "lines"}, "Did you mean 'line'"),
        (POLARS, {"text": "number"}, "not string"),
        (POLARS, {"text": pl.selectors.numeric()}, "not string"),
        (POLARS, {"text": "line", "voice": "Nobody"}, "Nobody"),
        (POLARS, {"text": "line", "columns": {"voice": "speaker"}, "voice": pl.col("speaker")}, "as an expression"),
        (POLARS.with_columns(audio=1), {"text": "line"}, "drop or rename 'audio'"),
        (pl.Series([1]), {}, "Series"),
        ([1, 2], {}, "list"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(
    frame: Any, arguments: dict[str, Any], match: str, tone_service: LocalService, tmp_path: Path
) -> None:
    """By what is wrong, with a way out; and nothing is left of the call."""
    with pytest.raises(ConfigurationError, match=match):
        tts.synthesize(frame, **arguments, **call_arguments(tone_service, tmp_path))
    assert tone_service.bill()["received"] == 0


def test_many_threads_call_at_once(tone_service: LocalService, tmp_path: Path) -> None:
    """Each gets its own rows, and the bill has every request once."""
    arguments = call_arguments(tone_service, tmp_path)

    def speak(number: int) -> pl.DataFrame:
        spoken: pl.DataFrame = tts.synthesize(line_frame(20)[number : number + 1], voice="Cherry", **arguments)
        return spoken

    with ThreadPoolExecutor(8) as threads:
        spoken = list(threads.map(speak, range(20)))
    assert [frame["text"][0] for frame in spoken] == line_frame(20)["text"].to_list()
    assert pl.concat(spoken)["audio"].null_count() == 0
    assert tts.usage_of(work_dir=tmp_path).height == tone_service.bill()["received"] == 20


def test_a_failed_call_leaves_the_next_as_it_was(emulator: StartEmulator, tmp_path: Path) -> None:
    """A service that dies between two calls, and one that refuses all, fail their own call alone."""
    local, refusing = emulator(voice_mode="tone"), emulator(voice_mode="tone", required_key="made-up")
    arguments = call_arguments(local, tmp_path)
    tts.synthesize(line_frame(1), voice="Cherry", **arguments)
    with pytest.raises(FatalError):
        tts.synthesize(line_frame(2), voice="Cherry", **call_arguments(refusing, tmp_path))
    assert tts.synthesize(line_frame(3), voice="Cherry", **arguments)["audio"].null_count() == 0
    local.kill()
    hasty = call_arguments(local, tmp_path, limits={"max_attempts": 1, "max_outage_s": 0.1})
    with pytest.raises((FatalError, StoppedError)):
        tts.synthesize(line_frame(4), voice="Cherry", **hasty)


def test_it_can_be_awaited(tone_service: LocalService, tmp_path: Path) -> None:
    """Two at a time, with the loop going on meanwhile; the same call twice is none the worse."""

    async def both() -> tuple[pl.DataFrame, pl.DataFrame]:
        arguments = call_arguments(tone_service, tmp_path)
        return await asyncio.gather(
            tts.asynthesize(line_frame(30), voice="Cherry", **arguments),
            tts.asynthesize(line_frame(30), voice="Cherry", **arguments),
        )

    first, other = asyncio.run(both())
    assert first["audio"].equals(other["audio"])


def test_in_a_running_loop_it_blocks_and_works(tone_service: LocalService, tmp_path: Path) -> None:
    """As a notebook's cell does."""

    async def cell() -> pl.DataFrame:
        spoken: pl.DataFrame = tts.synthesize(line_frame(), voice="Cherry", **call_arguments(tone_service, tmp_path))
        return spoken

    assert asyncio.run(cell())["audio"].null_count() == 0


def test_a_cancelled_call_stops_in_good_order(emulator: StartEmulator, tmp_path: Path) -> None:
    """What was in flight is paid for and kept; the same call buys the rest."""
    local = emulator(voice_mode="tone")
    local.set_faults([{"what": "slow", "delay_s": 0.5}])  # the end is far, also on a busy machine
    arguments, rows = call_arguments(local, tmp_path), 60
    complaints: list[dict[str, Any]] = []

    async def cancelled() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        call = asyncio.create_task(tts.asynthesize(line_frame(rows), voice="Cherry", **arguments))
        await asyncio.to_thread(_wait_for, local, 10)
        call.cancel()
        await call

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    gc.collect()
    assert not complaints
    assert 10 <= local.bill()["received"] < rows
    local.clear_faults()
    assert tts.synthesize(line_frame(rows), voice="Cherry", **arguments)["audio"].null_count() == 0
    assert local.bill()["received"] == rows


def test_another_thread_stops_it(emulator: StartEmulator, tmp_path: Path) -> None:
    """By ``stop``; the error says that it was interrupted."""
    local, stop = emulator(voice_mode="tone"), CancelToken()
    local.set_faults([{"what": "slow", "delay_s": 0.5}])  # the end is far, also on a busy machine

    def stop_soon() -> None:
        _wait_for(local, 1)
        stop.set()

    stopper = threading.Thread(target=stop_soon)
    stopper.start()
    with pytest.raises(StoppedError) as exc_info:
        tts.synthesize(line_frame(60), voice="Cherry", stop=stop, **call_arguments(local, tmp_path))
    stopper.join()
    assert exc_info.value.stopped_by == "interrupted"


def _wait_for(local: LocalService, charged: int) -> None:
    while local.bill()["charged"] < charged:
        time.sleep(0.01)


def test_the_types_say_what_comes_out(tone_service: LocalService, tmp_path: Path) -> None:
    """A DataFrame for Polars, also through ``pipe`` and awaited, as ``mypy`` sees by ``assert_type``."""
    arguments = call_arguments(tone_service, tmp_path)
    service, options = arguments["service"], arguments["options"]
    frame = line_frame(1)
    assert_type(tts.synthesize(frame, service, model=MODEL, voice="Cherry", options=options), pl.DataFrame)
    assert_type(tts.synthesize(frame.lazy(), service, model=MODEL, voice="Cherry", options=options), pl.DataFrame)
    assert_type(frame.pipe(tts.synthesize, service, model=MODEL, voice="Cherry", options=options), pl.DataFrame)
    awaited = tts.asynthesize(frame, service, model=MODEL, voice="Cherry", options=options)
    assert_type(asyncio.run(awaited), pl.DataFrame)
    with pytest.raises(ConfigurationError):
        tts.synthesize(3, service, model=MODEL)  # type: ignore[call-overload]


def test_the_examples_are_true(tone_service: LocalService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the docstrings."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    service = tts.Service(base_url=tone_service.url, auth="none")
    names = {"service": service, "destination": tmp_path / "out"}
    for function in (tts.run, tts.synthesize, tts.estimate, expressions.billed_characters, expressions.estimate_cost):
        (example,) = doctest.DocTestFinder(recurse=False).find(function, "example", globs=names)
        assert doctest.DocTestRunner().run(example).failed == 0


def test_counts_are_those_of_the_text(tone_service: LocalService, tmp_path: Path) -> None:
    """The result says what the pure counter says."""
    spoken = tts.synthesize(
        POLARS.drop_nulls().unique(), text="line", voice="Cherry", **call_arguments(tone_service, tmp_path)
    )
    speech = spoken.filter(pl.col("error_code").is_null())
    assert speech["characters_counted"].to_list() == [billed_characters(line, "han_double") for line in speech["line"]]
    assert MODEL in tts.usage_of(spoken, work_dir=tmp_path)["model"].to_list()
